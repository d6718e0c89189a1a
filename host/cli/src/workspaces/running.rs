//! A workspace once it runs.

use std::sync::Arc;

use async_trait::async_trait;
use sortie_agent::Journal as _;
use sortie_core::event::Event;
use sortie_orchestrator::TaskJournal;
use sortie_policy::ports::{Background, Commands, Files, PortError, Workspace};
use sortie_workspace::Isolated;
use sortie_workspace::commands::{BackgroundWatch, WorkspaceCommands};
use sortie_workspace::disk::DiskWatch;
use sortie_workspace::egress::Proxy;

use super::{IMAGE_MAX, unavailable};

/// Writes down what runs in the background.
pub(super) struct Watch(pub(super) TaskJournal);

impl BackgroundWatch for Watch {
    fn started(&self, command: &Background) {
        let Background { id, command, .. } = command.clone();
        self.0.append(Event::ProcessStarted { id, command });
    }

    fn ended(&self, command: &Background) {
        let Background { id, command, age, exit } = command.clone();
        let ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let exit = exit.map(|exit| exit.to_string()).unwrap_or_default();
        self.0.append(Event::ProcessEnded { id, command, ms, exit });
    }
}

/// A workspace that is ready for commands.
pub(super) struct Running {
    pub(super) isolated: Box<dyn Isolated>,
    #[expect(dead_code, reason = "it ends what fills the disk, until it is dropped")]
    pub(super) disk: DiskWatch,
    pub(super) proxy: Proxy,
    pub(super) commands: Arc<WorkspaceCommands>,
    pub(super) files: Arc<dyn Files>,
}

#[async_trait]
impl Workspace for Running {
    fn commands(&self) -> Arc<dyn Commands> {
        Arc::clone(&self.commands) as Arc<dyn Commands>
    }

    fn files(&self) -> Arc<dyn Files> {
        Arc::clone(&self.files)
    }

    async fn commit(&self, name: &str) -> Result<Option<String>, PortError> {
        self.isolated.commit(name, IMAGE_MAX).await.map_err(unavailable)
    }

    async fn search_root(&self, needles: &[Vec<u8>]) -> Result<Vec<String>, PortError> {
        self.isolated.search_root(needles).await.map_err(unavailable)
    }

    async fn stop(&self) -> Result<(), PortError> {
        let ended = self.isolated.stop().await;
        self.proxy.stop().await;
        ended.map_err(unavailable)
    }
}
