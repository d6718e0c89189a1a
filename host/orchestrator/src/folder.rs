//! The folder of a task, and the lock that says whose task it is.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use sortie_core::TaskId;

/// Why a folder could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Somebody else works on this task.
    #[error("another process works on {0}")]
    Taken(TaskId),
    /// The disk does not allow it.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

/// The folder of a task, locked for as long as this lives. Only its owner can
/// look into it (mode 0700).
#[derive(Debug)]
pub struct TaskFolder {
    path: PathBuf,
    _lock: File,
}

impl TaskFolder {
    /// Makes the folder of a new task, with its parts, and locks it. Work tree
    /// and home belong to `owner` (uid, gid), the user of the commands.
    ///
    /// # Errors
    /// If the disk does not allow it, or the task has a folder already.
    pub fn create(home: &Path, id: &TaskId, owner: (u32, u32)) -> Result<Self, FolderError> {
        let tasks = home.join("tasks");
        private(true, &tasks)?;
        let path = tasks.join(id.as_str());
        private(false, &path)?;
        let folder = Self { _lock: lock(&path, id)?, path };
        for part in [folder.work_tree(), folder.home(), folder.blobs()] {
            private(false, &part)?;
        }
        for part in [folder.work_tree(), folder.home()] {
            chown(&part, Some(owner.0), Some(owner.1))
                .map_err(|source| failed("give away", &part, source))?;
        }
        Ok(folder)
    }

    /// Whether somebody works on a task.
    pub fn is_taken(home: &Path, id: &TaskId) -> bool {
        let path = home.join("tasks").join(id.as_str());
        matches!(lock(&path, id), Err(FolderError::Taken(_)))
    }

    /// Where the folder of a task lies, whether it is there or not.
    pub fn place(home: &Path, id: &TaskId) -> PathBuf {
        home.join("tasks").join(id.as_str())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Root of the work tree.
    pub fn work_tree(&self) -> PathBuf {
        self.path.join("workspace")
    }

    /// Home of the commands in the workspace.
    pub fn home(&self) -> PathBuf {
        self.path.join("home")
    }

    /// Large outputs.
    pub fn blobs(&self) -> PathBuf {
        self.path.join("blobs")
    }

    /// The host's own repository.
    pub fn repository(&self) -> PathBuf {
        self.path.join("repository.git")
    }

    /// The change of the task, as a unified diff; written at its end.
    pub fn diff(&self) -> PathBuf {
        self.path.join("changes.diff")
    }

    /// Removes work tree and home.
    ///
    /// # Errors
    /// If something in them cannot be removed.
    pub fn remove_workspace(&self) -> Result<(), FolderError> {
        for part in [self.work_tree(), self.home()] {
            // does not follow links, and holds every directory open while it empties it
            fs::remove_dir_all(&part).map_err(|source| failed("remove", &part, source))?;
        }
        Ok(())
    }
}

fn private(parents: bool, path: &Path) -> Result<(), FolderError> {
    DirBuilder::new()
        .mode(0o700)
        .recursive(parents)
        .create(path)
        .map_err(|source| failed("make", path, source))
}

fn lock(folder: &Path, id: &TaskId) -> Result<File, FolderError> {
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|source| failed("open", &path, source))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(FolderError::Taken(id.clone())),
        Err(error) => Err(failed("lock", &path, error.into())),
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> FolderError {
    FolderError::Io { action, path: path.display().to_string(), source }
}
