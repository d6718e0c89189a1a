//! The folder of a task, and the lock that says whose task it is.

#![expect(clippy::disallowed_methods, reason = "makes and removes the folders of tasks")]

mod parts;
mod retention;
mod sweep;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sortie_core::TaskId;
use sortie_lock::{Hold, Lock};
use sortie_workspace::remove_tree;

pub use parts::WorkspaceParts;
pub use retention::Stale;

/// Why a folder could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Somebody else works on this task.
    #[error("another process works on {0}")]
    Taken(TaskId),
    /// The task has no folder here.
    #[error("{0} has no folder: it never began, or its folder was removed")]
    None(TaskId),
    /// What a killed process left has to be cleared up first.
    #[error("what a killed process left of {0} is not cleared up; the next command tries again")]
    Leavings(TaskId),
    /// Commands of a set-up were root in it, and the engine has not given it back.
    #[error(
        "files of {0} are root's, as whom its set-up ran, and nobody touches them before its container engine gives \
         them back: start the engine, and the next command sees to that; `sortie gc` waits for it"
    )]
    Roots(TaskId),
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
    id: TaskId,
    path: PathBuf,
    /// The user of the commands.
    owner: (u32, u32),
    /// Empty while nobody works on the task and nothing is to be cleared up:
    /// so a sweep finds those of a process that was killed at a glance.
    lock: Lock,
}

impl Drop for TaskFolder {
    fn drop(&mut self) {
        // a sweep that finds it otherwise finds nothing to do
        if !self.has_leavings() {
            drop(self.lock.file().set_len(0));
        }
    }
}

/// Written into the lock while somebody works on the task.
const WORKING: &[u8] = b"working\n";

/// For how long a lock that is held is tried again: of a task that somebody may work on, and of one that nobody knew
/// before.
const GLANCE: Duration = Duration::from_millis(100);
const GLANCES: Duration = Duration::from_secs(10);

impl TaskFolder {
    /// Makes the folder of a new task, with its parts, and locks it. Work tree
    /// and home belong to `owner` (uid, gid), the user of the commands.
    ///
    /// # Errors
    /// If the disk does not allow it, or the task has a folder already.
    pub fn create(home: &Path, id: &TaskId, owner: (u32, u32)) -> Result<Self, FolderError> {
        let folder = Self::create_bare(home, id, owner)?;
        for part in [folder.work_tree(), folder.home()] {
            folder.make_part(&part)?;
        }
        Ok(folder)
    }

    /// Makes the folder of a task that has none any more, without a workspace,
    /// and locks it.
    ///
    /// # Errors
    /// As [`TaskFolder::create`].
    pub fn create_bare(home: &Path, id: &TaskId, owner: (u32, u32)) -> Result<Self, FolderError> {
        let tasks = home.join("tasks");
        private(true, &tasks)?;
        sortie_workspace::spread(&tasks);
        let path = tasks.join(id.as_str());
        private(false, &path)?;
        let folder = Self::take(home, id, owner, GLANCES)?.working()?;
        private(false, &folder.blobs())?;
        Ok(folder)
    }

    /// Takes up the folder of a task that nobody works on, and locks it.
    ///
    /// # Errors
    /// If there is none, somebody works on the task, or nobody is to look into
    /// its workspace before that has been cleared up.
    pub fn open(home: &Path, id: &TaskId, owner: (u32, u32)) -> Result<Self, FolderError> {
        let folder = Self::take(home, id, owner, GLANCE)?;
        folder.parts().check_owned(id)?;
        if folder.is_suspect() {
            return Err(FolderError::Leavings(id.clone()));
        }
        folder.working()
    }

    /// Locks the folder of a task that nobody works on; who only looks whether somebody does is waited for.
    fn take(home: &Path, id: &TaskId, owner: (u32, u32), patience: Duration) -> Result<Self, FolderError> {
        let path = Self::place(home, id);
        if !path.is_dir() {
            return Err(FolderError::None(id.clone()));
        }
        let until = Instant::now() + patience;
        let lock = loop {
            match lock(&path, id) {
                Err(FolderError::Taken(_)) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                lock => break lock?,
            }
        };
        Ok(Self { id: id.clone(), path, owner, lock })
    }

    fn working(self) -> Result<Self, FolderError> {
        let written = self.lock.file().write_all(WORKING);
        written.map_err(|source| failed("write", &self.path.join("lock"), source))?;
        Ok(self)
    }

    /// The tasks that have folders, in no order.
    pub fn all(home: &Path) -> Vec<TaskId> {
        let entries = fs::read_dir(home.join("tasks")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// Whether somebody works on a task.
    pub fn is_taken(home: &Path, id: &TaskId) -> bool {
        let path = home.join("tasks").join(id.as_str());
        matches!(lock(&path, id), Err(FolderError::Taken(_)))
    }

    /// Keeps others from a task on which nobody works, for as long as what this
    /// returns lives, and changes nothing of it.
    ///
    /// # Errors
    /// As [`TaskFolder::open`].
    pub fn hold(home: &Path, id: &TaskId) -> Result<Lock, FolderError> {
        let path = Self::place(home, id);
        if path.is_dir() { lock(&path, id) } else { Err(FolderError::None(id.clone())) }
    }

    /// Where the folder of a task lies, whether it is there or not.
    pub fn place(home: &Path, id: &TaskId) -> PathBuf {
        home.join("tasks").join(id.as_str())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the task's own workspace lies in.
    fn parts(&self) -> WorkspaceParts {
        WorkspaceParts::within(&self.path)
    }

    /// Root of the work tree.
    pub fn work_tree(&self) -> PathBuf {
        self.parts().work_tree()
    }

    /// Home of the commands in the workspace.
    pub fn home(&self) -> PathBuf {
        self.parts().home()
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

    /// Whether work tree and home are there, to start a workspace over.
    pub fn has_workspace(&self) -> bool {
        self.parts().are_there()
    }

    /// Whether work tree and home are root's of a container, which has to give
    /// them back before anybody reads or removes them.
    ///
    /// # Errors
    /// If they are.
    pub fn check_owned(&self) -> Result<(), FolderError> {
        self.parts().check_owned(&self.id)
    }

    /// A folder that belongs to the user of the commands.
    fn make_part(&self, part: &Path) -> Result<(), FolderError> {
        private(false, part)?;
        chown(part, Some(self.owner.0), Some(self.owner.1))
            .map_err(|source| failed("give away", part, source))
    }

    /// Makes the work tree empty again. Nothing has run in it.
    ///
    /// # Errors
    /// If the disk does not allow it.
    pub fn empty_work_tree(&self) -> Result<(), FolderError> {
        let tree = self.work_tree();
        // the folder itself stays: a new one would have no quota
        for entry in fs::read_dir(&tree).map_err(|source| failed("read", &tree, source))? {
            let path = entry.map_err(|source| failed("read", &tree, source))?.path();
            if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
                remove(&path)?;
            } else {
                fs::remove_file(&path).map_err(|source| failed("remove", &path, source))?;
            }
        }
        Ok(())
    }

    /// Makes an empty work tree and an empty home, for a workspace that has
    /// nothing of the task in it. What was left of an earlier one is removed.
    ///
    /// # Errors
    /// If the disk does not allow it.
    pub fn make_blank(&self) -> Result<(PathBuf, PathBuf), FolderError> {
        let blank = self.parts().blank();
        if blank.beside().exists() {
            self.remove_blank()?;
        }
        private(false, blank.beside())?;
        let (work_tree, home) = (blank.work_tree(), blank.home());
        self.make_part(&work_tree)?;
        self.make_part(&home)?;
        Ok((work_tree, home))
    }

    /// Removes what [`Self::make_blank`] made, and what was put into it.
    /// Nothing of that workspace runs any more.
    ///
    /// # Errors
    /// If something in it cannot be removed, or it is root's.
    pub fn remove_blank(&self) -> Result<(), FolderError> {
        let blank = self.parts().blank();
        blank.check_owned(&self.id)?;
        remove(blank.beside())
    }

    /// Removes work tree and home. Nothing of the workspace runs any more.
    ///
    /// # Errors
    /// If something in them cannot be removed; if they are root's, both are
    /// left as they are.
    pub fn remove_workspace(&self) -> Result<(), FolderError> {
        self.check_owned()?;
        // half a work tree would be taken for a whole one, if this process is killed meanwhile
        for (part, going) in [self.work_tree(), self.home()].iter().zip(self.going()) {
            if going.exists() {
                remove(&going)?;
            }
            fs::rename(part, &going).map_err(|source| failed("remove", part, source))?;
        }
        self.going().iter().try_for_each(|part| remove(part))
    }

    /// Removes work tree, home and the host's own repository: all that the
    /// task did is somewhere else. If this process is killed meanwhile, the
    /// next sweep removes the rest.
    ///
    /// # Errors
    /// As [`TaskFolder::remove_workspace`], with the repository.
    pub fn remove_all_but_records(&self) -> Result<(), FolderError> {
        self.check_owned()?;
        let (repository, going) = (self.repository(), self.repository_going());
        if repository.is_dir() {
            // first: a sweep that finds it knows by it that the others are to go as well
            fs::rename(&repository, &going).map_err(|source| failed("remove", &repository, source))?;
        }
        self.remove_workspace()?;
        if going.is_dir() { remove(&going) } else { Ok(()) }
    }

    /// Work tree and home on their way out.
    fn going(&self) -> [PathBuf; 2] {
        ["workspace.going", "home.going"].map(|name| self.path.join(name))
    }

    /// The repository on its way out.
    fn repository_going(&self) -> PathBuf {
        self.path.join("repository.going")
    }
}

/// Removes a folder that nothing changes any more. Links are not followed.
fn remove(folder: &Path) -> Result<(), FolderError> {
    remove_tree(folder).map_err(|source| failed("remove", folder, source))
}

fn private(parents: bool, path: &Path) -> Result<(), FolderError> {
    DirBuilder::new()
        .mode(0o700)
        .recursive(parents)
        .create(path)
        .map_err(|source| failed("make", path, source))
}

fn lock(folder: &Path, id: &TaskId) -> Result<Lock, FolderError> {
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|source| failed("open", &path, source))?;
    lock_open(file, &path, id)
}

/// Locks a file that was found at this path.
fn lock_open(file: File, path: &Path, id: &TaskId) -> Result<Lock, FolderError> {
    Lock::at(path, file, Hold::Exclusive).map_err(|error| match error.kind() {
        // somebody removed the folder between the two
        io::ErrorKind::NotFound => FolderError::None(id.clone()),
        io::ErrorKind::WouldBlock => FolderError::Taken(id.clone()),
        _ => failed("lock", path, error),
    })
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> FolderError {
    FolderError::Io { action, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn made(home: &Path) -> (TaskId, (u32, u32)) {
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let id: TaskId = "task-7k2m9q".parse().expect("an id");
        drop(TaskFolder::create(home, &id, owner).expect("is made"));
        (id, owner)
    }

    #[test]
    fn an_emptied_work_tree_is_the_same_folder() {
        let home = tempfile::tempdir().expect("a folder");
        let (id, owner) = made(home.path());
        let task = TaskFolder::open(home.path(), &id, owner).expect("opens");
        let inode =
            || std::os::unix::fs::MetadataExt::ino(&fs::metadata(task.work_tree()).expect("is there"));
        let before = inode();
        fs::create_dir_all(task.work_tree().join("a/b")).expect("is made");
        fs::write(task.work_tree().join("file"), "x").expect("is written");
        std::os::unix::fs::symlink(task.blobs(), task.work_tree().join("link")).expect("is linked");
        task.empty_work_tree().expect("is emptied");
        assert_eq!(fs::read_dir(task.work_tree()).expect("is read").count(), 0);
        assert!(task.blobs().exists());
        assert_eq!(inode(), before);
    }

    #[test]
    fn a_task_has_one_owner() {
        let home = tempfile::tempdir().expect("a folder");
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let id = "task-7k2m9q".parse().expect("an id");
        let task = TaskFolder::create(home.path(), &id, owner).expect("is made");
        assert!(TaskFolder::is_taken(home.path(), &id));
        assert!(matches!(TaskFolder::open(home.path(), &id, owner), Err(FolderError::Taken(_))));
        drop(task);
        assert!(!TaskFolder::is_taken(home.path(), &id));
    }
}
