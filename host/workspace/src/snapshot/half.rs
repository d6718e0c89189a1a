//! Half a snapshot: one that is being written, or removed.
//!
//! Whoever does either holds a lock on its file `used`, which ends with them.

#![expect(clippy::disallowed_methods, reason = "keeps snapshots in the state folder")]

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use sortie_lock::{Hold, Lock};

use super::About;
use crate::remove::remove_tree;

/// What begins the name of one that is being written.
const UNFINISHED: &str = ".tmp";

/// How often one is begun anew that a sweep took for left over.
const TRIES: usize = 100;

/// One that is being written. Removed when dropped.
pub(super) struct Unfinished {
    pub(super) path: PathBuf,
    _lock: Lock,
}

impl Unfinished {
    /// Begins one in the folder of snapshots.
    pub(super) fn within(snapshots: &Path) -> io::Result<Self> {
        for _ in 0..TRIES {
            let mut random = [0; 8];
            getrandom::fill(&mut random).map_err(io::Error::other)?;
            let path = snapshots.join(format!("{UNFINISHED}{:016x}", u64::from_ne_bytes(random)));
            DirBuilder::new().mode(0o700).create(&path)?;
            if let Some(lock) = lock_of_new(&path)? {
                return Ok(Self { path, _lock: lock });
            }
        }
        Err(io::Error::other("others remove it as soon as it is made"))
    }

    /// Puts it in its place; false if there is one already.
    pub(super) fn finish(mut self, path: &Path, about: &About) -> io::Result<bool> {
        let text = serde_json::to_vec(about).map_err(io::Error::other)?;
        fs::write(self.path.join("about.json"), text)?;
        match fs::rename(&self.path, path) {
            // another task was faster, and made the same
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {
                Ok(false)
            }
            renamed => {
                renamed?;
                self.path = PathBuf::new();
                Ok(true)
            }
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            // what stays goes with the next sweep
            drop(remove_tree(&self.path));
        }
    }
}

pub(super) fn is_unfinished(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes()))
}

/// Locks a folder that was just made, or is to be removed and has no lock; none if somebody else has it, or it is gone.
fn lock_of_new(path: &Path) -> io::Result<Option<Lock>> {
    let used = path.join("used");
    match File::create(&used) {
        Ok(file) => Lock::of_new(file, &used),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a snapshot that nobody holds.
pub(super) fn remove_unlocked(path: &Path) -> bool {
    let _lock = match Lock::open(&path.join("used"), Hold::Exclusive) {
        Ok(lock) => Some(lock),
        // it is half gone; or whoever just made it is about to lock it, who finds it locked or gone then
        Err(error) if error.kind() == ErrorKind::NotFound && path.is_dir() => match lock_of_new(path) {
            Ok(Some(lock)) => Some(lock),
            Ok(None) => return false,
            // as on a full disk, where nobody else makes one either
            Err(_) => None,
        },
        Err(_) => return false,
    };
    // first what makes it one, so that nobody takes up the half of it
    match fs::remove_file(path.join("about.json")) {
        Err(error) if error.kind() != ErrorKind::NotFound => false,
        _ => remove_tree(path).is_ok(),
    }
}
