//! Removing folders that commands have filled, once nothing changes them any more.
//!
//! What is in them may lie below more folders than this process may have open, or than fit onto its stack. So two are
//! open at a time, and the way back up is `..`, which has to lead to where it came from.

#![expect(clippy::disallowed_methods, reason = "removes folders that commands have filled")]

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chmod, fstat, openat, statat, unlinkat};
use rustix::path::Arg;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Names of folders that are held at a time, of each that is being emptied.
const NAMES: usize = 10_000;

/// A folder that is being emptied.
struct Level {
    /// In the one above.
    name: CString,
    /// Device and number.
    id: (u64, u64),
    /// The folders in it that are still to go, as far as they were looked at.
    left: Vec<CString>,
}

/// Removes a folder with all in it, folders that cannot be written to among them. No link is followed; of a link, the
/// link itself is removed.
///
/// # Errors
/// What the system says of the first thing that cannot be removed.
pub fn remove_tree(folder: &Path) -> io::Result<()> {
    if fs::symlink_metadata(folder)?.file_type().is_symlink() {
        return fs::remove_file(folder);
    }
    let mut at = open(CWD, folder)?;
    let mut levels = vec![Level { name: CString::default(), id: id(&at)?, left: Vec::new() }];
    while let Some(level) = levels.last_mut() {
        if level.left.is_empty() {
            level.left = empty(&at)?;
        }
        if let Some(name) = level.left.pop() {
            at = open(&at, &name)?;
            levels.push(Level { name, id: id(&at)?, left: Vec::new() });
            continue;
        }
        let done = levels.pop().expect("it was looked at above");
        let Some(above) = levels.last() else { break };
        at = openat(&at, c"..", OFlags::RDONLY | FOLDER, Mode::empty())?;
        if id(&at)? != above.id {
            return Err(io::Error::other("somebody moves the folders that are being removed"));
        }
        unlinkat(&at, &done.name, AtFlags::REMOVEDIR)?;
    }
    fs::remove_dir(folder)
}

/// Opens a folder whose owner may change it from then on: the caches of some package managers are read-only, down to
/// their folders.
fn open(at: impl AsFd, name: impl Arg + Copy) -> io::Result<OwnedFd> {
    let place = openat(&at, name, OFlags::PATH | FOLDER, Mode::empty())?;
    let mode = Mode::from_raw_mode(fstat(&place)?.st_mode);
    if !rustix::process::geteuid().is_root() && !mode.contains(Mode::RWXU) {
        // a descriptor that was opened for its path alone takes no other way
        chmod(format!("/proc/self/fd/{}", place.as_raw_fd()), Mode::RWXU)?;
    }
    Ok(openat(&place, c".", OFlags::RDONLY | FOLDER, Mode::empty())?)
}

fn id(folder: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = fstat(folder)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Removes what is no folder, and returns the names of folders; no names if the folder is empty.
fn empty(folder: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut folders = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if !is_folder(folder, name, entry.file_type())? {
            unlinkat(folder, name, AtFlags::empty())?;
        } else if folders.len() < NAMES {
            folders.push(name.to_owned());
        }
    }
    Ok(folders)
}

fn is_folder(folder: &OwnedFd, name: &CStr, told: FileType) -> io::Result<bool> {
    let kind = match told {
        FileType::Unknown => {
            FileType::from_raw_mode(statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode)
        }
        told => told,
    };
    Ok(kind == FileType::Directory)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use rustix::fs::mkdirat;

    use super::*;
    use crate::traverse::as_plain_user;

    #[test]
    fn read_only_folders_go_and_what_links_lead_to_stays() {
        as_plain_user(|ground| {
            let outside = ground.join("outside");
            fs::create_dir(&outside).expect("is made");
            fs::write(outside.join("file"), "x").expect("is written");
            let inner = ground.join("tree/inner");
            fs::create_dir_all(&inner).expect("is made");
            fs::write(inner.join("file"), "x").expect("is written");
            symlink(&outside, inner.join("link")).expect("is linked");
            for (folder, mode) in [(&inner, 0o000), (&ground.join("tree"), 0o500)] {
                fs::set_permissions(folder, Permissions::from_mode(mode)).expect("is set");
            }
            remove_tree(&ground.join("tree")).expect("is removed");
            assert!(!ground.join("tree").exists() && outside.join("file").exists());
        });
    }

    #[test]
    fn folders_go_however_many_lie_within_each_other_or_beside() {
        let ground = tempfile::tempdir_in("/dev/shm").expect("a folder in memory, for speed");
        let tree = ground.path().join("tree");
        fs::create_dir(&tree).expect("is made");
        for name in 0..NAMES + 10 {
            fs::create_dir(tree.join(name.to_string())).expect("is made");
        }
        // more than a process has descriptors for, or a thread a stack
        let mut deep = openat(CWD, &tree, FOLDER, Mode::empty()).expect("is there");
        for _ in 0..25_000 {
            mkdirat(&deep, c"d", Mode::RWXU).expect("is made");
            deep = openat(&deep, c"d", FOLDER, Mode::empty()).expect("is there");
        }
        drop(deep);
        remove_tree(&tree).expect("is removed");
        assert!(!tree.exists());
    }

    #[test]
    fn of_a_link_the_link_goes_and_what_is_not_there_is_an_error() {
        let ground = tempfile::tempdir().expect("a folder");
        let (link, outside) = (ground.path().join("link"), ground.path().join("outside"));
        fs::create_dir(&outside).expect("is made");
        symlink(&outside, &link).expect("is linked");
        remove_tree(&link).expect("is removed");
        assert!(link.symlink_metadata().is_err() && outside.exists());
        assert_eq!(remove_tree(&link).expect_err("it is gone").kind(), io::ErrorKind::NotFound);
    }
}
