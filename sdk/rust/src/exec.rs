//! Commands inside the task's workspace.
//!
//! Needs the grant `exec`. There is no implicit shell.
//!
//! ```no_run
//! # use sortie_sdk::prelude::*;
//! # fn main() -> Result<()> {
//! let finished = exec::Command::new(["cargo", "metadata"]).timeout_ms(60_000).run()?;
//! if !finished.success() {
//!     return Err(Error::unavailable(finished.stderr.text()));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A command in the background outlives the call that started it:
//!
//! ```no_run
//! # use sortie_sdk::{Captured, prelude::*};
//! # use sortie_sdk::exec::{Chunk, Command};
//! fn start() -> Result<String> {
//!     Command::new(["serve", "--port", "8080"]).background().spawn()?.detach()
//! }
//!
//! fn look(id: &str) -> Result<String> {
//!     let process = exec::attach(id)?;
//!     let mut log = Captured::new(64 << 10);
//!     while let Some(chunk) = process.next(100)? {
//!         match chunk {
//!             Chunk::Stdout(bytes) | Chunk::Stderr(bytes) => log.push(&bytes),
//!             Chunk::Skipped(bytes) => log.push(format!("[{bytes} bytes are missing]\n").as_bytes()),
//!             Chunk::Exit(ended) => log.push(format!("{:?}\n", ended.exit).as_bytes()),
//!         }
//!     }
//!     // dropped without this, the command is killed
//!     process.detach()?;
//!     Ok(log.text())
//! }
//! ```

use crate::bindings::host::sortie::host::exec as wit;
use crate::{Captured, Result, backend, control};

/// How a command ended, and a piece of what it did.
pub use wit::{Chunk, Ended, Exit};

/// A limit that a command ran into, and a command in the background.
pub use wit::{Background, Limit};

/// How long one wait for output lasts before the call looks whether it was cancelled.
const WAIT_MS: u32 = 250;

/// A command to run, and how much of its output to keep.
#[derive(Clone, Debug)]
pub struct Command {
    command: wit::Command,
    keep: usize,
    merged: bool,
}

impl Command {
    /// A command from its program and arguments.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        let command = wit::Command {
            argv: argv.into_iter().map(Into::into).collect(),
            cwd: None,
            env: Vec::new(),
            stdin: false,
            tty: false,
            background: false,
            timeout_ms: None,
            idle_timeout_ms: None,
            max_output: None,
        };
        Self { command, keep: 1 << 20, merged: false }
    }

    /// A command line for `sh`.
    pub fn shell(line: impl Into<String>) -> Self {
        Self::new(["sh".into(), "-c".into(), line.into()])
    }

    /// Sets the working directory. The default is the root of the work tree.
    #[must_use]
    pub fn cwd(mut self, cwd: impl Into<String>) -> Self {
        self.command.cwd = Some(cwd.into());
        self
    }

    /// Adds a variable to the workspace's environment, or replaces it there.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.command.env.push((name.into(), value.into()));
        self
    }

    /// Makes standard input a pipe for [`Process::write`].
    #[must_use]
    pub fn stdin(mut self) -> Self {
        self.command.stdin = true;
        self
    }

    /// Gives the command a pseudo-terminal. All output is then `stdout`.
    #[must_use]
    pub fn tty(mut self) -> Self {
        self.command.tty = true;
        self
    }

    /// Lets the command be [detached](Process::detach). The policies see it.
    ///
    /// Of its output the newest is kept, [`timeout_ms`](Self::timeout_ms) is
    /// by default the life of the task, and [`max_output`](Self::max_output)
    /// has no meaning.
    #[must_use]
    pub fn background(mut self) -> Self {
        self.command.background = true;
        self
    }

    /// Sets how long the command may go without output before it is killed.
    /// By default it may be silent.
    #[must_use]
    pub fn idle_timeout_ms(mut self, timeout: impl Into<Option<u64>>) -> Self {
        self.command.idle_timeout_ms = timeout.into();
        self
    }

    /// Sets when the command is killed. The default is the time that the call has left.
    #[must_use]
    pub fn timeout_ms(mut self, timeout: impl Into<Option<u64>>) -> Self {
        self.command.timeout_ms = timeout.into();
        self
    }

    /// Sets how many bytes the host passes on, of both streams together. The
    /// default and the most is 8 MiB.
    #[must_use]
    pub fn max_output(mut self, bytes: u64) -> Self {
        self.command.max_output = Some(bytes);
        self
    }

    /// Sets how many bytes of each stream [`run`](Self::run) keeps, from head
    /// and tail. The default is 1 MiB.
    #[must_use]
    pub fn keep(mut self, bytes: usize) -> Self {
        self.keep = bytes;
        self
    }

    /// Makes [`run`](Self::run) put standard error into `stdout`, in order of arrival.
    #[must_use]
    pub fn merged(mut self) -> Self {
        self.merged = true;
        self
    }

    /// Starts the command.
    ///
    /// # Errors
    /// [`Denied`](crate::ErrorCode::Denied) by a policy or the grant,
    /// [`NotFound`](crate::ErrorCode::NotFound) if there is no such program.
    pub fn spawn(&self) -> Result<Process> {
        Ok(Process(backend::exec::spawn(&self.command)?))
    }

    /// Runs the command to its end.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn); [`Cancelled`](crate::ErrorCode::Cancelled)
    /// if the task was, in which case the command is killed.
    pub fn run(&self) -> Result<Finished> {
        self.spawn()?.finish(self.keep, self.merged)
    }
}

/// Runs a command to its end, keeping at most 1 MiB of each stream.
///
/// # Errors
/// As [`Command::run`].
pub fn run<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Result<Finished> {
    Command::new(argv).run()
}

/// Takes up a command that was detached in an earlier call.
///
/// # Errors
/// [`NotFound`](crate::ErrorCode::NotFound) if there is none of this id,
/// [`Conflict`](crate::ErrorCode::Conflict) if another call holds it.
pub fn attach(id: &str) -> Result<Process> {
    Ok(Process(backend::exec::attach(id)?))
}

/// The commands that this plugin detached in this task, oldest first, those
/// that ended included.
///
/// # Errors
/// If the host failed.
pub fn list_background() -> Result<Vec<Background>> {
    Ok(backend::exec::list_background()?)
}

/// A running command. Dropping it kills the command and all that it started.
#[derive(Debug)]
pub struct Process(backend::exec::Process);

impl Process {
    /// The next piece of output, or the exit. None when `wait_ms` passed
    /// without one, or when the exit was read already.
    ///
    /// # Errors
    /// If the workspace failed.
    pub fn next(&self, wait_ms: u32) -> Result<Option<Chunk>> {
        Ok(self.0.next(wait_ms)?)
    }

    /// Writes to standard input, in pieces if need be.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorCode::Invalid) if standard input is no pipe or was closed.
    pub fn write(&self, data: &[u8]) -> Result<()> {
        data.chunks(1 << 20).try_for_each(|piece| Ok(self.0.write(piece)?))
    }

    /// Closes standard input.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn close_stdin(&self) -> Result<()> {
        Ok(self.0.close_stdin()?)
    }

    /// Asks the command to end: SIGTERM to its process group. It need not.
    ///
    /// # Errors
    /// If the workspace failed.
    pub fn terminate(&self) -> Result<()> {
        Ok(self.0.terminate()?)
    }

    /// Kills the command and all that it started. The exit is still to be read.
    ///
    /// # Errors
    /// If the workspace failed.
    pub fn kill(&self) -> Result<()> {
        Ok(self.0.kill()?)
    }

    /// Lets the command live on after this call, for [`attach`] in a later one.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorCode::Invalid) if it was not started with
    /// [`Command::background`], [`Unavailable`](crate::ErrorCode::Unavailable)
    /// if too many are detached. It is killed then.
    pub fn detach(self) -> Result<String> {
        Ok(self.0.detach()?)
    }

    /// Reads to the end, keeping at most `keep` bytes of each stream; with
    /// `merged`, of both together.
    ///
    /// # Errors
    /// [`Cancelled`](crate::ErrorCode::Cancelled) if the task was; the command is then killed.
    pub fn finish(self, keep: usize, merged: bool) -> Result<Finished> {
        let (mut stdout, mut stderr) = (Captured::new(keep), Captured::new(keep));
        let mut skipped = 0;
        loop {
            match self.next(WAIT_MS)? {
                Some(Chunk::Stdout(bytes)) => stdout.push(&bytes),
                Some(Chunk::Stderr(bytes)) if merged => stdout.push(&bytes),
                Some(Chunk::Stderr(bytes)) => stderr.push(&bytes),
                // not of a command in the foreground; the loss is told with the rest
                Some(Chunk::Skipped(bytes)) => skipped += bytes,
                Some(Chunk::Exit(Ended { exit, dropped, limits })) => {
                    let dropped = dropped + skipped;
                    return Ok(Finished { exit, stdout, stderr, dropped, limits });
                }
                None => control::check()?,
            }
        }
    }
}

/// A command that ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub exit: Exit,
    /// Its standard output; with [`Command::merged`], its standard error too.
    pub stdout: Captured,
    /// Its standard error.
    pub stderr: Captured,
    /// Bytes of output that the host dropped beyond [`Command::max_output`].
    pub dropped: u64,
    /// Limits that were reached while it ran.
    pub limits: Vec<Limit>,
}

impl Finished {
    /// Whether it ended with status 0.
    pub fn success(&self) -> bool {
        self.exit == Exit::Code(0)
    }

    /// Its exit status, if it ended with one.
    pub fn code(&self) -> Option<u8> {
        match self.exit {
            Exit::Code(code) => Some(code),
            Exit::Signal(_) | Exit::TimedOut => None,
        }
    }
}
