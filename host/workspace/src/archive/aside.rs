//! Files that are written aside and moved into place.
//!
//! The writer holds a lock on its file, which the kernel gives back when the writer dies, however it dies.

#![expect(clippy::disallowed_methods, reason = "keeps the host's own folder of archives")]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sortie_lock::{Hold, Lock};

const SUFFIX: &str = ".new";

/// A file that is being written. Removed when dropped, unless it was moved.
pub(super) struct Aside {
    path: PathBuf,
    lock: Lock,
}

impl Aside {
    pub(super) fn make(folder: &Path, name: &str) -> io::Result<Self> {
        loop {
            let mut random = [0; 8];
            getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
            let path = folder.join(format!(".{name}-{:016x}{SUFFIX}", u64::from_le_bytes(random)));
            let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
            // Between the two calls a sweep may have taken it for left over: then it is gone, and another is made.
            if let Some(lock) = Lock::of_new(file, &path)? {
                return Ok(Self { path, lock });
            }
        }
    }

    pub(super) fn file(&self) -> &File {
        self.lock.file()
    }

    /// Puts it on the disk and into its place.
    pub(super) fn move_to(self, path: &Path) -> io::Result<()> {
        self.file().sync_all()?;
        fs::rename(&self.path, path)?;
        // Its name, too: what it was made from is about to be removed.
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // There is nothing of this name if it was moved.
        drop(fs::remove_file(&self.path));
    }
}

/// Removes the files of writers that are dead.
pub(super) fn sweep(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| is_aside(&entry.file_name()) && is_abandoned(&entry.path())).count()
}

fn is_aside(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(SUFFIX))
}

/// Removes a file whose lock nobody holds.
fn is_abandoned(path: &Path) -> bool {
    let flags = i32::try_from((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits());
    let Ok(flags) = flags else { return false };
    let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(path) else { return false };
    Lock::at(path, file, Hold::Exclusive).is_ok_and(|_lock| fs::remove_file(path).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_takes_what_is_abandoned_and_leaves_what_is_being_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let alive = Aside::make(folder.path(), "task-a").expect("is made");
        fs::write(folder.path().join(".task-b-0.new"), "half").expect("is written");
        fs::write(folder.path().join("task-c.tar.zst"), "whole").expect("is written");
        assert_eq!(sweep(folder.path()), 1);
        alive.move_to(&folder.path().join("task-a.tar.zst")).expect("is moved");
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).expect("is read").map(|e| e.expect("an entry").file_name()).collect();
        names.sort();
        assert_eq!(names, ["task-a.tar.zst", "task-c.tar.zst"]);
    }

    #[test]
    fn what_is_not_moved_does_not_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(Aside::make(folder.path(), "task-a").expect("is made"));
        assert_eq!(fs::read_dir(folder.path()).expect("is read").count(), 0);
    }
}
