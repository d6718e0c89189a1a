//! What a command in the background printed since somebody last looked.

use std::time::{Duration, Instant};

use sortie_sdk::Captured;
use sortie_sdk::exec::{Chunk, Ended, Process};
use sortie_sdk::prelude::*;

use crate::KEEP;
use crate::ending::{details, ending};

/// How long one wait lasts before the call looks whether it was cancelled, in milliseconds.
const WAIT_MS: u32 = 250;

/// Without output for so long, what came is taken for whole, in milliseconds.
const LULL_MS: u32 = 100;

/// How long one who never pauses is listened to, beyond the wait.
const LONGEST: Duration = Duration::from_secs(1);

/// A piece of a command's output, and its end if it came.
pub(crate) struct Reading {
    output: Captured,
    ended: Option<Ended>,
}

impl Reading {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self { output: Captured::new(KEEP), ended: None }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Takes one piece; whether there was one.
    fn take(&mut self, process: &Process, wait_ms: u32) -> Result<bool> {
        match process.next(wait_ms)? {
            None => return Ok(false),
            Some(Chunk::Stdout(bytes) | Chunk::Stderr(bytes)) => self.output.push(&bytes),
            Some(Chunk::Skipped(bytes)) => {
                let text =
                    format!("[{bytes} bytes of output are missing here: newer output took their place]\n");
                self.output.push(text.as_bytes());
            }
            Some(Chunk::Exit(ended)) => self.ended = Some(ended),
        }
        Ok(true)
    }

    /// Reads for as long as this, or to the end.
    pub(crate) fn settle(&mut self, process: &Process, time: Duration) -> Result<()> {
        let deadline = Instant::now() + time;
        while !self.has_ended() {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
            if !self.take(process, wait)? || wait == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Waits for output, at most `wait_ms`, and reads what comes with it.
    pub(crate) fn next(&mut self, process: &Process, wait_ms: u32) -> Result<()> {
        let deadline = Instant::now() + Duration::from_millis(wait_ms.into()) + LONGEST;
        let mut left = wait_ms;
        let mut heard = false;
        while !self.has_ended() && self.output.total() < KEEP as u64 && Instant::now() < deadline {
            let step = if heard { LULL_MS } else { left.min(WAIT_MS) };
            if self.take(process, step)? {
                heard = true;
            } else if heard || left <= step {
                break;
            } else {
                left -= step;
                control::check()?;
            }
        }
        Ok(())
    }

    /// Reads to the end, at most `wait_ms`.
    pub(crate) fn until_end(&mut self, process: &Process, wait_ms: u32) -> Result<()> {
        let deadline = Instant::now() + Duration::from_millis(wait_ms.into());
        let mut left = wait_ms;
        while !self.has_ended() && Instant::now() < deadline {
            let step = left.min(WAIT_MS);
            if !self.take(process, step)? {
                if left <= step {
                    break;
                }
                left -= step;
                control::check()?;
            }
        }
        Ok(())
    }

    /// What the model reads; `id` if there is still something to call by it.
    pub(crate) fn output(&self, id: Option<&str>) -> Output {
        // whether it has a terminal is not known in a later call, and a terminal's line ends help nobody
        let mut content = text(&self.output, true);
        let mut details = match &self.ended {
            Some(Ended { exit, dropped, limits }) => {
                content.push_str(&ending(exit, *dropped, limits));
                details(exit, limits)
            }
            None => {
                let id = id.unwrap_or_default();
                content.push_str(&format!("[{id} runs in the background]"));
                json!({})
            }
        };
        details["id"] = json!(id);
        details["running"] = json!(self.ended.is_none());
        details["output_bytes"] = json!(self.output.total());
        Output::text(content).details(details)
    }
}

/// The text of an output, with a line break at its end unless it is empty. With `tty`, line ends are a terminal's.
pub(crate) fn text(output: &Captured, tty: bool) -> String {
    let mut text = output.text();
    if tty {
        text = text.replace("\r\n", "\n");
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
