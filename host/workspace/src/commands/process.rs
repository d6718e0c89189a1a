//! The [`Process`] port over one running command.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sortie_policy::ports::{Chunk, ErrorCode, PortError, Process};

use super::detached::Detached;
use super::port_error;
use crate::client::{InputError, Running};

/// A command that somebody holds.
#[derive(Debug)]
pub(super) struct CommandProcess {
    /// There until it is detached.
    running: Option<Running>,
    detached: Arc<Detached>,
    /// Its id, if it was detached before.
    id: Option<String>,
}

impl CommandProcess {
    pub(super) fn new(running: Running, detached: Arc<Detached>) -> Self {
        Self { running: Some(running), detached, id: None }
    }

    pub(super) fn attached(running: Running, detached: Arc<Detached>, id: String) -> Self {
        Self { running: Some(running), detached, id: Some(id) }
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("detaching consumes the process")
    }
}

impl Drop for CommandProcess {
    fn drop(&mut self) {
        if let (Some(_), Some(id)) = (&self.running, &self.id) {
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

    async fn kill(&mut self) -> Result<(), PortError> {
        self.running().kill();
        Ok(())
    }

    async fn detach(mut self: Box<Self>) -> Result<String, PortError> {
        let running = self.running.take().expect("detaching consumes the process");
        self.detached.park(running, self.id.take())
    }
}

fn input_error(error: InputError) -> PortError {
    PortError::new(ErrorCode::Invalid, error.to_string())
}
