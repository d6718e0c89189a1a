//! Copying what lies in a folder that somebody hostile filled, into another one.
//!
//! Both are walked name by name from open descriptors, and no link is followed in either. What is in the way in the
//! target stays as it is.

#![expect(
    clippy::disallowed_methods,
    reason = "copies the folders of a workspace, which nobody works in meanwhile"
)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, chownat, fchmod, fchown, fstat,
    futimens, ioctl_ficlone, mkdirat, openat, symlinkat,
};
use rustix::io::Errno;
use sortie_policy::ports::Forked;

use crate::traverse::{Found, Kind, Step, traverse};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How something is copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    /// Whose the copy will be, as user and group; none for the running process.
    pub(crate) owner: Option<(u32, u32)>,
    /// The most files, folders and links that are looked at.
    pub(crate) entries: u64,
    /// The most bytes of files.
    pub(crate) bytes: u64,
    /// Whether the target folder itself takes mode and time of the source.
    pub(crate) root: bool,
}

/// Whether something is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// It is; of a folder, what is in it is asked for again.
    Always,
    /// A folder is, as soon as something in it is; anything else is not.
    WithContents,
    /// Neither it nor what is in it.
    Never,
}

/// Copies what `wanted` says from one folder into another, which exists. What is copied shares no file with its source
/// and is not set-user-id. A name that the target has already stays
/// as it is there; of two folders the contents are put together.
///
/// # Errors
/// If a folder is closed or beneath too many others, something cannot be read or written, or there is more than the
/// bounds allow. What was copied until then stays.
pub(crate) fn copy_into(
    source: &Path,
    target: &Path,
    how: How,
    wanted: &mut dyn FnMut(&Found<'_>) -> Take,
    done: &mut Forked,
) -> io::Result<()> {
    let stat = fstat(&rustix::fs::open(source, FOLDER, Mode::empty())?)?;
    let root = rustix::fs::open(target, FOLDER, Mode::empty())?;
    let owner = how.owner.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid)));
    let root = Level { name: CString::default(), stat, folder: Some(root), made: how.root };
    let mut copy = Copy { levels: vec![root], owner, most: how.bytes, bytes: 0, done };
    traverse(source, how.entries, &mut |step| match step {
        Step::Found(found) => copy.visit(found, wanted(found)),
        Step::Left => copy.leave().map(|()| false),
    })?;
    copy.leave()
}

/// A folder that is being copied.
struct Level {
    name: CString,
    /// As it is in the source.
    stat: Stat,
    /// In the target, once it is needed there.
    folder: Option<OwnedFd>,
    /// Whether it is ours to finish: one that was there before stays as it is.
    made: bool,
}

struct Copy<'a> {
    levels: Vec<Level>,
    owner: Option<(Uid, Gid)>,
    most: u64,
    bytes: u64,
    done: &'a mut Forked,
}

impl Copy<'_> {
    /// Whether a folder is entered.
    fn visit(&mut self, found: &Found<'_>, take: Take) -> io::Result<bool> {
        if take == Take::Never || take == Take::WithContents && found.kind != Kind::Folder {
            return Ok(false);
        }
        match found.kind {
            Kind::Folder => return self.enter(found, take),
            // half a copy would be taken for a whole one
            Kind::TooDeep => return Err(named(found, io::Error::other("it lies below too many folders"))),
            Kind::Closed => return Err(named(found, io::ErrorKind::PermissionDenied.into())),
            Kind::Special => self.done.special += 1,
            Kind::File | Kind::Link => {
                // without the folders around it there is nowhere to put it
                if !self.make_folders()? {
                    return Ok(false);
                }
                if found.kind == Kind::File { self.file(found)? } else { self.link(found)? }
            }
        }
        Ok(false)
    }

    fn enter(&mut self, found: &Found<'_>, take: Take) -> io::Result<bool> {
        self.levels.push(Level { name: found.name.to_owned(), stat: found.stat, folder: None, made: false });
        if take == Take::Always && !self.make_folders()? {
            self.levels.pop();
            return Ok(false);
        }
        Ok(true)
    }

    /// Makes the folders that are open in the source in the target as well. False if something else is in the way.
    fn make_folders(&mut self) -> io::Result<bool> {
        for depth in 1..self.levels.len() {
            if self.levels[depth].folder.is_some() {
                continue;
            }
            let (above, below) = self.levels.split_at_mut(depth);
            let parent = above[depth - 1].folder.as_ref().expect("it was made before what is in it");
            let level = &mut below[0];
            match mkdirat(parent, &level.name, Mode::from_raw_mode(0o700)) {
                Ok(()) => {
                    level.made = true;
                    self.done.folders += 1;
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            level.folder = match openat(parent, &level.name, FOLDER, Mode::empty()) {
                Ok(folder) => Some(folder),
                Err(Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) if !level.made => return Ok(false),
                Err(errno) => return Err(errno.into()),
            };
        }
        Ok(true)
    }

    fn folder(&self) -> BorrowedFd<'_> {
        let level = self.levels.last().expect("the root stays to the end");
        level.folder.as_ref().expect("it was made").as_fd()
    }

    /// Owner, mode and time come last: a folder that is read-only could not be filled, and filling changes its time.
    fn leave(&mut self) -> io::Result<()> {
        let level = self.levels.pop().expect("each is left once");
        match level.folder {
            Some(folder) if level.made => self.finish(folder.as_fd(), &level.stat),
            _ => Ok(()),
        }
    }

    fn file(&mut self, found: &Found<'_>) -> io::Result<()> {
        let (mut source, stat) = found.open().map_err(|error| named(found, error))?;
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut copy = match openat(self.folder(), found.name, flags, Mode::from_raw_mode(0o600)) {
            Ok(copy) => File::from(copy),
            Err(Errno::EXIST) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.most {
            let message = format!("its files hold more than {} bytes", self.most);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        match ioctl_ficlone(&copy, &source) {
            Ok(()) => self.done.shared += 1,
            // which of these it is depends on the file system
            Err(
                Errno::OPNOTSUPP | Errno::NOTTY | Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::PERM,
            ) => copy_bytes(&mut source, &mut copy, size)?,
            Err(errno) => return Err(named(found, errno.into())),
        }
        self.finish(copy.as_fd(), &stat)?;
        self.done.files += 1;
        self.done.bytes += size;
        Ok(())
    }

    fn link(&mut self, found: &Found<'_>) -> io::Result<()> {
        match symlinkat(found.target()?, self.folder(), found.name) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
        if let Some((uid, gid)) = self.owner {
            chownat(self.folder(), found.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        self.done.links += 1;
        Ok(())
    }

    fn finish(&self, made: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
        if let Some((uid, gid)) = self.owner {
            fchown(made, Some(uid), Some(gid))?;
        }
        // neither set-user-id nor the like
        fchmod(made, Mode::from_raw_mode(stat.st_mode & 0o777))?;
        // build tools compare times
        let modified =
            Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec.try_into().unwrap_or(0) };
        let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        futimens(made, &Timestamps { last_access, last_modification: modified })?;
        Ok(())
    }
}

/// Copies what there is, but for the holes: a file of a terabyte may hold one byte.
fn copy_bytes(source: &mut File, copy: &mut File, size: u64) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    let mut at = 0;
    while at < size {
        let data = match rustix::fs::seek(&*source, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => data,
            // there is none any more
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => at,
            Err(errno) => return Err(errno.into()),
        };
        let end = match rustix::fs::seek(&*source, rustix::fs::SeekFrom::Hole(data)) {
            Ok(end) => end.min(size),
            Err(_) => size,
        };
        source.seek(SeekFrom::Start(data))?;
        copy.seek(SeekFrom::Start(data))?;
        let copied = io::copy(&mut (&mut *source).take(end.saturating_sub(data)), copy)?;
        if copied == 0 {
            break;
        }
        at = data + copied;
    }
    copy.set_len(size)
}

fn named(found: &Found<'_>, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", found.path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("is made");
        fs::write(path, text).expect("is written");
    }

    fn copied(source: &Path, target: &Path, wanted: &mut dyn FnMut(&Found<'_>) -> Take) -> Forked {
        let mut done = Forked::default();
        let how = How { owner: None, entries: 1000, bytes: 1 << 20, root: false };
        copy_into(source, target, how, wanted, &mut done).expect("is copied");
        done
    }

    #[test]
    fn what_is_in_the_way_stays_and_folders_are_put_together() {
        let ground = tempfile::tempdir().expect("a folder");
        let (source, target) = (ground.path().join("a"), ground.path().join("b"));
        let outside = ground.path().join("outside");
        for path in ["same/theirs", "same/both", "file-there/x", "link-there/x", "new/x"] {
            put(&source, path, "theirs");
        }
        for path in ["same/both", "file-there"] {
            put(&target, path, "ours");
        }
        fs::create_dir(&outside).expect("is made");
        std::os::unix::fs::symlink(&outside, target.join("link-there")).expect("is linked");
        copied(&source, &target, &mut |_| Take::Always);
        let read = |path: &str| fs::read_to_string(target.join(path)).expect("is read");
        assert_eq!((read("same/theirs"), read("same/both")), ("theirs".into(), "ours".into()));
        assert_eq!((read("file-there"), read("new/x")), ("ours".into(), "theirs".into()));
        assert_eq!(fs::read_dir(&outside).expect("is listed").count(), 0, "no link is followed");
    }

    #[test]
    fn a_folder_that_is_wanted_for_its_contents_comes_with_them_or_not_at_all() {
        let ground = tempfile::tempdir().expect("a folder");
        let (source, target) = (ground.path().join("a"), ground.path().join("b"));
        for path in ["src/lib.rs", "packages/one/node_modules/x", "packages/two/index.js"] {
            put(&source, path, "x");
        }
        fs::create_dir(&target).expect("is made");
        let done = copied(&source, &target, &mut |found| match found
            .path
            .components()
            .any(|part| part.as_os_str() == "node_modules")
        {
            true => Take::Always,
            false => Take::WithContents,
        });
        assert_eq!((done.files, done.folders), (1, 3));
        assert!(target.join("packages/one/node_modules/x").exists());
        assert!(!target.join("src").exists() && !target.join("packages/two").exists());
    }
}
