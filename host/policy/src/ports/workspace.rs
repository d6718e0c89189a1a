//! Workspaces.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use sortie_core::action::WorkspaceCreate;
use sortie_core::secret::Secret;

use super::{Commands, Files, PortError};
use crate::Permit;

/// Makes workspaces of one kind.
#[async_trait]
pub trait Workspaces: Send + Sync {
    /// Makes that available which a workspace is made of, by pulling or
    /// building an image if need be, and says what it is. Two workspaces of
    /// the same identity begin with the same files around their folders.
    ///
    /// # Errors
    /// `Unavailable` with what would help; `Invalid` if the repository names
    /// an image that it may not; `NotFound` if the action names an image by
    /// its id that is not there.
    async fn identify(
        &self,
        permit: Permit<WorkspaceCreate>,
        spec: &WorkspaceSpec,
    ) -> Result<Identity, PortError>;

    /// Removes an image that [`Workspace::commit`] made, if it is there.
    async fn discard(&self, image: &str);

    /// Starts a workspace over these folders.
    ///
    /// # Errors
    /// `Unavailable` with what would help, if this machine cannot enforce it;
    /// `Invalid` if the repository names an image that it may not.
    async fn create(
        &self,
        permit: Permit<WorkspaceCreate>,
        spec: WorkspaceSpec,
    ) -> Result<Arc<dyn Workspace>, PortError>;
}

/// What a workspace is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The same for what begins with the same files.
    pub id: String,
    /// The id of the image, for kinds that have one.
    pub image: Option<String>,
}

/// The folders of a workspace, on the host, and what its commands are given.
#[derive(Clone, Debug, Default)]
pub struct WorkspaceSpec {
    /// Root of the work tree. It exists.
    pub work_tree: PathBuf,
    /// The home of the commands, for caches. It exists.
    pub home: PathBuf,
    /// Environment variables of all commands.
    pub variables: Vec<(String, String)>,
    /// Further ones, of which nothing else in the workspace may know.
    pub secrets: Vec<(String, Secret)>,
    /// Images of the action, by name, that the repository named: all others are somebody's word who may use the engine.
    pub images_of_repository: Vec<String>,
    /// What commands may use up at most, beside what holds for all.
    pub limits: WorkspaceLimits,
}

/// What commands may use up; none for what holds anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkspaceLimits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// Processors, such as 1.5.
    pub cpus: Option<f64>,
}

/// A running workspace.
#[async_trait]
pub trait Workspace: Send + Sync {
    /// Its commands.
    fn commands(&self) -> Arc<dyn Commands>;

    /// Its files.
    fn files(&self) -> Arc<dyn Files>;

    /// Keeps the root file system, without the two folders, as an image of
    /// this name, and says its id. None for kinds whose commands cannot
    /// change it.
    ///
    /// # Errors
    /// `TooLarge` beyond the bound, `Unavailable` if the engine fails.
    async fn commit(&self, name: &str) -> Result<Option<String>, PortError>;

    /// Files beside the two folders that commands have changed and that hold
    /// one of these, in bytes, name or link target. Their names are whole, as
    /// commands chose them: to be masked before they are cut or shown.
    ///
    /// # Errors
    /// If they cannot be read. It may name one, too.
    async fn search_root(&self, needles: &[Vec<u8>]) -> Result<Vec<String>, PortError>;

    /// Ends all processes in it and waits until they are gone. A second call
    /// has nothing to do.
    ///
    /// # Errors
    /// If they may be there still, or what they left is not the host's to touch:
    /// nobody is to read, keep or remove its folders then.
    async fn stop(&self) -> Result<(), PortError>;
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
