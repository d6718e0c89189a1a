//! How a command ended, in words.

use sortie_sdk::exec::{Exit, Limit};
use sortie_sdk::prelude::*;

/// Names of the limits, as the host gives them.
const TIMEOUT: &str = "timeout_ms";
const IDLE: &str = "idle_timeout_ms";
const OUTPUT: &str = "output_bytes";
const MEMORY: &str = "memory_bytes";
const PROCESSES: &str = "processes";
const DISK: &str = "disk_bytes";
const DISK_FREE: &str = "disk_free_bytes";
const DISK_FREE_FILES: &str = "disk_free_files";

/// The lines that close an output: limits that were reached, and the end.
pub(crate) fn ending(exit: &Exit, dropped: u64, limits: &[Limit]) -> String {
    let value = |name: &str| limits.iter().find(|limit| limit.name == name).map(|limit| limit.value);
    let mut lines = Vec::new();
    if dropped > 0 {
        let beyond = value(OUTPUT).map(|most| format!(" beyond {OUTPUT} = {most}")).unwrap_or_default();
        lines.push(format!("[{dropped} more bytes of output were dropped{beyond}]"));
    }
    lines.extend(limits.iter().filter_map(of_the_workspace));
    lines.push(match exit {
        Exit::Code(code) => format!("[exit code {code}]"),
        Exit::Signal(signal) => {
            format!("[killed by signal {signal}{}]", name(*signal, limits.iter().any(kills)))
        }
        Exit::TimedOut => {
            let why = match (value(IDLE), value(TIMEOUT)) {
                (Some(idle), _) => format!("{IDLE} = {idle} passed without output"),
                (None, Some(timeout)) => format!("{TIMEOUT} = {timeout} passed"),
                (None, None) => "its time passed".into(),
            };
            format!(
                "[timed out: {why}; the command and all that it started were killed; raise the limit, run less, \
                 or use `background`]"
            )
        }
    });
    lines.join("\n")
}

/// The end for programs.
pub(crate) fn details(exit: &Exit, limits: &[Limit]) -> Value {
    let limits: Vec<_> =
        limits.iter().map(|limit| json!({ "name": limit.name, "value": limit.value })).collect();
    json!({
        "exit_code": match exit { Exit::Code(code) => Some(code), _ => None },
        "signal": match exit { Exit::Signal(signal) => Some(signal), _ => None },
        "timed_out": *exit == Exit::TimedOut,
        "limits": limits,
    })
}

/// How it ended, in two or three words.
pub(crate) fn short(exit: &Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(signal) => format!("killed by signal {signal}"),
        Exit::TimedOut => "timed out".into(),
    }
}

/// Whether commands are killed for it.
fn kills(limit: &Limit) -> bool {
    matches!(limit.name.as_str(), MEMORY | DISK | DISK_FREE | DISK_FREE_FILES)
}

/// A limit that is not the command's own, and that its end does not tell.
fn of_the_workspace(limit: &Limit) -> Option<String> {
    let Limit { name, value } = limit;
    let what = match name.as_str() {
        TIMEOUT | IDLE | OUTPUT => return None,
        MEMORY => {
            ": a process was killed for it; use less memory, or run less at once; what lies in /tmp and /dev/shm counts"
        }
        PROCESSES => ": a process or thread could not be started; run less at once",
        DISK => ": all commands were ended for it; remove files before you go on",
        DISK_FREE | DISK_FREE_FILES => {
            ": so much has to stay free on the disk, and all commands were ended for it; remove files before you go on"
        }
        _ => "",
    };
    Some(format!("[the workspace's limit {name} = {value} was reached while this ran{what}]"))
}

/// Names of the signals that one meets, on Linux.
fn name(signal: u8, told: bool) -> &'static str {
    match signal {
        2 => ", SIGINT",
        4 => ", SIGILL",
        6 => ", SIGABRT",
        8 => ", SIGFPE",
        9 if told => ", SIGKILL",
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
    use super::*;

    fn limit(name: &str, value: u64) -> Limit {
        Limit { name: name.into(), value }
    }

    #[test]
    fn every_limit_is_named_with_its_value() {
        let text = ending(&Exit::TimedOut, 0, &[limit(TIMEOUT, 5000)]);
        assert!(text.starts_with("[timed out: timeout_ms = 5000 passed;"), "{text}");
        let text = ending(&Exit::TimedOut, 0, &[limit(IDLE, 70)]);
        assert!(text.starts_with("[timed out: idle_timeout_ms = 70 passed without output;"), "{text}");
        let text = ending(&Exit::Code(0), 9, &[limit(OUTPUT, 100)]);
        assert_eq!(text, "[9 more bytes of output were dropped beyond output_bytes = 100]\n[exit code 0]");
        let text = ending(&Exit::Signal(9), 0, &[limit(MEMORY, 1024), limit(PROCESSES, 8)]);
        assert!(
            text.contains("memory_bytes = 1024 was reached") && text.contains("processes = 8 was reached")
        );
        assert!(text.ends_with("\n[killed by signal 9, SIGKILL]"), "{text}");
        let text = ending(&Exit::Signal(9), 0, &[limit(DISK, 1024)]);
        assert!(
            text.contains("disk_bytes = 1024 was reached while this ran: all commands were ended"),
            "{text}"
        );
    }

    #[test]
    fn a_limit_of_a_later_host_is_named_too() {
        let text = ending(&Exit::Code(1), 0, &[limit("names", 7)]);
        assert_eq!(text, "[the workspace's limit names = 7 was reached while this ran]\n[exit code 1]");
    }
}
