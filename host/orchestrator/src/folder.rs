//! The folder of a task, and the lock that says whose task it is.

#![expect(clippy::disallowed_methods, reason = "makes and removes the folders of tasks")]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
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

    /// Removes work tree and home. Nothing of the workspace runs any more.
    ///
    /// # Errors
    /// If something in them cannot be removed.
    pub fn remove_workspace(&self) -> Result<(), FolderError> {
        for part in [self.work_tree(), self.home()] {
            // does not follow links, and holds every directory open while it empties it
            let removed = match fs::remove_dir_all(&part) {
                // the caches of some package managers are read-only, down to their folders
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    open_up(&part).and_then(|()| fs::remove_dir_all(&part))
                }
                removed => removed,
            };
            removed.map_err(|source| failed("remove", &part, source))?;
        }
        Ok(())
    }
}

/// Makes every folder in one that nobody else changes writable.
fn open_up(folder: &Path) -> io::Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            // of a link, the link's own
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_with_read_only_folders_is_removed_and_what_its_links_lead_to_is_not() {
        let home = tempfile::tempdir().expect("a folder");
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let id = "task-7k2m9q".parse().expect("an id");
        let task = TaskFolder::create(home.path(), &id, owner).expect("is made");
        let outside = home.path().join("outside");
        fs::create_dir(&outside).expect("is made");
        fs::write(outside.join("file"), "x").expect("is written");
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o500)).expect("is set");
        let cache = task.home().join("cache/module");
        fs::create_dir_all(&cache).expect("is made");
        fs::write(cache.join("file"), "x").expect("is written");
        std::os::unix::fs::symlink(&outside, cache.join("link")).expect("is linked");
        for folder in [&cache, &task.home().join("cache")] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o500)).expect("is set");
        }
        task.remove_workspace().expect("is removed");
        assert!(!task.home().exists() && outside.join("file").exists());
        assert_eq!(fs::metadata(&outside).expect("is there").permissions().mode() & 0o777, 0o500);
    }

    #[test]
    fn a_task_has_one_owner() {
        let home = tempfile::tempdir().expect("a folder");
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let id = "task-7k2m9q".parse().expect("an id");
        let task = TaskFolder::create(home.path(), &id, owner).expect("is made");
        assert!(TaskFolder::is_taken(home.path(), &id));
        assert!(TaskFolder::create(home.path(), &id, owner).is_err());
        drop(task);
        assert!(!TaskFolder::is_taken(home.path(), &id));
    }
}
