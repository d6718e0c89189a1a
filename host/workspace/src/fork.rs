//! Copies of a workspace's folders, for attempts that go on from the same state.
//!
//! A copy shares no file with its source: where the file system can (btrfs, XFS and the like), the two share blocks
//! until one of them is written, elsewhere the bytes are copied. What a hard link joined is apart in the copy. The
//! source is a workspace's, so hostile: links are copied as links, fifos, sockets and devices are left out, and
//! everything is bounded. Nothing may run in it meanwhile.

#![expect(clippy::disallowed_methods, reason = "makes the folder that a workspace is copied into")]

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, chownat, fchmod, fchown, fstat,
    futimens, ioctl_ficlone, mkdirat, openat, symlinkat,
};
use rustix::io::Errno;
use sortie_core::action::WorkspaceCreate;
use sortie_policy::ports::{ErrorCode, Forked, Forks, PortError, WorkspaceSpec};
use sortie_policy::{Permit, Seal};

use crate::traverse::{Found, Kind, Step, traverse};

/// Files and folders of one folder that is copied.
const ENTRIES_MAX: u64 = 2_000_000;

/// Bytes of files in one folder that is copied, unless set otherwise: 64 GiB.
const BYTES_MAX: u64 = 64 << 30;

/// Copies folders of workspaces that do not run.
#[derive(Clone, Debug)]
pub struct FolderForks {
    seal: Seal,
    owner: Option<(u32, u32)>,
    most: u64,
}

impl FolderForks {
    /// For permits that bear `seal`. What is copied will belong to `owner` (user, group), or to the running process.
    pub fn new(seal: Seal, owner: Option<(u32, u32)>) -> Self {
        Self { seal, owner, most: BYTES_MAX }
    }

    /// Refuses folders with more bytes of files than this; 64 GiB if it is not called.
    #[must_use]
    pub fn at_most(self, bytes: u64) -> Self {
        Self { most: bytes, ..self }
    }
}

#[async_trait]
impl Forks for FolderForks {
    async fn fork(
        &self,
        permit: Permit<WorkspaceCreate>,
        source: &WorkspaceSpec,
        copy: &WorkspaceSpec,
    ) -> Result<Forked, PortError> {
        permit.redeem(self.seal)?;
        let pairs =
            [(source.work_tree.clone(), copy.work_tree.clone()), (source.home.clone(), copy.home.clone())];
        let (owner, most) = (self.owner, self.most);
        // Once it began it runs to its end, whether anybody waits or not: it then removes what it made if it failed.
        tokio::task::spawn_blocking(move || fork_all(&pairs, owner, most))
            .await
            .map_err(PortError::internal)?
            .map_err(|(path, error)| {
                let code = match error.kind() {
                    io::ErrorKind::AlreadyExists => ErrorCode::Conflict,
                    io::ErrorKind::NotFound => ErrorCode::NotFound,
                    io::ErrorKind::FileTooLarge => ErrorCode::TooLarge,
                    _ => ErrorCode::Internal,
                };
                PortError::new(
                    code,
                    format!("cannot copy the workspace's folder `{}`: {error}", path.display()),
                )
            })
    }
}

type Pair = (PathBuf, PathBuf);

fn fork_all(pairs: &[Pair], owner: Option<(u32, u32)>, most: u64) -> Result<Forked, (PathBuf, io::Error)> {
    let mut forked = Forked::default();
    for (done, (source, copy)) in pairs.iter().enumerate() {
        if let Err(error) = fork_folder(source, copy, owner, most, &mut forked) {
            let made = if error.kind() == io::ErrorKind::AlreadyExists { done } else { done + 1 };
            for (_, copy) in &pairs[..made] {
                // half of a workspace is none
                drop(std::fs::remove_dir_all(copy));
            }
            return Err((source.clone(), error));
        }
    }
    Ok(forked)
}

/// A folder of the copy that is being filled.
struct Level {
    folder: OwnedFd,
    stat: Stat,
}

struct Copy<'a> {
    levels: Vec<Level>,
    owner: Option<(Uid, Gid)>,
    most: u64,
    bytes: u64,
    forked: &'a mut Forked,
}

fn fork_folder(
    source: &Path,
    copy: &Path,
    owner: Option<(u32, u32)>,
    most: u64,
    forked: &mut Forked,
) -> io::Result<()> {
    // also refuses a link, wherever it leads
    DirBuilder::new().mode(0o700).create(copy)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let stat = fstat(&rustix::fs::open(source, flags, Mode::empty())?)?;
    let root = rustix::fs::open(copy, flags, Mode::empty())?;
    let owner = owner.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid)));
    let mut copy = Copy { levels: vec![Level { folder: root, stat }], owner, most, bytes: 0, forked };
    traverse(source, ENTRIES_MAX, &mut |step| copy.visit(&step))?;
    copy.leave()
}

impl Copy<'_> {
    fn visit(&mut self, step: &Step<'_>) -> io::Result<bool> {
        let Step::Found(found) = step else {
            self.leave()?;
            return Ok(false);
        };
        match found.kind {
            Kind::Folder => self.enter(found)?,
            Kind::File => self.file(found)?,
            Kind::Link => self.link(found)?,
            Kind::Special => self.forked.special += 1,
            // half a copy would be taken for a whole one
            Kind::TooDeep => return Err(named(found, io::Error::other("it lies below too many folders"))),
            Kind::Closed => return Err(named(found, io::ErrorKind::PermissionDenied.into())),
        }
        Ok(true)
    }

    fn folder(&self) -> BorrowedFd<'_> {
        self.levels.last().expect("the root stays to the end").folder.as_fd()
    }

    fn enter(&mut self, found: &Found<'_>) -> io::Result<()> {
        mkdirat(self.folder(), found.name, Mode::from_raw_mode(0o700))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = openat(self.folder(), found.name, flags, Mode::empty())?;
        self.levels.push(Level { folder, stat: found.stat });
        self.forked.folders += 1;
        Ok(())
    }

    /// Owner, mode and time come last: a folder that is read-only could not be filled, and filling changes its time.
    fn leave(&mut self) -> io::Result<()> {
        let Level { folder, stat } = self.levels.pop().expect("each is left once");
        self.finish(folder.as_fd(), &stat)
    }

    fn file(&mut self, found: &Found<'_>) -> io::Result<()> {
        let (mut source, stat) = found.open().map_err(|error| named(found, error))?;
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.most {
            let message = format!("its files hold more than {} bytes", self.most);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut copy = File::from(openat(self.folder(), found.name, flags, Mode::from_raw_mode(0o600))?);
        match ioctl_ficlone(&copy, &source) {
            Ok(()) => self.forked.shared += 1,
            // which of these it is depends on the file system
            Err(
                Errno::OPNOTSUPP | Errno::NOTTY | Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::PERM,
            ) => {
                copy_bytes(&mut source, &mut copy, size)?;
            }
            Err(errno) => return Err(named(found, errno.into())),
        }
        self.finish(copy.as_fd(), &stat)?;
        self.forked.files += 1;
        self.forked.bytes += size;
        Ok(())
    }

    fn link(&mut self, found: &Found<'_>) -> io::Result<()> {
        symlinkat(found.target()?, self.folder(), found.name)?;
        if let Some((uid, gid)) = self.owner {
            chownat(self.folder(), found.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        self.forked.links += 1;
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
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn forked(source: &Path, copy: &Path) -> io::Result<Forked> {
        let mut forked = Forked::default();
        fork_folder(source, copy, None, 1 << 20, &mut forked).map(|()| forked)
    }

    #[test]
    fn a_copy_has_the_same_files_and_shares_none() {
        let ground = tempfile::tempdir().expect("a folder");
        let (source, copy) = (ground.path().join("a"), ground.path().join("b"));
        fs::create_dir_all(source.join("read-only")).expect("is made");
        fs::write(source.join("read-only/tool"), "run").expect("is written");
        fs::hard_link(source.join("read-only/tool"), source.join("again")).expect("is linked");
        fs::set_permissions(source.join("again"), fs::Permissions::from_mode(0o4755)).expect("is set");
        fs::set_permissions(source.join("read-only"), fs::Permissions::from_mode(0o500)).expect("is set");
        let done = forked(&source, &copy).expect("is copied");
        assert_eq!((done.files, done.folders, done.bytes), (2, 1, 6));
        let inode = |path: PathBuf| fs::metadata(path).expect("is there").ino();
        assert_ne!(inode(copy.join("again")), inode(copy.join("read-only/tool")));
        assert_ne!(inode(copy.join("again")), inode(source.join("again")));
        let meta = fs::metadata(copy.join("again")).expect("is there");
        assert_eq!(meta.mode() & 0o7777, 0o755, "and not set-user-id");
        assert_eq!(meta.mtime_nsec(), fs::metadata(source.join("again")).expect("is there").mtime_nsec());
        assert_eq!(fs::metadata(copy.join("read-only")).expect("is there").mode() & 0o777, 0o500);
        fs::write(copy.join("again"), "changed").expect("is written");
        assert_eq!(fs::read_to_string(source.join("read-only/tool")).expect("is read"), "run");
        fs::set_permissions(copy.join("read-only"), fs::Permissions::from_mode(0o700)).expect("is set");
    }

    #[test]
    fn links_are_copied_as_links_and_special_files_are_left_out() {
        let ground = tempfile::tempdir().expect("a folder");
        let (source, copy) = (ground.path().join("a"), ground.path().join("b"));
        fs::create_dir(&source).expect("is made");
        let secret = ground.path().join("secret");
        fs::create_dir(&secret).expect("is made");
        fs::write(secret.join("key"), "s").expect("is written");
        std::os::unix::fs::symlink(&secret, source.join("out")).expect("is linked");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            source.join("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .expect("is made");
        let done = forked(&source, &copy).expect("is copied");
        assert_eq!((done.links, done.special, done.files), (1, 1, 0));
        assert_eq!(fs::read_link(copy.join("out")).expect("a link"), secret);
        assert!(!copy.join("pipe").exists());
    }

    #[test]
    fn a_source_that_is_a_link_a_copy_that_exists_and_too_many_bytes_are_refused() {
        let ground = tempfile::tempdir().expect("a folder");
        let (source, copy) = (ground.path().join("a"), ground.path().join("b"));
        fs::create_dir(&source).expect("is made");
        std::os::unix::fs::symlink(&source, ground.path().join("link")).expect("is linked");
        assert!(forked(&ground.path().join("link"), &ground.path().join("c")).is_err());
        std::os::unix::fs::symlink(ground.path().join("elsewhere"), &copy).expect("is linked");
        assert!(forked(&source, &copy).is_err());
        assert!(!ground.path().join("elsewhere").exists());
        File::create(source.join("huge")).expect("is made").set_len(2 << 20).expect("is sparse");
        let error = forked(&source, &ground.path().join("d")).expect_err("it is too large");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn holes_stay_holes() {
        let ground = tempfile::tempdir().expect("a folder");
        let (source, copy) = (ground.path().join("a"), ground.path().join("b"));
        fs::create_dir(&source).expect("is made");
        let file = File::create(source.join("sparse")).expect("is made");
        std::os::unix::fs::FileExt::write_all_at(&file, b"end", (900 << 10) - 3).expect("is written");
        forked(&source, &copy).expect("is copied");
        let bytes = fs::read(copy.join("sparse")).expect("is read");
        assert_eq!(bytes.len(), 900 << 10);
        assert!(bytes.ends_with(b"end") && bytes[..1000].iter().all(|byte| *byte == 0));
        let blocks = |path: PathBuf| fs::metadata(path).expect("is there").blocks();
        assert!(blocks(copy.join("sparse")) <= blocks(source.join("sparse")) + 16);
    }

    #[test]
    fn half_a_copy_is_removed() {
        let ground = tempfile::tempdir().expect("a folder");
        let path = |name: &str| ground.path().join(name);
        fs::create_dir(path("a")).expect("is made");
        fs::write(path("a/file"), "x").expect("is written");
        let pairs = [(path("a"), path("b")), (path("not there"), path("c"))];
        let (which, _) = fork_all(&pairs, None, 1 << 20).expect_err("one is missing");
        assert_eq!(which, path("not there"));
        assert!(!path("b").exists() && !path("c").exists());
    }
}
