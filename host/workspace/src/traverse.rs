//! A walk through a folder that somebody hostile filled, and in which nothing runs any more.
//!
//! Every name is opened relative to the descriptor of the folder that it lies in, with `O_NOFOLLOW`: links are told
//! and never followed. What is neither folder, file nor link is told and never opened: a fifo would wait, a device
//! would act. Names come in the order of their bytes, so that two walks over the same folder agree.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

/// Folders within folders that are entered. Each costs an open descriptor.
const DEPTH_MAX: usize = 200;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    File,
    Link,
    /// A fifo, a socket, a device.
    Special,
    /// A folder below so many others that it is not entered.
    TooDeep,
    /// A folder that may not be listed, or what is in it not looked at.
    Closed,
}

/// One name in a folder.
pub(crate) struct Found<'a> {
    pub(crate) folder: BorrowedFd<'a>,
    pub(crate) name: &'a CStr,
    /// Relative to the root of the walk.
    pub(crate) path: &'a Path,
    pub(crate) kind: Kind,
    pub(crate) stat: Stat,
}

impl Found<'_> {
    /// Opens a file for reading, with its size as it is now.
    pub(crate) fn open(&self) -> io::Result<(File, Stat)> {
        let file = openat(self.folder, self.name, OFlags::RDONLY | FILE, Mode::empty())?;
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is no file any more"));
        }
        Ok((File::from(file), stat))
    }

    /// Where a link leads.
    pub(crate) fn target(&self) -> io::Result<CString> {
        Ok(readlinkat(self.folder, self.name, Vec::new())?)
    }
}

/// What the walk comes by. Names in a folder come between its `Found` and its `Left`.
pub(crate) enum Step<'a> {
    /// A name. For a folder the answer says whether to enter it.
    Found(&'a Found<'a>),
    /// All of a folder that was entered has been told.
    Left,
}

struct Level {
    folder: OwnedFd,
    names: std::vec::IntoIter<CString>,
}

/// Walks through a folder.
///
/// # Errors
/// If there are more than `most` names, a folder cannot be read, or `visit` fails.
pub(crate) fn traverse(
    root: &Path,
    most: u64,
    visit: &mut dyn FnMut(Step<'_>) -> io::Result<bool>,
) -> io::Result<()> {
    let mut left = most;
    let root = rustix::fs::open(root, OFlags::RDONLY | FOLDER, Mode::empty())?;
    let mut levels = vec![level(root, &mut left, most)?];
    let mut path = PathBuf::new();
    loop {
        let depth = levels.len();
        let Some(level) = levels.last_mut() else { return Ok(()) };
        let Some(name) = level.names.next() else {
            levels.pop();
            if !levels.is_empty() {
                visit(Step::Left)?;
                path.pop();
            }
            continue;
        };
        let stat = match statat(&level.folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            // somebody on the host removes it meanwhile
            Err(Errno::NOENT) => continue,
            stat => stat?,
        };
        path.push(OsStr::from_bytes(name.to_bytes()));
        let mut kind = kind(&stat);
        let mut inner = None;
        if kind == Kind::Folder {
            match open_folder(depth, level.folder.as_fd(), &name) {
                Ok(folder) => inner = Some(folder),
                Err(instead) => kind = instead?,
            }
        }
        let level = levels.last().expect("it was there above");
        let found = Found { folder: level.folder.as_fd(), name: &name, path: &path, kind, stat };
        let enter = visit(Step::Found(&found))?;
        match inner {
            Some(inner) if enter => levels.push(self::level(inner, &mut left, most)?),
            _ => {
                path.pop();
            }
        }
    }
}

fn kind(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Folder,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => Kind::Link,
        _ => Kind::Special,
    }
}

/// The folder, or what it is told as instead.
fn open_folder(depth: usize, parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, io::Result<Kind>> {
    if depth >= DEPTH_MAX {
        return Err(Ok(Kind::TooDeep));
    }
    let folder = openat(parent, name, OFlags::RDONLY | FOLDER, Mode::empty());
    // one that may be listed and not searched opens, and then tells nothing of what is in it
    match folder.and_then(|folder| statat(&folder, c".", AtFlags::empty()).map(|_| folder)) {
        Ok(folder) => Ok(folder),
        Err(Errno::ACCESS) => Err(Ok(Kind::Closed)),
        Err(errno) => Err(Err(errno.into())),
    }
}

fn level(folder: OwnedFd, left: &mut u64, most: u64) -> io::Result<Level> {
    let mut names = Vec::new();
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        *left = left
            .checked_sub(1)
            .ok_or_else(|| io::Error::other(format!("there are more than {most} files and folders")))?;
        names.push(name.to_owned());
    }
    names.sort_unstable();
    Ok(Level { folder, names: names.into_iter() })
}

/// Does something in an empty folder as somebody whom permissions hold back: this thread gives up being root.
#[cfg(test)]
pub(crate) fn as_plain_user(what: impl FnOnce(&Path) + Send) {
    /// Nobody's number.
    const USER: u32 = 65432;
    let folder = tempfile::tempdir().expect("a folder");
    let ground = folder.path();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            if rustix::process::geteuid().is_root() {
                let (uid, gid) = (rustix::fs::Uid::from_raw(USER), rustix::fs::Gid::from_raw(USER));
                rustix::fs::chown(ground, Some(uid), Some(gid)).expect("root may");
                rustix::thread::set_thread_res_uid(uid, uid, uid).expect("root may");
            }
            what(ground);
        });
        thread.join().expect("it holds");
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_folder_is_told_and_does_not_end_the_walk() {
        use std::os::unix::fs::PermissionsExt as _;
        as_plain_user(|root| {
            let closed = [("a", 0o000), ("b", 0o400), ("c", 0o100)];
            for (name, mode) in closed {
                std::fs::create_dir(root.join(name)).expect("is made");
                std::fs::write(root.join(name).join("file"), "x").expect("is written");
                let mode = std::fs::Permissions::from_mode(mode);
                std::fs::set_permissions(root.join(name), mode).expect("is set");
            }
            std::fs::write(root.join("d"), "x").expect("is written");
            let told = told(root, 10).expect("is walked");
            let closed = closed.map(|(name, _)| (name.to_owned(), Kind::Closed));
            assert_eq!(told[..3], closed);
            assert_eq!(told[3..], [("d".to_owned(), Kind::File)]);
            for (name, _) in &closed {
                let mode = std::fs::Permissions::from_mode(0o700);
                std::fs::set_permissions(root.join(name), mode).expect("is set");
            }
        });
    }

    fn told(root: &Path, most: u64) -> io::Result<Vec<(String, Kind)>> {
        let mut told = Vec::new();
        traverse(root, most, &mut |step| {
            if let Step::Found(found) = step {
                told.push((found.path.display().to_string(), found.kind));
            }
            Ok(true)
        })?;
        Ok(told)
    }

    #[test]
    fn links_are_told_and_not_followed_and_fifos_are_not_opened() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(root.path().join("b")).expect("is made");
        std::fs::write(root.path().join("b/file"), "x").expect("is written");
        std::os::unix::fs::symlink("/", root.path().join("a")).expect("is linked");
        let fifo = root.path().join("c");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .expect("made");
        let told = told(root.path(), 10).expect("is walked");
        let expected = [("a", Kind::Link), ("b", Kind::Folder), ("b/file", Kind::File), ("c", Kind::Special)];
        assert_eq!(told, expected.map(|(path, kind)| (path.to_owned(), kind)));
    }

    #[test]
    fn too_many_names_end_the_walk() {
        let root = tempfile::tempdir().expect("a folder");
        for name in ["a", "b", "c"] {
            std::fs::write(root.path().join(name), "").expect("is written");
        }
        assert!(told(root.path(), 2).is_err_and(|error| error.to_string().contains("more than 2")));
        assert_eq!(told(root.path(), 3).expect("is walked").len(), 3);
    }

    #[test]
    fn a_folder_below_too_many_others_is_told_and_not_entered() {
        let root = tempfile::tempdir().expect("a folder");
        let mut deep = root.path().to_owned();
        for _ in 0..DEPTH_MAX + 3 {
            deep.push("d");
            std::fs::create_dir(&deep).expect("is made");
        }
        let told = told(root.path(), 1000).expect("is walked");
        assert_eq!(told.len(), DEPTH_MAX);
        assert_eq!(told.last().expect("there are some").1, Kind::TooDeep);
    }
}
