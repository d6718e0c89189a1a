//! The [`Process`] port over one running command.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sortie_policy::ports::{Chunk, ErrorCode, PortError, Process};
use tokio::time::Instant;

use super::detached::Detached;
use super::port_error;
use crate::client::{InputError, Running, Window};

/// A command that somebody holds.
#[derive(Debug)]
pub(super) struct CommandProcess {
    /// There until it is detached.
    running: Option<Running>,
    detached: Arc<Detached>,
    origin: Origin,
}

/// What a command may do after its call.
#[derive(Debug)]
pub(super) enum Origin {
    /// Nothing: it was permitted for as long as somebody holds it.
    Foreground,
    /// It may be detached; this is what it is called then.
    Background { command: String, started: Instant },
    /// It was detached, under this id.
    Detached(String),
}

/// SIGTERM.
const TERMINATE: u8 = 15;

impl CommandProcess {
    pub(super) fn new(running: Running, detached: Arc<Detached>, origin: Origin) -> Self {
        Self { running: Some(running), detached, origin }
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("detaching consumes the process")
    }
}

impl Drop for CommandProcess {
    fn drop(&mut self) {
        if let (Some(_), Origin::Detached(id)) = (&self.running, &self.origin) {
            self.detached.forget(id);
        }
    }
}

#[async_trait]
impl Process for CommandProcess {
    async fn next(&mut self, wait: Duration) -> Result<Option<Chunk>, PortError> {
        self.running().next(wait).await.map_err(port_error)
    }

    async fn write(&mut self, data: &[u8]) -> Result<(), PortError> {
        self.running().write(data).await.map_err(input_error)
    }

    async fn close_stdin(&mut self) -> Result<(), PortError> {
        self.running().close_stdin().await.map_err(input_error)
    }

    async fn resize(&mut self, rows: u16, columns: u16) -> Result<(), PortError> {
        let resized = self.running().resize(Window { rows, columns });
        resized.map_err(|_| PortError::new(ErrorCode::Invalid, "the command has no terminal"))
    }

    async fn terminate(&mut self) -> Result<(), PortError> {
        self.running().signal(TERMINATE);
        Ok(())
    }

    async fn kill(&mut self) -> Result<(), PortError> {
        self.running().kill();
        Ok(())
    }

    async fn detach(mut self: Box<Self>) -> Result<String, PortError> {
        let running = self.running.take().expect("detaching consumes the process");
        match std::mem::replace(&mut self.origin, Origin::Foreground) {
            Origin::Foreground => Err(PortError::new(
                ErrorCode::Invalid,
                "the command was not started to run in the background: ask for `background`",
            )),
            Origin::Background { command, started } => self.detached.park(running, command, started),
            Origin::Detached(id) => self.detached.park_again(running, &id),
        }
    }
}

fn input_error(error: InputError) -> PortError {
    let code = match error {
        InputError::Closed => ErrorCode::Invalid,
        // later it may
        InputError::Blocked | InputError::Unread => ErrorCode::Unavailable,
    };
    PortError::new(code, error.to_string())
}
