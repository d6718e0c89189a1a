//! The folder of a task, and the lock that says whose task it is.

#![expect(clippy::disallowed_methods, reason = "makes and removes the folders of tasks")]

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sortie_core::TaskId;

/// Why a folder could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Somebody else works on this task.
    #[error("another process works on {0}")]
    Taken(TaskId),
    /// The task has no folder here.
    #[error("{0} has no folder: it never began, or its folder was removed")]
    None(TaskId),
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
    /// The user of the commands.
    owner: (u32, u32),
    /// Empty while nobody works on the task and nothing is to be cleared up:
    /// so a sweep finds those of a process that was killed at a glance.
    lock: File,
}

impl Drop for TaskFolder {
    fn drop(&mut self) {
        // a sweep that finds it otherwise finds nothing to do
        drop(self.lock.set_len(0));
    }
}

/// Written into the lock while somebody works on the task.
const WORKING: &[u8] = b"working\n";

/// How often a lock that is held is tried again.
const GLANCES: u32 = 10;

/// Marks a work tree that came from an archive and is to go again.
const BORROWED: &str = "borrowed";

/// Marks work tree and home in which nobody has looked for secrets yet.
const SUSPECT: &str = "suspect";

impl TaskFolder {
    /// Takes up the folder of a task that nobody works on, and locks it.
    ///
    /// # Errors
    /// If there is none, or somebody works on the task.
    pub fn open(home: &Path, id: &TaskId, owner: (u32, u32)) -> Result<Self, FolderError> {
        let path = Self::place(home, id);
        if !path.is_dir() {
            return Err(FolderError::None(id.clone()));
        }
        let mut tries = 0;
        let lock = loop {
            match lock(&path, id) {
                // who only looks whether somebody works on it holds the lock for a moment
                Err(FolderError::Taken(_)) if tries < GLANCES => {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(10));
                }
                lock => break lock?,
            }
        };
        Self { path, owner, lock }.working()
    }

    fn working(mut self) -> Result<Self, FolderError> {
        let written = self.lock.write_all(WORKING);
        written.map_err(|source| failed("write", &self.path.join("lock"), source))?;
        Ok(self)
    }

    /// Whether work tree and home are there, to start a workspace over.
    pub fn has_workspace(&self) -> bool {
        self.work_tree().is_dir() && self.home().is_dir()
    }

    /// Makes room for a work tree from an archive, with an empty home, and
    /// notes that both go again if this process cannot see to it.
    ///
    /// # Errors
    /// If the disk does not allow it.
    pub fn borrow_workspace(&self) -> Result<(), FolderError> {
        let mark = self.path.join(BORROWED);
        File::create(&mark).map_err(|source| failed("make", &mark, source))?;
        for part in [self.work_tree(), self.home()] {
            if part.exists() {
                remove(&part)?;
            }
        }
        self.make_part(&self.home())
    }

    /// Makes a borrowed work tree the task's own again.
    ///
    /// # Errors
    /// If the disk does not allow it.
    pub fn keep_borrowed(&self) -> Result<(), FolderError> {
        let mark = self.path.join(BORROWED);
        fs::remove_file(&mark).map_err(|source| failed("remove", &mark, source))
    }

    /// Removes a borrowed work tree, and its home.
    ///
    /// # Errors
    /// If something in them cannot be removed.
    pub fn return_borrowed(&self) -> Result<(), FolderError> {
        for part in [self.work_tree(), self.home()] {
            if part.exists() {
                remove(&part)?;
            }
        }
        self.keep_borrowed()
    }

    /// Notes that commands are given secrets, which they may leave in work
    /// tree or home: if this process is killed, both go.
    ///
    /// # Errors
    /// If the disk does not allow it.
    pub fn suspect(&self) -> Result<(), FolderError> {
        let mark = self.path.join(SUSPECT);
        File::create(&mark).map(drop).map_err(|source| failed("make", &mark, source))
    }

    /// Notes that no secret was found, and that none is given any more.
    ///
    /// # Errors
    /// If the disk does not allow it.
    pub fn clear_of_suspicion(&self) -> Result<(), FolderError> {
        let mark = self.path.join(SUSPECT);
        match fs::remove_file(&mark) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &mark, error)),
            _ => Ok(()),
        }
    }

    /// Clears up after processes that were killed while they worked on a
    /// task: temporary files and folders, borrowed work trees, and those that
    /// may hold secrets of set-up. What the task itself made stays. Returns in
    /// how many tasks there was something to do.
    pub fn sweep(home: &Path) -> usize {
        let entries = fs::read_dir(home.join("tasks")).into_iter().flatten().flatten();
        entries.filter(|entry| Self::sweep_one(home, &entry.file_name())).count()
    }

    fn sweep_one(home: &Path, name: &OsStr) -> bool {
        let Some(id) = name.to_str().and_then(|name| name.parse::<TaskId>().ok()) else { return false };
        let path = Self::place(home, &id);
        if !fs::metadata(path.join("lock")).is_ok_and(|lock| lock.len() > 0) {
            return false;
        }
        // the user of the commands plays no part in removing
        let Ok(lock) = lock(&path, &id) else { return false };
        let folder = Self { path, owner: (0, 0), lock };
        let cleared = folder.clear_up();
        if let Err(error) = &cleared {
            tracing::warn!(task = %id, %error, "what a killed process left cannot be removed");
            // and is found again the next time
            drop(fs::write(folder.path.join("lock"), WORKING));
            std::mem::forget(folder);
        }
        cleared.is_ok()
    }

    fn clear_up(&self) -> Result<(), FolderError> {
        if self.path.join(BORROWED).exists() {
            self.return_borrowed()?;
        }
        let is_suspect = self.path.join(SUSPECT).exists();
        let [work_tree, home] = self.going();
        let mut parts = vec![self.blank(), self.path.join("container"), home];
        // the home follows the work tree, which goes last so that this can be told
        if is_suspect {
            parts.extend([self.work_tree(), self.home()]);
        } else if work_tree.is_dir() && !self.work_tree().exists() {
            parts.push(self.home());
        }
        parts.push(work_tree);
        for part in parts {
            if part.is_dir() {
                remove(&part)?;
            }
        }
        // last: until then a sweep that is killed is made again
        self.clear_of_suspicion()?;
        for folder in [self.blobs(), self.repository()] {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                // as the crate `tempfile` names what it makes
                if !entry.file_name().as_encoded_bytes().starts_with(b".tmp") {
                    continue;
                }
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    remove(&path)?;
                } else {
                    fs::remove_file(&path).map_err(|source| failed("remove", &path, source))?;
                }
            }
        }
        Ok(())
    }

    /// Makes the folder of a new task, with its parts, and locks it. Work tree
    /// and home belong to `owner` (uid, gid), the user of the commands.
    ///
    /// # Errors
    /// If the disk does not allow it, or the task has a folder already.
    pub fn create(home: &Path, id: &TaskId, owner: (u32, u32)) -> Result<Self, FolderError> {
        let tasks = home.join("tasks");
        private(true, &tasks)?;
        sortie_workspace::spread(&tasks);
        let path = tasks.join(id.as_str());
        private(false, &path)?;
        let folder = Self { lock: lock(&path, id)?, path, owner }.working()?;
        private(false, &folder.blobs())?;
        for part in [folder.work_tree(), folder.home()] {
            folder.make_part(&part)?;
        }
        Ok(folder)
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
        let blank = self.blank();
        if blank.exists() {
            self.remove_blank()?;
        }
        private(false, &blank)?;
        let (work_tree, home) = (blank.join("workspace"), blank.join("home"));
        self.make_part(&work_tree)?;
        self.make_part(&home)?;
        Ok((work_tree, home))
    }

    /// Removes what [`Self::make_blank`] made, and what was put into it.
    /// Nothing of that workspace runs any more.
    ///
    /// # Errors
    /// If something in it cannot be removed.
    pub fn remove_blank(&self) -> Result<(), FolderError> {
        remove(&self.blank())
    }

    fn blank(&self) -> PathBuf {
        self.path.join("blank")
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
        // half a work tree would be taken for a whole one, if this process is killed meanwhile
        for (part, going) in [self.work_tree(), self.home()].iter().zip(self.going()) {
            if going.exists() {
                remove(&going)?;
            }
            fs::rename(part, &going).map_err(|source| failed("remove", part, source))?;
        }
        self.going().iter().try_for_each(|part| remove(part))
    }

    /// Work tree and home on their way out.
    fn going(&self) -> [PathBuf; 2] {
        ["workspace.going", "home.going"].map(|name| self.path.join(name))
    }
}

/// Removes a folder that nothing changes any more. Links are not followed.
fn remove(folder: &Path) -> Result<(), FolderError> {
    // holds every directory open while it empties it
    let removed = match fs::remove_dir_all(folder) {
        // the caches of some package managers are read-only, down to their folders
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(folder).and_then(|()| fs::remove_dir_all(folder))
        }
        removed => removed,
    };
    removed.map_err(|source| failed("remove", folder, source))
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
        assert!(TaskFolder::create(home.path(), &id, owner).is_err());
        drop(task);
        assert!(!TaskFolder::is_taken(home.path(), &id));
    }

    fn made(home: &Path) -> (TaskId, (u32, u32)) {
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let id: TaskId = "task-7k2m9q".parse().expect("an id");
        drop(TaskFolder::create(home, &id, owner).expect("is made"));
        (id, owner)
    }

    /// As a process leaves a task that is killed.
    fn killed(folder: TaskFolder) {
        let lock = folder.path().join("lock");
        drop(folder);
        fs::write(lock, WORKING).expect("is written");
    }

    #[test]
    fn a_sweep_clears_up_after_the_dead_and_leaves_the_living_and_what_the_task_made() {
        let home = tempfile::tempdir().expect("a folder");
        let (id, owner) = made(home.path());
        assert_eq!(TaskFolder::sweep(home.path()), 0, "it ended in order");
        let task = TaskFolder::open(home.path(), &id, owner).expect("opens");
        fs::write(task.blobs().join(".tmpAbC"), "half").expect("is written");
        fs::write(task.blobs().join("a".repeat(64)), "whole").expect("is written");
        fs::create_dir_all(task.repository().join(".tmpDeF/x")).expect("is made");
        fs::write(task.work_tree().join(".tmp-of-theirs"), "theirs").expect("is written");
        task.make_blank().expect("is made");
        assert_eq!(TaskFolder::sweep(home.path()), 0, "it lives");
        let (blobs, repository, tree) = (task.blobs(), task.repository(), task.work_tree());
        assert!(blobs.join(".tmpAbC").exists());
        killed(task);
        assert_eq!(TaskFolder::sweep(home.path()), 1);
        assert!(!blobs.join(".tmpAbC").exists() && !repository.join(".tmpDeF").exists());
        assert!(!TaskFolder::place(home.path(), &id).join("blank").exists());
        assert!(blobs.join("a".repeat(64)).exists() && tree.join(".tmp-of-theirs").exists());
        assert_eq!(TaskFolder::sweep(home.path()), 0, "once");
    }

    #[test]
    fn a_workspace_that_was_being_removed_is_gone_or_whole_and_goes_with_the_next_sweep() {
        let home = tempfile::tempdir().expect("a folder");
        let (id, owner) = made(home.path());
        for step in 0..3 {
            let task = TaskFolder::open(home.path(), &id, owner).expect("opens");
            if !task.has_workspace() {
                task.make_part(&task.work_tree()).expect("is made");
                task.make_part(&task.home()).expect("is made");
            }
            let parts = [task.work_tree(), task.home()];
            // as far as a process comes that is killed after so many steps
            for (part, going) in parts.iter().zip(task.going()).take(step) {
                fs::rename(part, going).expect("is moved");
            }
            let (path, whole) = (task.path().to_owned(), task.has_workspace());
            assert_eq!(whole, step == 0);
            killed(task);
            assert_eq!(TaskFolder::sweep(home.path()), 1);
            let mut names: Vec<_> = fs::read_dir(path)
                .expect("is read")
                .map(|entry| entry.expect("an entry").file_name())
                .collect();
            names.sort();
            let left: &[&str] =
                if whole { &["blobs", "home", "lock", "workspace"] } else { &["blobs", "lock"] };
            assert_eq!(names, left, "after {step} steps");
        }
    }

    #[test]
    fn a_borrowed_work_tree_goes_with_whoever_borrowed_it() {
        let home = tempfile::tempdir().expect("a folder");
        let (id, owner) = made(home.path());
        let task = TaskFolder::open(home.path(), &id, owner).expect("opens");
        task.remove_workspace().expect("is removed");
        assert!(!task.has_workspace());
        task.borrow_workspace().expect("there is room");
        fs::create_dir(task.work_tree()).expect("is made");
        assert!(task.has_workspace());
        let (tree, marked) = (task.work_tree(), task.path().join(BORROWED));
        killed(task);
        assert_eq!(TaskFolder::sweep(home.path()), 1);
        assert!(!tree.exists() && !marked.exists());
        let other = "task-aaaaaa".parse().expect("an id");
        assert!(matches!(TaskFolder::open(home.path(), &other, owner), Err(FolderError::None(_))));
    }
}
