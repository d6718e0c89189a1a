//! Commands in the workspace.

use std::time::Duration;

use async_trait::async_trait;
use sortie_core::action::Exec;

use super::PortError;
use crate::Permit;

/// Runs commands in the task's workspace.
#[async_trait]
pub trait Commands: Send + Sync {
    /// Starts a command.
    ///
    /// # Errors
    /// `NotFound` if there is no such program or directory, `Invalid` if the
    /// arguments exceed their bounds, `Unavailable` if the workspace is gone.
    async fn spawn(&self, permit: Permit<Exec>) -> Result<Box<dyn Process>, PortError>;

    /// Takes up a detached command: the permit was for the command's whole life.
    /// If it has ended, its exit can be read even if it was read before.
    ///
    /// # Errors
    /// `NotFound` if there is none of this id, `Conflict` if it is held.
    async fn attach(&self, id: &str) -> Result<Box<dyn Process>, PortError>;

    /// The commands that were detached, oldest first: all that run, and the
    /// newest of those that ended. None for a port that detaches nothing.
    fn background(&self) -> Vec<Background> {
        Vec::new()
    }

    /// Kills all detached commands and waits until they have ended. Returns
    /// those that were still running.
    async fn end_background(&self) -> Vec<Background> {
        Vec::new()
    }
}

/// A command in the background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Background {
    /// Its id, unique within the workspace.
    pub id: String,
    /// Its arguments in one line, cut at [`Background::COMMAND`] bytes.
    pub command: String,
    /// Time from its start until now, or until its end.
    pub age: Duration,
    /// How it ended; none while it runs.
    pub exit: Option<Exit>,
}

impl Background {
    /// Bytes of a command that are kept.
    pub const COMMAND: usize = 1000;
}

/// A running command. Dropping it kills it and all that it started.
#[async_trait]
pub trait Process: Send {
    /// The next piece of output or the exit; none if `wait` passed first or
    /// the exit has been read.
    ///
    /// # Errors
    /// `Unavailable` if the workspace is gone.
    async fn next(&mut self, wait: Duration) -> Result<Option<Chunk>, PortError>;

    /// Writes to standard input.
    ///
    /// # Errors
    /// `Invalid` if there is no open standard input.
    async fn write(&mut self, data: &[u8]) -> Result<(), PortError>;

    /// Closes standard input.
    ///
    /// # Errors
    /// `Invalid` if there is no open standard input.
    async fn close_stdin(&mut self) -> Result<(), PortError>;

    /// Tells its terminal how large it is now.
    ///
    /// # Errors
    /// `Invalid` if it has none, or its input is closed.
    async fn resize(&mut self, rows: u16, columns: u16) -> Result<(), PortError> {
        let _ = (rows, columns);
        Err(PortError::new(super::ErrorCode::Invalid, "the command has no terminal"))
    }

    /// Asks it to end: SIGTERM to its process group.
    ///
    /// # Errors
    /// `Unavailable` if the workspace is gone.
    async fn terminate(&mut self) -> Result<(), PortError>;

    /// Kills it and all that it started. The exit is still to be read.
    ///
    /// # Errors
    /// `Unavailable` if the workspace is gone.
    async fn kill(&mut self) -> Result<(), PortError>;

    /// Lets it live on; the id is for [`Commands::attach`].
    ///
    /// # Errors
    /// `Invalid` if it was not permitted to run in the background,
    /// `Unavailable` if too many do or the workspace is gone. It is killed then.
    async fn detach(self: Box<Self>) -> Result<String, PortError>;
}

/// One piece of what a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Bytes from standard output, at most 64 KiB.
    Stdout(Vec<u8>),
    /// Bytes from standard error, at most 64 KiB.
    Stderr(Vec<u8>),
    /// So many bytes are missing here: nobody read them, and newer ones took
    /// their place.
    Skipped(u64),
    /// The end.
    Exit(Ended),
}

/// The end of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub exit: Exit,
    /// Bytes of output dropped beyond the bound.
    pub dropped: u64,
    /// Limits that were reached while it ran. Those of the workspace may have
    /// been reached by another command.
    pub limits: Vec<LimitReached>,
}

impl Ended {
    /// An end without limits, and with all of the output.
    pub fn of(exit: Exit) -> Self {
        Self { exit, dropped: 0, limits: Vec::new() }
    }
}

/// A limit that a command ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitReached {
    /// Which one.
    pub limit: CommandLimit,
    /// Its value, in the unit that its name ends with.
    pub value: u64,
}

impl std::fmt::Display for LimitReached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} = {}", self.limit.name(), self.value)
    }
}

/// The limits of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandLimit {
    /// Time.
    Timeout,
    /// Time without output.
    IdleTimeout,
    /// Bytes of output.
    Output,
    /// Memory of the workspace: the kernel or init killed a process for it.
    Memory,
    /// Processes of the workspace: one could not be made.
    Processes,
    /// Bytes that the workspace's folders take up: all commands were killed.
    Disk,
    /// Bytes that are to stay free on the disk: all commands were killed.
    DiskFree,
    /// Files for which there is to be room on the disk: all commands were killed.
    DiskFreeFiles,
}

impl CommandLimit {
    /// Its name, with its unit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout_ms",
            Self::IdleTimeout => "idle_timeout_ms",
            Self::Output => "output_bytes",
            Self::Memory => "memory_bytes",
            Self::Processes => "processes",
            Self::Disk => "disk_bytes",
            Self::DiskFree => "disk_free_bytes",
            Self::DiskFreeFiles => "disk_free_files",
        }
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Code(u8),
    /// By this signal.
    Signal(u8),
    /// Killed when its time ran out, or when it was silent for too long.
    TimedOut,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
            Self::TimedOut => f.write_str("timed out"),
        }
    }
}
