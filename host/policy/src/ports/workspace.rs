//! Workspaces.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use sortie_core::action::WorkspaceCreate;

use super::{Commands, Files, PortError};
use crate::Permit;

/// Makes workspaces of one kind.
#[async_trait]
pub trait Workspaces: Send + Sync {
    /// Starts a workspace over these folders.
    ///
    /// # Errors
    /// `Unavailable` with what would help, if this machine cannot enforce it.
    async fn create(
        &self,
        permit: Permit<WorkspaceCreate>,
        spec: WorkspaceSpec,
    ) -> Result<Arc<dyn Workspace>, PortError>;
}

/// The folders of a workspace, on the host. Both exist.
#[derive(Clone, Debug)]
pub struct WorkspaceSpec {
    /// Root of the work tree.
    pub work_tree: PathBuf,
    /// The home of the commands, for caches.
    pub home: PathBuf,
}

/// A running workspace.
#[async_trait]
pub trait Workspace: Send + Sync {
    /// Its commands.
    fn commands(&self) -> Arc<dyn Commands>;

    /// Its files.
    fn files(&self) -> Arc<dyn Files>;

    /// Ends all processes in it and waits until they are gone.
    async fn stop(&self);
}
