//! What a plugin asks for.

use std::fmt;

use sortie_core::action::command_line;
use url::Url;

/// One thing that a plugin asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted<'a> {
    /// To run a command.
    Exec(&'a [String]),
    /// To read a path, in its one form.
    Read(&'a str),
    /// To change a path, in its one form.
    Write(&'a str),
    /// To read the task's change, by this command.
    GitRead(&'static str),
    /// To commit it.
    GitCommit,
    /// To send a request.
    Http { method: &'a str, url: &'a Url },
}

impl Wanted<'_> {
    /// The key of its grants.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Read(_) => "files.read",
            Self::Write(_) => "files.write",
            Self::GitRead(_) => "git.read",
            Self::GitCommit => "git.commit",
            Self::Http { .. } => "http",
        }
    }
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exec(argv) => write!(f, "exec {}", command_line(argv)),
            Self::Read(path) => write!(f, "read {path}"),
            Self::Write(path) => write!(f, "write {path}"),
            Self::GitRead(what) => f.write_str(what),
            Self::GitCommit => f.write_str("git commit"),
            Self::Http { method, url } => write!(f, "{method} {url}"),
        }
    }
}
