//! Folders of the work tree, which somebody hostile changes while they are read.
//!
//! A folder is an open descriptor, and each step from it is a single name that
//! is opened without following links. There is no path in it for the kernel to
//! resolve, hence nothing that a swapped link could lead astray. A folder that
//! is moved away while it is read is still one that the workspace could move.

#![expect(
    clippy::disallowed_methods,
    reason = "writes the checkout of a fetch that was permitted, beneath the work tree"
)]

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::{Errno, Result};

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

/// Bytes of a link's target that are read; Linux has no longer ones.
const LONGEST_LINK: usize = 4096;

impl Folder {
    /// Opens a folder that the host made.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        fs::openat(CWD, path, folder_flags(), Mode::empty()).map(Self)
    }

    /// Opens a folder in this one.
    pub(crate) fn folder(&self, name: &[u8]) -> Result<Self> {
        fs::openat(&self.0, OsStr::from_bytes(name), folder_flags(), Mode::empty()).map(Self)
    }

    /// Opens the folder of a path from this one, and gives the path's last name.
    pub(crate) fn descend<'a>(&self, path: &'a [u8]) -> Result<(Self, &'a [u8])> {
        let mut folder = self.again()?;
        let mut rest = path;
        while let Some(slash) = rest.iter().position(|&byte| byte == b'/') {
            folder = folder.folder(single(&rest[..slash])?)?;
            rest = &rest[slash + 1..];
        }
        Ok((folder, single(rest)?))
    }

    fn again(&self) -> Result<Self> {
        rustix::io::fcntl_dupfd_cloexec(&self.0, 0).map(Self)
    }

    /// The names in it, in order, at most `max`.
    pub(crate) fn names(&self, max: usize) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                if names.len() >= max {
                    return Err(Errno::OVERFLOW);
                }
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// What lies under a name; a link itself.
    pub(crate) fn stat(&self, name: &[u8]) -> Result<Stat> {
        fs::statat(&self.0, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Opens a regular file. A fifo does not block, and it is no file.
    pub(crate) fn file(&self, name: &[u8]) -> Result<(File, Stat)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = fs::openat(&self.0, OsStr::from_bytes(name), flags, Mode::empty())?;
        let stat = fs::fstat(&file)?;
        if kind(&stat) != FileType::RegularFile {
            return Err(Errno::INVAL);
        }
        Ok((File::from(file), stat))
    }

    /// Where a link leads to, as it is written in it.
    pub(crate) fn link(&self, name: &[u8]) -> Result<Vec<u8>> {
        let target = fs::readlinkat(&self.0, OsStr::from_bytes(name), Vec::new())?.into_bytes();
        if target.len() > LONGEST_LINK { Err(Errno::NAMETOOLONG) } else { Ok(target) }
    }

    /// Makes a folder that is not there yet.
    pub(crate) fn make_folder(&self, name: &[u8], owner: Owner) -> Result<Self> {
        fs::mkdirat(&self.0, OsStr::from_bytes(name), Mode::from_raw_mode(0o755))?;
        let folder = self.folder(name)?;
        folder.give_to(owner)?;
        Ok(folder)
    }

    /// Makes a file that is not there yet. Its owner is still to be set.
    pub(crate) fn make_file(&self, name: &[u8], mode: u32) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fs::openat(&self.0, OsStr::from_bytes(name), flags, Mode::from_raw_mode(mode)).map(File::from)
    }

    /// Makes a link that is not there yet. Nothing here follows it.
    pub(crate) fn make_link(&self, name: &[u8], target: &[u8], owner: Owner) -> Result<()> {
        fs::symlinkat(OsStr::from_bytes(target), &self.0, OsStr::from_bytes(name))?;
        match owner.0 {
            Some((uid, gid)) => {
                fs::chownat(&self.0, OsStr::from_bytes(name), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            }
            None => Ok(()),
        }
    }

    pub(crate) fn give_to(&self, owner: Owner) -> Result<()> {
        owner.take(&self.0)
    }
}

/// Who owns what the host writes; nobody else than the host if none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner(Option<(Uid, Gid)>);

impl Owner {
    pub(crate) fn new(ids: Option<(u32, u32)>) -> Self {
        Self(ids.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid))))
    }

    pub(crate) fn take(self, file: &impl std::os::fd::AsFd) -> Result<()> {
        match self.0 {
            Some((uid, gid)) => fs::fchown(file, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }
}

/// What a stat is about.
pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// What went away or turned into something else while it was looked at.
pub(crate) fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::INVAL | Errno::NXIO | Errno::STALE)
}

/// What this user may not read.
pub(crate) fn is_closed(error: Errno) -> bool {
    matches!(error, Errno::ACCESS | Errno::PERM)
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn single(name: &[u8]) -> Result<&[u8]> {
    let leaves = name.is_empty() || name == b"." || name == b".." || name.contains(&0);
    if leaves { Err(Errno::INVAL) } else { Ok(name) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder `in`, and beside it what must not be reached from it.
    fn ground() -> (tempfile::TempDir, Folder) {
        let ground = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(ground.path().join("in")).expect("is made");
        std::fs::create_dir(ground.path().join("out")).expect("is made");
        std::fs::write(ground.path().join("out/canary"), "x").expect("is written");
        symlink("../out", ground.path().join("in/folder")).expect("is linked");
        symlink("../out/canary", ground.path().join("in/file")).expect("is linked");
        let folder = Folder::open(&ground.path().join("in")).expect("opens");
        (ground, folder)
    }

    #[test]
    fn a_link_is_neither_opened_nor_passed_through() {
        let (_ground, folder) = ground();
        assert!(folder.folder(b"folder").is_err());
        assert!(folder.descend(b"folder/canary").is_err());
        assert!(folder.file(b"file").is_err());
        assert_eq!(kind(&folder.stat(b"file").expect("is there")), FileType::Symlink);
        assert_eq!(folder.link(b"file").expect("is a link"), b"../out/canary");
    }

    #[test]
    fn a_path_does_not_lead_up() {
        let (_ground, folder) = ground();
        for path in [&b"../out/canary"[..], b"..", b".", b"", b"/etc/passwd", b"a//b"] {
            assert!(folder.descend(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_fifo_is_no_file_and_nobody_waits_for_it() {
        let (ground, folder) = ground();
        let fifo = ground.path().join("in/fifo");
        assert!(std::process::Command::new("mkfifo").arg(fifo).status().expect("mkfifo runs").success());
        assert_eq!(folder.file(b"fifo").expect_err("is refused"), Errno::INVAL);
    }

    #[test]
    fn nothing_is_written_over_what_is_there() {
        let (ground, folder) = ground();
        let owner = Owner::new(None);
        assert!(folder.make_file(b"file", 0o644).is_err());
        assert!(folder.make_folder(b"folder", owner).is_err());
        assert!(folder.make_link(b"file", b"x", owner).is_err());
        assert_eq!(std::fs::read_to_string(ground.path().join("out/canary")).expect("is read"), "x");
    }
}
