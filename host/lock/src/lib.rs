//! A lock on a file or folder of the host's own that ends with whoever holds it: with its value, at once, and with
//! its process, however that ends.
//!
//! The kernel keeps such a lock (`flock(2)`) until every descriptor of the opened file is closed. A process that was
//! just forked off has them all, until it runs its program: closed here alone, a lock would be held on for that long,
//! and whoever asks for it at once would find it taken. So a [`Lock`] is given back before it is closed.

#![expect(clippy::disallowed_methods, reason = "this is what holds locks")]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// An opened file or folder, locked until it is dropped.
#[derive(Debug)]
pub struct Lock(File);

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// By as many as like.
    Shared,
    /// By one, and nobody else.
    Exclusive,
}

impl Lock {
    /// Locks what was opened, wherever it is by now; see [`Lock::at`].
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if somebody else holds it; nobody is waited for. Else if it cannot be locked.
    pub fn new(file: File, hold: Hold) -> io::Result<Self> {
        let lock = Self(file);
        lock.hold(hold)?;
        Ok(lock)
    }

    /// Locks what was just made at a path; none if whoever clears up took it for left over in between.
    ///
    /// # Errors
    /// If it cannot be locked.
    pub fn of_new(file: File, path: &Path) -> io::Result<Option<Self>> {
        match Self::at(path, file, Hold::Exclusive) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotFound) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Locks what is at a path.
    ///
    /// # Errors
    /// As [`Lock::at`], and if there is nothing that could be opened to read.
    pub fn open(path: &Path, hold: Hold) -> io::Result<Self> {
        Self::at(path, File::open(path)?, hold)
    }

    /// Locks what was opened at a path, if it is still there: else somebody else may hold what is.
    ///
    /// # Errors
    /// As [`Lock::new`], and [`io::ErrorKind::NotFound`] if it was removed or replaced since.
    pub fn at(path: &Path, file: File, hold: Hold) -> io::Result<Self> {
        let lock = Self::new(file, hold)?;
        if lock.is_at(path) { Ok(lock) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Changes how it is held. Others may come in between, and after an error it may be held no longer.
    ///
    /// # Errors
    /// As [`Lock::new`].
    pub fn hold(&self, hold: Hold) -> io::Result<()> {
        let operation = match hold {
            Hold::Shared => FlockOperation::NonBlockingLockShared,
            Hold::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        Ok(flock(&self.0, operation)?)
    }

    /// Gives it back; [`Lock::hold`] asks for it again.
    ///
    /// # Errors
    /// If the kernel does not take it.
    pub fn release(&self) -> io::Result<()> {
        Ok(flock(&self.0, FlockOperation::Unlock)?)
    }

    /// Whether this is what a path leads to, links followed.
    pub fn is_at(&self, path: &Path) -> bool {
        let (Ok(open), Ok(there)) = (self.0.metadata(), fs::metadata(path)) else { return false };
        (open.dev(), open.ino()) == (there.dev(), there.ino())
    }

    /// What is locked.
    pub fn file(&self) -> &File {
        &self.0
    }
}

/// One that is not held yet.
impl From<File> for Lock {
    fn from(file: File) -> Self {
        Self(file)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // what cannot be given back is closed, and ends with that
        drop(self.release());
    }
}

/// Closes a program that was written, so that it can be run. The kernel runs none that somebody may write to, and a
/// process that was just forked off has every descriptor until it runs its own program: what it has is waited for,
/// ten seconds at most.
///
/// # Errors
/// If it cannot be opened to read.
pub fn close_program(file: File, path: &Path) -> io::Result<()> {
    let again = File::open(path)?;
    // kept by whoever has the descriptor, and not given back; without locks nobody can tell
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    drop(file);
    let until = Instant::now() + Duration::from_secs(10);
    while flock(&again, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
        && Instant::now() < until
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_dropped_lock_is_free_though_a_process_has_its_descriptor() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let lock = Lock::open(file.path(), Hold::Exclusive).expect("is free");
        // as one that was forked off and runs no program yet
        let inherited = lock.file().try_clone().expect("is cloned");
        let taken = Lock::open(file.path(), Hold::Shared).expect_err("it is held");
        assert_eq!(taken.kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        Lock::open(file.path(), Hold::Exclusive).expect("is free");
        drop(inherited);
    }

    #[test]
    fn a_program_is_closed_once_no_process_has_its_descriptor() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("program");
        fs::write(&path, "#!/bin/sh\n").expect("is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("may be run");
        let runs = || std::process::Command::new(&path).status().map(|status| status.success());
        let written = File::options().write(true).open(&path).expect("opens");
        // as one that was forked off and runs no program yet
        let inherited = written.try_clone().expect("is cloned");
        let (tell, told) = std::sync::mpsc::channel();
        let closed = path.clone();
        std::thread::spawn(move || tell.send(close_program(written, &closed).is_ok()));
        assert!(told.recv_timeout(Duration::from_millis(100)).is_err(), "it is not waited for");
        // Linux 6.11 runs it all the same
        if let Err(error) = runs() {
            assert_eq!(error.kind(), io::ErrorKind::ExecutableFileBusy);
        }
        drop(inherited);
        assert!(told.recv_timeout(Duration::from_secs(60)).expect("it ends"));
        assert!(runs().expect("runs"));
    }

    #[test]
    fn a_lock_is_shared_or_one_holders() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |hold| Lock::open(folder.path(), hold);
        let (one, another) = (open(Hold::Shared).expect("is free"), open(Hold::Shared).expect("is shared"));
        assert!(one.hold(Hold::Exclusive).is_err(), "two have it");
        one.release().expect("is given back");
        another.hold(Hold::Exclusive).expect("nobody else has it");
        assert!(one.hold(Hold::Shared).is_err());
    }

    #[test]
    fn a_lock_on_what_was_replaced_is_not_at_its_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        let make = || File::create(&path).expect("is made");
        let old = Lock::of_new(make(), &path).expect("is locked").expect("is there");
        assert!(Lock::of_new(make(), &path).expect("is locked by another").is_none());
        fs::remove_file(&path).expect("is removed");
        assert!(!old.is_at(&path));
        let removed = make();
        fs::remove_file(&path).expect("is removed");
        assert!(Lock::of_new(removed, &path).expect("is locked").is_none());
        let opened = make();
        fs::remove_file(&path).expect("is removed");
        let new = Lock::of_new(make(), &path).expect("is locked").expect("is there");
        assert!(new.is_at(&path) && !old.is_at(&path));
        // as by one who opened it a moment too early
        let replaced = Lock::at(&path, opened, Hold::Shared).expect_err("it was replaced");
        assert_eq!(replaced.kind(), io::ErrorKind::NotFound);
    }
}
