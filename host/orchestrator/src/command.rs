//! Commands that the platform itself runs in the workspace.

use std::collections::VecDeque;
use std::time::Duration;

use sortie_core::Actor;
use sortie_core::action::Exec;
use sortie_core::event::Event;
use sortie_core::secret::Secret;
use sortie_core::text::{clip, one_line};
use sortie_policy::ports::{Chunk, CommandLimit, Exit, LimitReached, Workspace};

use crate::run::{RunError, TaskRun, port};

/// Lines of output kept for a message.
const TAIL_LINES: usize = 40;
/// Bytes of a line that are shown.
const LINE_MAX: usize = 4096;
/// Bytes of an unfinished line that are kept: more than are shown, so that a
/// secret at the cut is whole when it is looked for.
const OPEN_MAX: usize = 4 * LINE_MAX;

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) exit: Exit,
    /// Limits that were reached meanwhile.
    pub(crate) limits: Vec<LimitReached>,
    /// The last lines of what it printed.
    pub(crate) tail: String,
}

impl Finished {
    pub(crate) fn succeeded(&self) -> bool {
        self.exit == Exit::Code(0)
    }

    /// How it failed, with its last lines.
    pub(crate) fn failure(&self) -> String {
        let mut how = match self.exit {
            Exit::Code(code) => format!("exit status {code}"),
            Exit::Signal(signal) => format!("killed by signal {signal}"),
            Exit::TimedOut => "its time ran out".to_owned(),
        };
        // that output was dropped has nothing to do with a failure: the tail is here
        let limits = self.limits.iter().filter(|reached| reached.limit != CommandLimit::Output);
        let limits: Vec<_> = limits.map(ToString::to_string).collect();
        if !limits.is_empty() {
            how.push_str(&format!("; limits reached: {}", limits.join(", ")));
        }
        format!("{how}\n{}", self.tail)
    }
}

impl TaskRun {
    /// Runs a command to its end and shows its output as progress.
    pub(crate) async fn command(&self, workspace: &dyn Workspace, exec: Exec) -> Result<Finished, RunError> {
        let permit = self.gate.permit(&Actor::Host, exec).await?;
        let commands = workspace.commands();
        let mut process = tokio::select! {
            spawned = commands.spawn(permit) => spawned.map_err(port("run a command"))?,
            () = self.cancel.cancelled() => return Err(RunError::Cancelled),
        };
        let mut tail = Tail { secrets: &self.plan.secrets, ..Tail::default() };
        loop {
            let next = tokio::select! {
                next = process.next(Duration::from_secs(60)) => next,
                // the process ends with its handle
                () = self.cancel.cancelled() => return Err(RunError::Cancelled),
            };
            match next.map_err(port("run a command"))? {
                Some(Chunk::Stdout(bytes) | Chunk::Stderr(bytes)) => {
                    if let Some(line) = tail.push(&bytes) {
                        self.journal_append(Event::Progress { text: line });
                    }
                }
                Some(Chunk::Exit(ended)) => {
                    return Ok(Finished { exit: ended.exit, limits: ended.limits, tail: tail.text() });
                }
                // only in the background
                Some(Chunk::Skipped(_)) | None => {}
            }
        }
    }
}

/// The last lines of an output, without its secrets.
#[derive(Default)]
struct Tail<'a> {
    secrets: &'a [(String, Secret)],
    lines: VecDeque<String>,
    open: Vec<u8>,
}

impl Tail<'_> {
    /// Takes bytes; returns the last whole line among them.
    fn push(&mut self, bytes: &[u8]) -> Option<String> {
        let mut last = None;
        for &byte in bytes {
            // progress bars end their lines with a carriage return
            if byte == b'\n' || byte == b'\r' {
                let line = one_line(&String::from_utf8_lossy(&std::mem::take(&mut self.open)), OPEN_MAX);
                let line = clip(&scrub(self.secrets, line), LINE_MAX).into_owned();
                if !line.is_empty() {
                    last = Some(line.clone());
                    self.lines.push_back(line);
                }
                if self.lines.len() > TAIL_LINES {
                    self.lines.pop_front();
                }
            } else if self.open.len() < OPEN_MAX {
                self.open.push(byte);
            }
        }
        last
    }

    fn text(mut self) -> String {
        self.push(b"\n");
        Vec::from(self.lines).join("\n")
    }
}

fn scrub(secrets: &[(String, Secret)], text: String) -> String {
    secrets.iter().fold(text, |text, (_, secret)| secret.scrub(&text))
}

impl TaskRun {
    /// A text without the secrets of set-up.
    pub(crate) fn scrub(&self, text: &str) -> String {
        scrub(&self.plan.secrets, text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_without_line_breaks_is_bounded() {
        let mut tail = Tail::default();
        for _ in 0..1000 {
            tail.push(&[b'x'; 4096]);
        }
        assert!(tail.text().len() <= LINE_MAX + "…".len());
    }

    #[test]
    fn a_secret_is_masked_also_where_a_line_is_cut_and_where_escapes_part_it() {
        let secrets = [("TOKEN".to_owned(), Secret::new("s3cr3t-v4lue"))];
        let mut tail = Tail { secrets: &secrets, ..Tail::default() };
        let shown = tail.push(b"a s3cr\x1b[1m3t-v4lue b\n").expect("a line");
        assert_eq!(shown, "a **** b");
        let cut = [&b"x".repeat(LINE_MAX - 4)[..], b"s3cr3t-v4lue\n"].concat();
        assert!(!tail.push(&cut).expect("a line").contains("s3cr"));
        assert!(!tail.text().contains("s3cr"));
    }

    #[test]
    fn a_failure_names_the_limits_that_were_reached_with_their_values() {
        let reached = |limit, value| LimitReached { limit, value };
        let limits = vec![reached(CommandLimit::IdleTimeout, 70), reached(CommandLimit::Output, 9)];
        let finished = Finished { exit: Exit::TimedOut, limits, tail: "asking".into() };
        assert_eq!(finished.failure(), "its time ran out; limits reached: idle_timeout_ms = 70\nasking");
        let finished = Finished { exit: Exit::Code(3), limits: Vec::new(), tail: "no".into() };
        assert_eq!(finished.failure(), "exit status 3\nno");
    }

    #[test]
    fn the_last_lines_are_kept() {
        let mut tail = Tail::default();
        for n in 0..100 {
            tail.push(format!("line {n}\n").as_bytes());
        }
        let text = tail.text();
        assert!(text.starts_with("line 60\n") && text.ends_with("line 99"), "{text}");
    }
}
