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
    ///
    /// # Errors
    /// `NotFound` if there is none of this id, `Conflict` if it is held.
    async fn attach(&self, id: &str) -> Result<Box<dyn Process>, PortError>;
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

    /// Kills it and all that it started. The exit is still to be read.
    ///
    /// # Errors
    /// `Unavailable` if the workspace is gone.
    async fn kill(&mut self) -> Result<(), PortError>;

    /// Lets it live on; the id is for [`Commands::attach`].
    ///
    /// # Errors
    /// `Unavailable` if the workspace is gone.
    async fn detach(self: Box<Self>) -> Result<String, PortError>;
}

/// One piece of what a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Bytes from standard output, at most 64 KiB.
    Stdout(Vec<u8>),
    /// Bytes from standard error, at most 64 KiB.
    Stderr(Vec<u8>),
    /// The end.
    Exit(Ended),
}

/// The end of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub exit: Exit,
    /// Bytes of output dropped beyond the bound.
    pub dropped: u64,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Code(u8),
    /// By this signal.
    Signal(u8),
    /// Killed when its time ran out.
    TimedOut,
}
