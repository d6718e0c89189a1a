//! What the parts of a task's folder are called. Nobody else spells that out.

use std::path::{Path, PathBuf};

use sortie_core::TaskId;
use sortie_workspace::container::Container;

use super::{FolderError, TaskFolder};

/// What a workspace lies in, part beside part: that of the task, or a blank one that has nothing of the task in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceParts {
    beside: PathBuf,
}

impl WorkspaceParts {
    /// Of the task's own workspace.
    pub fn own(home: &Path, id: &TaskId) -> Self {
        Self { beside: TaskFolder::place(home, id) }
    }

    /// Of all that a task may have.
    pub fn all(home: &Path, id: &TaskId) -> [Self; 2] {
        let own = Self::own(home, id);
        [own.blank(), own]
    }

    /// Those that a work tree is one of.
    pub fn of(work_tree: &Path) -> Self {
        Self { beside: work_tree.parent().unwrap_or(Path::new("/")).to_owned() }
    }

    pub(super) fn within(beside: &Path) -> Self {
        Self { beside: beside.to_owned() }
    }

    /// Of the blank one within these.
    pub(super) fn blank(&self) -> Self {
        Self { beside: self.beside.join("blank") }
    }

    /// The folder that they lie in.
    pub(super) fn beside(&self) -> &Path {
        &self.beside
    }

    /// Root of the work tree.
    pub fn work_tree(&self) -> PathBuf {
        self.beside.join("workspace")
    }

    /// Home of the commands.
    pub fn home(&self) -> PathBuf {
        self.beside.join("home")
    }

    /// What a container sees of ours.
    pub fn container(&self) -> PathBuf {
        self.beside.join("container")
    }

    /// Whether work tree and home are there, to start a workspace over.
    pub fn are_there(&self) -> bool {
        self.work_tree().is_dir() && self.home().is_dir()
    }

    /// Whether work tree and home are those of a container's root, who has to give them back first.
    pub fn are_roots(&self) -> bool {
        Container::is_roots(&self.container())
    }

    /// Refuses to whoever would rename, remove or read what is root's: it may be nobody's to remove, and who has
    /// half removed it is told by nothing that the rest is there.
    pub(super) fn check_owned(&self, id: &TaskId) -> Result<(), FolderError> {
        if self.are_roots() { Err(FolderError::Roots(id.clone())) } else { Ok(()) }
    }
}
