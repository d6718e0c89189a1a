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

/// Copies the folders of workspaces.
#[async_trait]
pub trait Forks: Send + Sync {
    /// Copies both folders of `source`, in which nothing runs, to those of `copy`, which are not there yet. The copy
    /// shares no file with its source; links are copied as links, and what is neither folder, file nor link is
    /// left out. If it fails, nothing of the copy stays.
    ///
    /// # Errors
    /// `NotFound` if a source is not there, `Conflict` if a copy is, `TooLarge` beyond the bound.
    async fn fork(
        &self,
        permit: Permit<WorkspaceCreate>,
        source: &WorkspaceSpec,
        copy: &WorkspaceSpec,
    ) -> Result<Forked, PortError>;
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forked {
    /// Regular files.
    pub files: u64,
    /// Of these, those that share their blocks with the source until one of the two is written.
    pub shared: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// Fifos, sockets and devices, which are left out.
    pub special: u64,
    /// Bytes of the files.
    pub bytes: u64,
}
