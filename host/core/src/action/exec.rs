//! Commands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A command runs in the workspace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// Program and arguments; not empty.
    pub argv: Vec<String>,
    /// Working directory in the workspace; none for the root of the work tree.
    #[serde(default)]
    pub cwd: Option<String>,
    /// Variables added to the workspace's environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Whether standard input is a pipe.
    #[serde(default)]
    pub stdin: bool,
    /// Whether the streams are a pseudo-terminal.
    #[serde(default)]
    pub tty: bool,
    /// Whether it may live on after the call that started it. It then ends
    /// with the task at the latest.
    #[serde(default)]
    pub background: bool,
    /// Milliseconds until it is killed; none for the backend's limit, and in
    /// the background for the life of the task.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// Milliseconds without output until it is killed; none if it may be
    /// silent.
    #[serde(default)]
    pub idle_timeout_ms: Option<u64>,
    /// Bytes of output kept; none for the backend's limit. In the background
    /// the newest output is kept instead.
    #[serde(default)]
    pub max_output: Option<u64>,
}
plain_effect!(Exec, Exec, |this| command_line(&this.argv));

/// An argument vector as one would type it in a POSIX shell.
pub fn command_line(argv: &[String]) -> String {
    let quote = |arg: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@%+,".contains(c);
        if !arg.is_empty() && arg.chars().all(plain) {
            arg.clone()
        } else {
            format!("'{}'", arg.replace('\'', r"'\''"))
        }
    };
    argv.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_quotes_what_a_shell_would_read_otherwise() {
        let argv = ["sh", "-c", "echo 'a b' $HOME", ""].map(String::from);
        assert_eq!(command_line(&argv), r"sh -c 'echo '\''a b'\'' $HOME' ''");
    }
}
