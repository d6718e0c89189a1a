//! The tool `shell`: a command line in the task's workspace.
//!
//! What a command may do is decided by the workspace it runs in. This
//! component starts it, puts its two streams into one text, and says how it
//! ended.

use sortie_sdk::exec::{Command, Exit, Finished};
use sortie_sdk::prelude::*;

/// Bytes of output kept, half from the head and half from the tail. The host
/// shortens further for the model.
const KEEP: usize = 1 << 20;

/// Runs a command line with `sh` in the root of the repository's work tree and returns its output
/// (standard output and standard error in order of arrival) and how it ended.
///
/// Each call is a new shell: `cd` and variables do not last. The shell is POSIX; write
/// `bash -c '…'` for what only bash has. Standard input is empty, so avoid commands that ask.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Shell {
    /// The command line.
    command: String,
    /// Milliseconds after which the command and all that it started are killed.
    timeout_ms: Option<u64>,
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
        if self.timeout_ms == Some(0) {
            return Err(Error::invalid("`timeout_ms` is 0: leave it out for the time that the call has"));
        }
        let finished = Command::shell(self.command).timeout_ms(self.timeout_ms).keep(KEEP).merged().run()?;
        Ok(output(&finished))
    }
}

export_tools!(Shell);

fn output(finished: &Finished) -> Output {
    let mut content = finished.stdout.text();
    if !content.is_empty() && !content.ends_with('\n') {
        content.push('\n');
    }
    if finished.dropped > 0 {
        content.push_str(&format!("[{} more bytes of output were dropped]\n", finished.dropped));
    }
    content.push_str(&ending(&finished.exit));
    Output::text(content).details(json!({
        "exit_code": finished.code(),
        "signal": match finished.exit { Exit::Signal(signal) => Some(signal), _ => None },
        "timed_out": finished.exit == Exit::TimedOut,
        "output_bytes": finished.stdout.total() + finished.dropped,
    }))
}

fn ending(exit: &Exit) -> String {
    match exit {
        Exit::Code(code) => format!("[exit code {code}]"),
        Exit::Signal(signal) => format!("[killed by signal {signal}{}]", name(*signal)),
        Exit::TimedOut => {
            "[timed out: the command and all that it started were killed; raise `timeout_ms`, or run less]"
                .into()
        }
    }
}

/// Names of the signals that one meets, on Linux.
fn name(signal: u8) -> &'static str {
    match signal {
        2 => ", SIGINT",
        4 => ", SIGILL",
        6 => ", SIGABRT",
        8 => ", SIGFPE",
        9 => ", SIGKILL (the memory limit may have been reached)",
        11 => ", SIGSEGV",
        13 => ", SIGPIPE",
        15 => ", SIGTERM",
        24 => ", SIGXCPU",
        25 => ", SIGXFSZ",
        31 => ", SIGSYS (a system call that the workspace does not permit)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use sortie_sdk::testing::{Host, Reply};

    use super::*;

    fn shell(reply: Reply) -> Output {
        let host = Host::new().command(move |_| reply.clone());
        host.call::<Shell>(json!({"command": "make"})).expect("runs")
    }

    #[test]
    fn streams_come_in_order_of_arrival_and_the_end_is_said() {
        let output = shell(Reply::new().stdout("one\n").stderr("two\n").stdout("three").exit(Exit::Code(3)));
        assert_eq!(output.content, "one\ntwo\nthree\n[exit code 3]");
        assert_eq!(output.details["exit_code"], 3);
        assert_eq!(output.details["timed_out"], false);
    }

    #[test]
    fn silence_is_the_exit_code_alone() {
        assert_eq!(shell(Reply::new()).content, "[exit code 0]");
    }

    #[test]
    fn timeouts_and_signals_are_told_apart() {
        let output = shell(Reply::new().exit(Exit::TimedOut));
        assert!(output.content.starts_with("[timed out"), "{}", output.content);
        assert_eq!(output.details["timed_out"], true);
        let output = shell(Reply::new().exit(Exit::Signal(11)));
        assert_eq!(output.content, "[killed by signal 11, SIGSEGV]");
        assert_eq!(output.details["exit_code"], Value::Null);
    }

    #[test]
    fn output_is_bounded_and_what_the_host_dropped_is_said() {
        let mut reply = Reply::new().dropped(7);
        for _ in 0..40 {
            reply = reply.stdout("x".repeat(1 << 16));
        }
        let output = shell(reply);
        assert!(output.content.len() < KEEP + 200);
        assert!(output.content.ends_with("\n[7 more bytes of output were dropped]\n[exit code 0]"));
        assert_eq!(output.details["output_bytes"], 40 * (1 << 16) + 7);
    }

    #[test]
    fn the_command_line_reaches_sh_as_one_argument() {
        let host = Host::new().command(|command| {
            assert_eq!(command.argv, ["sh", "-c", "echo 'a b'"]);
            assert_eq!(command.timeout_ms, Some(5));
            Reply::new()
        });
        host.call::<Shell>(json!({"command": "echo 'a b'", "timeout_ms": 5})).expect("runs");
    }

    #[test]
    fn empty_commands_unknown_arguments_and_zero_timeouts_are_refused() {
        let host = Host::new().command(|_| panic!("nothing runs"));
        for bad in [
            json!({"command": " \n"}),
            json!({"command": "ls", "cwd": "/"}),
            json!({"command": "ls", "timeout_ms": 0}),
            json!({"command": "ls", "timeout_ms": -1}),
            json!({}),
        ] {
            let error = host.call::<Shell>(bad).expect_err("is refused");
            assert_eq!(error.code, ErrorCode::Invalid);
        }
    }

    #[test]
    fn a_refusal_of_the_gate_is_passed_on() {
        let denied = Error { rule: Some("rules/no-make".into()), ..Error::denied("no make here") };
        let host = Host::new().command({
            let denied = denied.clone();
            move |_| Reply::fails(denied.clone())
        });
        let error = host.call::<Shell>(json!({"command": "make"})).expect_err("is denied");
        assert_eq!(error, denied);
    }

    #[test]
    fn a_cancelled_task_ends_the_call() {
        let host = Host::new().cancelled().command(|_| Reply::new().never_ends());
        let error = host.call::<Shell>(json!({"command": "sleep 9"})).expect_err("is cancelled");
        assert_eq!(error.code, ErrorCode::Cancelled);
    }
}
