//! Descriptors beneath the root.
//!
//! A path is opened one name at a time with `O_NOFOLLOW`, each name relative
//! to the descriptor of the directory before it. There is no path that the
//! kernel could resolve anew, so a directory that is swapped for a link
//! between two steps is an error and never a way out.

#![expect(clippy::disallowed_methods, reason = "makes the folders of a file that was permitted")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, fstat, mkdirat, openat, readlinkat, statat,
};
use rustix::io::Errno;
use sortie_core::text::one_line;
use sortie_policy::ports::{ErrorCode, PortError};

use super::path::WorkPath;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// The root of a work tree.
pub(super) struct Tree {
    root: OwnedFd,
    pub(super) owner: Option<(Uid, Gid)>,
    /// Held while a file is changed: two calls that compare and swap take turns.
    pub(super) changing: Mutex<()>,
}

impl Tree {
    pub(super) fn open(root: &Path, owner: Option<(u32, u32)>) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty())?;
        let owner = owner.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid)));
        Ok(Self { root, owner, changing: Mutex::new(()) })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The directory that a path lies in.
    pub(super) fn open_parent(&self, path: &WorkPath) -> Result<OwnedFd, PortError> {
        let mut dir = self.root.try_clone().map_err(PortError::internal)?;
        for part in path.parents() {
            dir = open_dir(dir.as_fd(), part).map_err(|errno| describe(dir.as_fd(), part, path, errno))?;
        }
        Ok(dir)
    }

    /// The directory that a path lies in, made where it is missing.
    pub(super) fn make_parent(&self, path: &WorkPath) -> Result<OwnedFd, PortError> {
        let mut dir = self.root.try_clone().map_err(PortError::internal)?;
        for part in path.parents() {
            let next = match open_dir(dir.as_fd(), part) {
                Err(Errno::NOENT) => self.make_dir(dir.as_fd(), part),
                opened => opened,
            };
            dir = next.map_err(|errno| describe(dir.as_fd(), part, path, errno))?;
        }
        Ok(dir)
    }

    fn make_dir(&self, parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
        match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        let dir = open_dir(parent, name)?;
        if let Some((uid, gid)) = self.owner {
            // The workspace may have put a directory of its own here meanwhile. Only the host
            // makes directories that belong to the host, so only those are given away.
            let host = rustix::process::geteuid();
            if Uid::from_raw(fstat(&dir)?.st_uid) == host && host != uid {
                let dir = openat(&dir, ".", OFlags::RDONLY | DIRECTORY, Mode::empty())?;
                rustix::fs::fchown(&dir, Some(uid), Some(gid))?;
            }
        }
        Ok(dir)
    }

    /// A regular file, for reading. Never waits for a fifo's writer.
    pub(super) fn open_file(&self, path: &WorkPath) -> Result<(File, Stat), PortError> {
        let dir = self.open_parent(path)?;
        open_regular(dir.as_fd(), path.name(), path)
    }
}

/// A regular file in an open directory; `path` is what it is called in messages.
pub(super) fn open_regular(
    dir: BorrowedFd<'_>,
    name: &str,
    path: &WorkPath,
) -> Result<(File, Stat), PortError> {
    // Asked before opening, because opening a device can have effects; and again
    // afterwards, because another file may stand there by then.
    let before = stat(dir, name).map_err(|errno| describe(dir, name, path, errno))?;
    require_regular(&before, dir, name, path)?;
    let file = openat(dir, name, FILE | OFlags::RDONLY, Mode::empty());
    let file = file.map_err(|errno| describe(dir, name, path, errno))?;
    let after = fstat(&file).map_err(|errno| describe(dir, name, path, errno))?;
    require_regular(&after, dir, name, path)?;
    Ok((File::from(file), after))
}

/// Opens a directory by its plain name, not through a link. The descriptor
/// serves as a place to start from; it cannot be listed.
fn open_dir(parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    openat(parent, name, OFlags::PATH | DIRECTORY, Mode::empty())
}

/// Opens a directory by its plain name, not through a link, to be listed.
pub(super) fn open_listing<P: rustix::path::Arg>(
    parent: BorrowedFd<'_>,
    name: P,
) -> Result<rustix::fs::Dir, Errno> {
    rustix::fs::Dir::new(openat(parent, name, OFlags::RDONLY | DIRECTORY, Mode::empty())?)
}

/// What stands at a name, links not followed.
pub(super) fn stat<P: rustix::path::Arg>(dir: BorrowedFd<'_>, name: P) -> Result<Stat, Errno> {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Refuses what is no regular file, and says what it is.
pub(super) fn require_regular(
    stat: &Stat,
    dir: BorrowedFd<'_>,
    name: &str,
    path: &WorkPath,
) -> Result<(), PortError> {
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Symlink => return Err(through_link(dir, name, path)),
        FileType::Directory => "a directory",
        FileType::Fifo => "a fifo",
        FileType::Socket => "a socket",
        _ => "a device",
    };
    Err(PortError::new(ErrorCode::Invalid, format!("`{path}` is {what}, not a regular file")))
}

/// The failure of a step at `name` on the way to `path`.
pub(super) fn describe(dir: BorrowedFd<'_>, name: &str, path: &WorkPath, errno: Errno) -> PortError {
    let (code, why) = match errno {
        Errno::NOENT => (ErrorCode::NotFound, "does not exist"),
        Errno::LOOP | Errno::NOTDIR | Errno::MLINK => {
            let there = stat(dir, name).map(|stat| FileType::from_raw_mode(stat.st_mode));
            if there == Ok(FileType::Symlink) {
                return through_link(dir, name, path);
            }
            let name = one_line(name, 200);
            let message = format!("`{path}` does not exist: `{name}` is no directory");
            return PortError::new(ErrorCode::NotFound, message);
        }
        Errno::ACCESS | Errno::PERM => (ErrorCode::Invalid, "may not be touched: permission denied"),
        Errno::ISDIR => (ErrorCode::Invalid, "is a directory"),
        Errno::NAMETOOLONG => (ErrorCode::Invalid, "is too long a name"),
        Errno::NOSPC | Errno::DQUOT => (ErrorCode::Unavailable, "cannot be written: no space left"),
        Errno::ROFS => (ErrorCode::Invalid, "is on a read-only file system"),
        Errno::AGAIN | Errno::BUSY | Errno::TXTBSY => (ErrorCode::Unavailable, "is held by a process"),
        other => return PortError::new(ErrorCode::Unavailable, format!("`{path}`: {other}")),
    };
    PortError::new(code, format!("`{path}` {why}"))
}

fn through_link(dir: BorrowedFd<'_>, name: &str, path: &WorkPath) -> PortError {
    let to = readlinkat(dir, name, Vec::new()).unwrap_or_default();
    let to = one_line(&to.to_string_lossy(), 200);
    let name = one_line(name, 200);
    let message = format!(
        "`{path}` leads through a link, `{name}` to `{to}`: links are not followed, name the file itself"
    );
    PortError::new(ErrorCode::Invalid, message)
}
