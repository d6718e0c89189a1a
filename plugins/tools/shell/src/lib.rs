//! The tool `shell`: a command line in the task's workspace; and `process_*`
//! for those that it starts in the background.
//!
//! What a command may do is decided by the workspace it runs in. This
//! component starts it, puts its two streams into one text, and says how it
//! ended. It keeps nothing between two calls: the host keeps what runs in the
//! background.

mod background;
mod ending;
mod reading;

use std::time::Duration;

use sortie_sdk::exec::{Command, Finished, Process};
use sortie_sdk::prelude::*;

use background::{ProcessInput, ProcessList, ProcessOutput, ProcessStop};
use ending::{details, ending};
use reading::Reading;

/// Bytes of output kept, half from the head and half from the tail. The host
/// shortens further for the model.
const KEEP: usize = 1 << 20;

/// How long a command that starts in the background is watched: one that
/// fails at once is told at once.
const SETTLE: Duration = Duration::from_millis(300);

/// What of a call's time is left to tell how its command ended.
const RESERVE_MS: u64 = 2000;

/// Runs a command line with `sh` in the root of the repository's work tree and returns its output
/// (standard output and standard error in order of arrival) and how it ended.
///
/// Each call is a new shell: `cd` and variables do not last. The shell is POSIX; write
/// `bash -c '…'` for what only bash has. Standard input is empty, so avoid commands that ask.
/// When the command ends, all that it started is killed: run servers with `background`, not with `&`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Shell {
    /// The command line.
    command: String,
    /// Milliseconds after which the command and all that it started are killed.
    timeout_ms: Option<u64>,
    /// Milliseconds without any output after which the command and all that it started are killed.
    idle_timeout_ms: Option<u64>,
    /// Returns at once with an id, such as `p1`, and lets the command run on, until it ends, is stopped with
    /// `process_stop`, or the task ends. `process_output` reads what it prints, `process_input` writes to it.
    #[serde(default)]
    background: bool,
    /// Runs the command in a terminal of 80 columns and 24 lines, for programs that want one.
    #[serde(default)]
    tty: bool,
}

impl Tool for Shell {
    const NAME: &'static str = "shell";
    const TITLE: &'static str = "Shell";
    const EFFECTS: Effects =
        Effects::READS.union(Effects::WRITES).union(Effects::EXECUTES).union(Effects::NETWORK);

    fn run(self, _call: &Call) -> Result<Output> {
        if self.command.trim().is_empty() {
            return Err(Error::invalid("`command` is empty"));
        }
        for (name, time) in [("timeout_ms", self.timeout_ms), ("idle_timeout_ms", self.idle_timeout_ms)] {
            if time == Some(0) {
                return Err(Error::invalid(format!("`{name}` is 0: leave it out for no limit of its own")));
            }
        }
        let command = Command::shell(self.command).idle_timeout_ms(self.idle_timeout_ms).keep(KEEP).merged();
        let command = if self.tty { command.tty() } else { command };
        if self.background {
            let command = command.background().timeout_ms(self.timeout_ms);
            // of a terminal, input is a part
            let process = if self.tty { command.spawn()? } else { command.stdin().spawn()? };
            return start(process);
        }
        let left = u64::try_from(control::remaining().as_millis()).unwrap_or(u64::MAX);
        let most = left.saturating_sub(RESERVE_MS).max(1);
        let process = command.timeout_ms(self.timeout_ms.map_or(most, |asked| asked.min(most))).spawn()?;
        if self.tty {
            // whoever reads finds the end; it may have ended already, and then needs none
            let _ = process.close_stdin();
        }
        Ok(output(&process.finish(KEEP, true)?, self.tty))
    }
}

export_tools!(Shell, ProcessOutput, ProcessInput, ProcessStop, ProcessList);

/// Lets a command run on, unless it ends while it starts.
fn start(process: Process) -> Result<Output> {
    let mut reading = Reading::new();
    reading.settle(&process, SETTLE)?;
    if reading.has_ended() {
        return Ok(reading.output(None));
    }
    let id = process.detach()?;
    Ok(reading.output(Some(&id)))
}

fn output(finished: &Finished, tty: bool) -> Output {
    let mut content = reading::text(&finished.stdout, tty);
    content.push_str(&ending(&finished.exit, finished.dropped, &finished.limits));
    let mut details = details(&finished.exit, &finished.limits);
    details["output_bytes"] = json!(finished.stdout.total() + finished.dropped);
    Output::text(content).details(details)
}

#[cfg(test)]
mod tests;
