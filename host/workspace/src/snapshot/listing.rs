//! What lies in a work tree before set-up.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::Stat;
use sortie_core::digest::Digest;

use super::{SnapshotError, failed};
use crate::traverse::{Found, Kind, Step, traverse};

/// Files, folders and links of a work tree.
const ENTRIES_MAX: u64 = 2_000_000;

/// The model's own; nothing of ours reads it, and a checkout brings a new one.
pub(super) const GIT: &str = ".git";

/// Bytes of a file that are read at a time.
const PIECE: usize = 1 << 20;

/// A file as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    inode: u64,
    mode: u32,
    size: i64,
    modified: (i64, i64),
}

impl State {
    fn of(stat: &Stat) -> Self {
        let modified = (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or_default());
        Self { inode: stat.st_ino, mode: stat.st_mode, size: stat.st_size, modified }
    }
}

/// The files, folders and links of a work tree, as they were at one time. Nothing may run in it meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    files: HashMap<PathBuf, State>,
    folders: HashSet<PathBuf>,
}

impl Listing {
    /// Looks through a work tree, but for its `.git`.
    ///
    /// # Errors
    /// If it cannot be read, or holds more than two million names.
    pub fn of(work_tree: &Path) -> Result<Self, SnapshotError> {
        let mut listing = Self::default();
        walk(work_tree, &mut |found| {
            match found.kind {
                Kind::Folder => drop(listing.folders.insert(found.path.to_owned())),
                _ => drop(listing.files.insert(found.path.to_owned(), State::of(&found.stat))),
            }
            Ok(())
        })
        .map_err(failed("cannot look through the work tree"))?;
        Ok(listing)
    }

    /// A digest of the names and bytes of the files that `is_input` names: what set-up depends on. Links count by
    /// where they lead.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn fingerprint(work_tree: &Path, is_input: &dyn Fn(&Path) -> bool) -> Result<Digest, SnapshotError> {
        let mut all = Vec::new();
        walk(work_tree, &mut |found| {
            let of = match found.kind {
                Kind::File if is_input(found.path) => digest(found.open()?.0)?,
                Kind::Link if is_input(found.path) => Digest::of(found.target()?.to_bytes()),
                _ => return Ok(()),
            };
            // names hold no NUL
            all.extend_from_slice(found.path.as_os_str().as_encoded_bytes());
            all.push(0);
            all.extend_from_slice(of.bytes());
            // there may be very many names, and long ones
            if all.len() > PIECE {
                all = Digest::of(&all).bytes().to_vec();
            }
            Ok(())
        })
        .map_err(failed("cannot read what set-up depends on"))?;
        Ok(Digest::of(&all))
    }

    /// Whether something came after this listing.
    pub(super) fn is_new(&self, found: &Found<'_>) -> bool {
        match found.kind {
            Kind::Folder => !self.folders.contains(found.path),
            _ => !self.files.contains_key(found.path),
        }
    }

    /// The first file or link of this listing that is not there any more as it was.
    pub(super) fn first_changed(&self, work_tree: &Path) -> io::Result<Option<PathBuf>> {
        let mut unchanged = 0;
        let mut changed = None;
        let mut seen = HashSet::new();
        walk(work_tree, &mut |found| {
            let Some(before) = self.files.get(found.path) else { return Ok(()) };
            if found.kind != Kind::Folder && *before == State::of(&found.stat) {
                unchanged += 1;
                seen.insert(found.path.to_owned());
            } else {
                changed.get_or_insert_with(|| found.path.to_owned());
            }
            Ok(())
        })?;
        if changed.is_none() && unchanged != self.files.len() {
            changed = self.files.keys().filter(|path| !seen.contains(*path)).min().cloned();
        }
        Ok(changed)
    }
}

/// Of the digests of its pieces, so that no file has to lie in memory.
fn digest(mut file: File) -> io::Result<Digest> {
    let mut digests = Vec::new();
    let mut piece = vec![0; PIECE];
    loop {
        let mut filled = 0;
        while filled < PIECE {
            match file.read(&mut piece[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        digests.extend_from_slice(Digest::of(&piece[..filled]).bytes());
        if filled < PIECE {
            return Ok(Digest::of(&digests));
        }
    }
}

/// All of a work tree but for its `.git`.
fn walk(work_tree: &Path, visit: &mut dyn FnMut(&Found<'_>) -> io::Result<()>) -> io::Result<()> {
    traverse(work_tree, ENTRIES_MAX, &mut |step| {
        let Step::Found(found) = step else { return Ok(false) };
        if found.path.as_os_str() == OsStr::new(GIT) {
            return Ok(false);
        }
        visit(found)?;
        Ok(true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_trees_apart_however_many_files_they_have() {
        let tree = tempfile::tempdir().expect("a folder");
        let path = |number: u32| tree.path().join(format!("{number:0200}"));
        let write = |number, text| {
            #[expect(clippy::disallowed_methods, reason = "a test's own folder")]
            std::fs::write(path(number), text).expect("is written");
        };
        // of more than are held at a time
        (0..6000).for_each(|number| write(number, "x"));
        let fingerprint = || Listing::fingerprint(tree.path(), &|_| true).expect("is read");
        let before = fingerprint();
        assert_eq!(fingerprint(), before);
        for number in [0, 3000, 5999] {
            write(number, "y");
            assert_ne!(fingerprint(), before, "{number}");
            write(number, "x");
        }
        assert_eq!(fingerprint(), before);
    }
}
