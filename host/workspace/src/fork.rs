//! Copies of a workspace's folders, for attempts that go on from the same state.
//!
//! A copy shares no file with its source: where the file system can (btrfs, XFS and the like), the two share blocks
//! until one of them is written, elsewhere the bytes are copied. What a hard link joined is apart in the copy. The
//! source is a workspace's, so hostile: links are copied as links, fifos, sockets and devices are left out, and
//! everything is bounded. Nothing may run in it meanwhile.

#![expect(clippy::disallowed_methods, reason = "makes the folder that a workspace is copied into")]

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use sortie_core::action::WorkspaceCreate;
use sortie_policy::ports::{ErrorCode, Forked, Forks, PortError, WorkspaceSpec};
use sortie_policy::{Permit, Seal};

use crate::copy::{How, Take, copy_into};
use crate::remove::remove_tree;

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
    let mut made = Made(Vec::new());
    for (source, copy) in pairs {
        let how = How { owner, entries: ENTRIES_MAX, bytes: most, root: true };
        made.folder(copy)
            .and_then(|()| copy_into(source, copy, how, &mut |_| Take::Always, &mut forked))
            .map_err(|error| (source.clone(), error))?;
    }
    made.0.clear();
    Ok(forked)
}

/// Folders of a copy that is not whole: half of a workspace is none, so they are removed when this is dropped.
struct Made<'a>(Vec<&'a Path>);

impl<'a> Made<'a> {
    fn folder(&mut self, path: &'a Path) -> io::Result<()> {
        // also refuses a link, wherever it leads
        DirBuilder::new().mode(0o700).create(path)?;
        self.0.push(path);
        Ok(())
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        for path in &self.0 {
            drop(remove_tree(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn forked(source: &Path, copy: &Path) -> io::Result<Forked> {
        fork_all(&[(source.to_owned(), copy.to_owned())], None, 1 << 20).map_err(|(_, error)| error)
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
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .expect("is made");
        let done = forked(&source, &copy).expect("is copied");
        assert_eq!((done.links, done.special, done.files), (1, 1, 0));
        assert_eq!(fs::read_link(copy.join("out")).expect("a link"), secret);
        assert!(!copy.join("pipe").exists());
    }

    #[test]
    fn a_copy_has_no_extended_attributes() {
        use rustix::fs::{XattrFlags, getxattr, setxattr};
        let ground = tempfile::tempdir().expect("a folder");
        let (source, copy) = (ground.path().join("a"), ground.path().join("b"));
        fs::create_dir_all(source.join("folder")).expect("is made");
        fs::write(source.join("file"), "x").expect("is written");
        for path in ["", "folder", "file"] {
            match setxattr(source.join(path), "user.origin", b"needle", XattrFlags::empty()) {
                Err(rustix::io::Errno::OPNOTSUPP) => {
                    return eprintln!("not tested: this file system has no extended attributes");
                }
                set => set.expect("is set"),
            }
        }
        forked(&source, &copy).expect("is copied");
        let origin = |path: PathBuf| getxattr(path, "user.origin", &mut [0; 8][..]);
        assert_eq!(origin(source.join("file")), Ok(6));
        let copied = ["", "folder", "file"].map(|path| origin(copy.join(path)));
        assert_eq!(copied, [Err(rustix::io::Errno::NODATA); 3]);
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
    fn half_a_copy_is_removed_though_parts_of_it_are_read_only() {
        crate::traverse::as_plain_user(|ground| {
            let path = |name: &str| ground.join(name);
            fs::create_dir_all(path("a/cache")).expect("is made");
            fs::write(path("a/cache/module"), "x").expect("is written");
            fs::set_permissions(path("a/cache"), fs::Permissions::from_mode(0o500)).expect("is set");
            File::create(path("a/huge")).expect("is made").set_len(2 << 20).expect("is sparse");
            forked(&path("a"), &path("b")).expect_err("it is too large");
            assert!(!path("b").exists());
            // what was there before is not ours to remove
            fs::create_dir(path("c")).expect("is made");
            fs::write(path("c/mine"), "mine").expect("is written");
            forked(&path("a"), &path("c")).expect_err("it is there");
            assert!(path("c/mine").exists());
            fs::set_permissions(path("a/cache"), fs::Permissions::from_mode(0o700)).expect("is set");
        });
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
