//! The tools `process_*`: commands that `shell` started in the background.

use sortie_sdk::exec::{self, Process};
use sortie_sdk::prelude::*;

use crate::ending::short;
use crate::reading::Reading;

/// How long output is waited for unless it is said, in milliseconds.
const WAIT_MS: u32 = 1000;

/// How long a command has to end once it was asked to, unless it is said, in milliseconds.
const GRACE_MS: u32 = 5000;

/// How long a killed command may take to end, in milliseconds; the kernel takes less unless a disk hangs.
const KILLED_MS: u32 = 10_000;

/// What of a call's time is left to tell what came of it, in milliseconds.
const RESERVE_MS: u32 = 2000;

/// Returns what a command in the background printed since it was last read, and how it ended if it has.
///
/// Of what nobody reads the newest MiB is kept.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProcessOutput {
    /// The id that `shell` returned, such as `p1`.
    id: String,
    /// Milliseconds to wait for output if there is none yet; 1000 if left out.
    wait_ms: Option<u32>,
}

impl Tool for ProcessOutput {
    const NAME: &'static str = "process_output";
    const TITLE: &'static str = "Output of a process";
    const EFFECTS: Effects = Effects::READS.union(Effects::NETWORK);

    fn run(self, _call: &Call) -> Result<Output> {
        let mut reading = Reading::new();
        with(&self.id, |process| reading.next(process, within_call(self.wait_ms.unwrap_or(WAIT_MS))))?;
        Ok(reading.output(Some(&self.id)))
    }
}

/// Writes to the standard input of a command in the background and returns what it then prints.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProcessInput {
    /// The id that `shell` returned, such as `p1`.
    id: String,
    /// What to write, as it is: a line needs its line break. In a terminal `\u0003` is Ctrl-C.
    text: String,
    /// Closes standard input afterwards.
    #[serde(default)]
    close: bool,
    /// Milliseconds to wait for output; 1000 if left out.
    wait_ms: Option<u32>,
}

impl Tool for ProcessInput {
    const NAME: &'static str = "process_input";
    const TITLE: &'static str = "Input of a process";
    const EFFECTS: Effects = Effects::WRITES.union(Effects::EXECUTES).union(Effects::NETWORK);

    fn run(self, _call: &Call) -> Result<Output> {
        let mut reading = Reading::new();
        with(&self.id, |process| {
            if !self.text.is_empty() {
                process.write(self.text.as_bytes())?;
            }
            if self.close {
                process.close_stdin()?;
            }
            reading.next(process, within_call(self.wait_ms.unwrap_or(WAIT_MS)))
        })?;
        Ok(reading.output(Some(&self.id)))
    }
}

/// Stops a command in the background, and all that it started: asks it to end (SIGTERM), and kills what is left
/// after a grace (SIGKILL). Returns its last output and how it ended.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProcessStop {
    /// The id that `shell` returned, such as `p1`.
    id: String,
    /// Milliseconds that it has to end by itself; 5000 if left out.
    grace_ms: Option<u32>,
}

impl Tool for ProcessStop {
    const NAME: &'static str = "process_stop";
    const TITLE: &'static str = "Stop a process";
    const EFFECTS: Effects = Effects::READS.union(Effects::EXECUTES).union(Effects::NETWORK);

    fn run(self, _call: &Call) -> Result<Output> {
        let mut reading = Reading::new();
        with(&self.id, |process| {
            process.terminate()?;
            reading.until_end(process, within_call(self.grace_ms.unwrap_or(GRACE_MS)))?;
            // also what the command has left behind
            process.kill()?;
            reading.until_end(process, KILLED_MS)
        })?;
        if !reading.has_ended() {
            return Err(Error::unavailable(format!(
                "`{}` was killed, but its end has not come yet",
                self.id
            )));
        }
        Ok(reading.output(Some(&self.id)))
    }
}

/// Lists the commands that were started in the background: id, state, age, command.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProcessList {}

impl Tool for ProcessList {
    const NAME: &'static str = "process_list";
    const TITLE: &'static str = "Processes";
    const EFFECTS: Effects = Effects::READS.union(Effects::IDEMPOTENT);

    fn run(self, _call: &Call) -> Result<Output> {
        let list = exec::list_background()?;
        let mut lines: Vec<_> = list
            .iter()
            .map(|process| {
                let state = process.exit.as_ref().map_or("running".into(), short);
                let age = process.age_ms as f64 / 1000.0;
                format!("{}  {state}  {age:.1} s  {}", process.id, process.command)
            })
            .collect();
        if lines.is_empty() {
            lines.push("nothing was started in the background".into());
        }
        let details: Vec<_> = list
            .iter()
            .map(|process| {
                json!({
                    "id": process.id,
                    "command": process.command,
                    "age_ms": process.age_ms,
                    "running": process.exit.is_none(),
                    "exit_code": match process.exit { Some(exec::Exit::Code(code)) => Some(code), _ => None },
                })
            })
            .collect();
        Ok(Output::text(lines.join("\n")).details(json!({ "processes": details })))
    }
}

/// Does something with a command, and lets it live on whatever comes of it.
fn with<T>(id: &str, what: impl FnOnce(&Process) -> Result<T>) -> Result<T> {
    let process = exec::attach(id).map_err(|error| match error.code {
        ErrorCode::NotFound => error.context("see `process_list`"),
        _ => error,
    })?;
    let result = what(&process);
    let detached = process.detach();
    let result = result?;
    detached?;
    Ok(result)
}

/// A wait that leaves the call the time to answer.
fn within_call(wait_ms: u32) -> u32 {
    let left = u32::try_from(control::remaining().as_millis()).unwrap_or(u32::MAX);
    wait_ms.min(left.saturating_sub(RESERVE_MS))
}
