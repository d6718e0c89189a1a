//! Changes of files.
//!
//! A file is replaced by renaming a finished one over it, so nobody ever
//! reads half of it. The temporary file is created with `O_EXCL` in the same
//! directory and given to the workspace's user through its descriptor: nothing
//! that stands at a path is ever chowned, since it might be a link to
//! something else by then.

#![expect(clippy::disallowed_methods, reason = "writes the files of a workspace for permits")]

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};

use memchr::memmem;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, openat, renameat, renameat_with, unlinkat};
use rustix::io::Errno;
use sortie_core::action::{IfMatch, WriteOperation};
use sortie_core::text::one_line;
use sortie_policy::ports::{ErrorCode, PortError};

use super::path::WorkPath;
use super::tree::{Tree, describe, open_regular, require_regular, stat};
use super::{MAX_FILE, etag};

/// Does what the action says; returns the new etag, none after a removal.
pub(super) fn carry_out(
    tree: &Tree,
    path: &WorkPath,
    operation: WriteOperation,
) -> Result<Option<String>, PortError> {
    if path.is_in_git_dir() {
        let why = "is part of a repository's own folder, which is never written to from here";
        return Err(PortError { rule: Some("files/git-dir".into()), ..denied(path, why) });
    }
    let _turn = tree.changing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match operation {
        WriteOperation::Write { data, if_match } => replace(tree, path, &data, &if_match).map(Some),
        WriteOperation::Edit { old, new, count } => edit(tree, path, &old, &new, count).map(Some),
        WriteOperation::Remove => remove(tree, path).map(|()| None),
    }
}

fn denied(path: &WorkPath, why: &str) -> PortError {
    PortError::new(ErrorCode::Denied, format!("`{path}` {why}"))
}

fn replace(tree: &Tree, path: &WorkPath, data: &[u8], if_match: &IfMatch) -> Result<String, PortError> {
    if data.len() as u64 > MAX_FILE {
        return Err(PortError::new(
            ErrorCode::TooLarge,
            format!("`{path}`: at most {MAX_FILE} bytes are written"),
        ));
    }
    let dir = match if_match {
        IfMatch::Absent | IfMatch::Any => tree.make_parent(path)?,
        IfMatch::Etag(_) => tree.open_parent(path).map_err(|error| gone(path, error))?,
    };
    let dir = dir.as_fd();
    let mode = match stat(dir, path.name()) {
        Ok(there) => {
            require_regular(&there, dir, path.name(), path)?;
            Mode::from_raw_mode(there.st_mode & 0o777)
        }
        Err(Errno::NOENT) => Mode::from_raw_mode(0o644),
        Err(errno) => return Err(describe(dir, path.name(), path, errno)),
    };
    let temporary = Temporary::create(tree, dir, path)?;
    temporary.fill(data, mode, path)?;
    check(dir, path, if_match)?;
    temporary.rename(path, *if_match == IfMatch::Absent)?;
    Ok(etag::of_bytes(data))
}

/// Refuses if the file is not what the action expects. `Absent` is left to
/// the rename, which tests and acts in one.
fn check(dir: BorrowedFd<'_>, path: &WorkPath, if_match: &IfMatch) -> Result<(), PortError> {
    let IfMatch::Etag(expected) = if_match else { return Ok(()) };
    let (file, stat) = open_regular(dir, path.name(), path).map_err(|error| gone(path, error))?;
    if etag::of_file(&file, &stat, path)? == *expected {
        Ok(())
    } else {
        Err(conflict(path, "has changed since it was read: read it again"))
    }
}

/// A file that must be in some state and is not there is a conflict.
fn gone(path: &WorkPath, error: PortError) -> PortError {
    if error.code == ErrorCode::NotFound { conflict(path, "no longer exists") } else { error }
}

fn conflict(path: &WorkPath, why: &str) -> PortError {
    PortError::new(ErrorCode::Conflict, format!("`{path}` {why}"))
}

fn edit(tree: &Tree, path: &WorkPath, old: &str, new: &str, count: u32) -> Result<String, PortError> {
    if old.is_empty() || count == 0 {
        let message = "an edit needs a text to replace, and how often it occurs";
        return Err(PortError::new(ErrorCode::Invalid, message));
    }
    let (file, stat) = tree.open_file(path)?;
    let too_large =
        || PortError::new(ErrorCode::TooLarge, format!("`{path}` is larger than {MAX_FILE} bytes"));
    let bytes = etag::whole(&file, &stat, path)?.ok_or_else(too_large)?;
    let found: Vec<usize> = memmem::find_iter(&bytes, old.as_bytes()).collect();
    if found.len() as u64 != u64::from(count) {
        let times = |n: u64| if n == 1 { "once".to_owned() } else { format!("{n} times") };
        let why = format!("has the text {}, not {}", times(found.len() as u64), times(u64::from(count)));
        return Err(conflict(path, &why));
    }
    let grown = bytes.len() + found.len() * new.len().saturating_sub(old.len());
    if grown as u64 > MAX_FILE {
        return Err(too_large());
    }
    let mut edited = Vec::with_capacity(grown);
    let mut end = 0;
    for start in found {
        edited.extend_from_slice(&bytes[end..start]);
        edited.extend_from_slice(new.as_bytes());
        end = start + old.len();
    }
    edited.extend_from_slice(&bytes[end..]);
    replace(tree, path, &edited, &IfMatch::Etag(etag::of_bytes(&bytes)))
}

/// Removes a file, a link (not what it points to) or an empty directory.
fn remove(tree: &Tree, path: &WorkPath) -> Result<(), PortError> {
    let dir = tree.open_parent(path)?;
    let dir = dir.as_fd();
    let there = stat(dir, path.name()).map_err(|errno| describe(dir, path.name(), path, errno))?;
    let directory = FileType::from_raw_mode(there.st_mode) == FileType::Directory;
    let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    unlinkat(dir, path.name(), flags).map_err(|errno| match errno {
        Errno::NOTEMPTY | Errno::EXIST => {
            PortError::new(ErrorCode::Invalid, format!("`{path}` is a directory that is not empty"))
        }
        errno => describe(dir, path.name(), path, errno),
    })
}

/// A file under a name of its own, removed again unless it is renamed.
struct Temporary<'a> {
    dir: BorrowedFd<'a>,
    name: String,
    file: File,
    owner: Option<(rustix::fs::Uid, rustix::fs::Gid)>,
    renamed: bool,
}

impl<'a> Temporary<'a> {
    fn create(tree: &Tree, dir: BorrowedFd<'a>, path: &WorkPath) -> Result<Self, PortError> {
        let mut random = [0u8; 8];
        getrandom::fill(&mut random).map_err(PortError::internal)?;
        let name = format!(".sortie-{:016x}.tmp", u64::from_ne_bytes(random));
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(dir, &*name, flags, Mode::from_raw_mode(0o600));
        let file = file.map_err(|errno| describe(dir, &name, path, errno))?.into();
        Ok(Self { dir, name, file, owner: tree.owner, renamed: false })
    }

    fn fill(&self, data: &[u8], mode: Mode, path: &WorkPath) -> Result<(), PortError> {
        let failed = |error: std::io::Error| {
            let why = one_line(&error.to_string(), 200);
            PortError::new(ErrorCode::Unavailable, format!("`{path}` cannot be written: {why}"))
        };
        (&self.file).write_all(data).map_err(failed)?;
        // the owner first: a change of owner clears mode bits
        if let Some((uid, gid)) = self.owner {
            rustix::fs::fchown(&self.file, Some(uid), Some(gid)).map_err(|errno| failed(errno.into()))?;
        }
        rustix::fs::fchmod(&self.file, mode).map_err(|errno| failed(errno.into()))
    }

    fn rename(mut self, path: &WorkPath, only_if_absent: bool) -> Result<(), PortError> {
        let (dir, name) = (self.dir, path.name());
        let renamed = if only_if_absent {
            match renameat_with(dir, &*self.name, dir, name, RenameFlags::NOREPLACE) {
                // a file system without it; a hard link does not replace either, and leaves the temporary to remove
                Err(Errno::INVAL | Errno::NOSYS) => {
                    rustix::fs::linkat(dir, &*self.name, dir, name, AtFlags::empty())
                }
                renamed => renamed.inspect(|()| self.renamed = true),
            }
        } else {
            renameat(dir, &*self.name, dir, name).inspect(|()| self.renamed = true)
        };
        renamed.map_err(|errno| match errno {
            Errno::EXIST => conflict(path, "exists already"),
            errno => describe(dir, name, path, errno),
        })
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            // best effort: a stray temporary harms nobody
            let _ = unlinkat(self.dir, &*self.name, AtFlags::empty());
        }
    }
}
