//! Gives folders back to the workspace's owner, after a set-up whose commands were root.
//!
//! It is init's part because an image may have no `chown`, and its own might be anything. What it walks through was
//! made by whoever liked: so each name is opened without following it, looked at, and changed by that descriptor
//! alone. A link is given away itself, never what it leads to.

use std::ffi::{CStr, OsString};
use std::fmt::Display;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, chmod, chownat, fstat, openat, unlinkat};
use rustix::process::{Gid, Uid};

use crate::folders::{FOLDER, Folders};

/// Of a mode: what makes a program run as its owner or group.
const PRIVILEGED: u32 = 0o6000;

/// Gives everything beneath `folders` to the user and group `owner` (`UID:GID`), takes the bits from modes that make a
/// program run as its owner, and removes device nodes. Other file systems beneath are left as they are.
pub(crate) fn main(owner: &OsString, folders: impl Iterator<Item = OsString>) -> Result<(), String> {
    let owner = owner.to_str().and_then(parse).ok_or("an owner is two numbers: UID:GID")?;
    for folder in folders {
        let folder = Path::new(&folder);
        give_back(folder, owner).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    Ok(())
}

fn parse(owner: &str) -> Option<(Uid, Gid)> {
    let (uid, gid) = owner.split_once(':')?;
    // the highest number stands for "as it is"
    let number = |text: &str| text.parse().ok().filter(|number| *number != u32::MAX);
    Some((Uid::from_raw(number(uid)?), Gid::from_raw(number(gid)?)))
}

/// However deep it goes: a command can make folders within each other until the disk is full.
fn give_back(folder: &Path, owner: (Uid, Gid)) -> Result<(), String> {
    let root = openat(CWD, folder, FOLDER, Mode::empty()).map_err(|error| error.to_string())?;
    settle(&root, owner).map_err(|error| error.to_string())?;
    settle_all(&root, owner)?;
    let mut folders = Folders::new(root).map_err(|error| error.to_string())?;
    loop {
        let Some(entry) = folders.read().map_err(|error| error.to_string())? else {
            if folders.leave().map_err(|error| error.to_string())? {
                continue;
            }
            return Ok(());
        };
        if !matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
            continue;
        }
        let at = |error| at(entry.ino(), error);
        let below = below(folders.folder().map_err(at)?, entry.file_name(), folders.device()).map_err(at)?;
        if let Some(below) = below {
            settle_all(&below, owner)?;
            folders.enter(below).map_err(at)?;
        }
    }
}

/// Opens a folder; none if it is something else, or of another file system.
fn below(around: impl AsFd, name: &CStr, device: u64) -> rustix::io::Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node = openat(around, name, flags, Mode::empty())?;
    let stat = fstat(&node)?;
    if stat.st_dev != device || FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(None);
    }
    openat(&node, c".", FOLDER, Mode::empty()).map(Some)
}

/// Gives back all that a folder itself holds. Before anybody goes on from it: where a name is removed, a place to go on
/// from may be another one.
fn settle_all(folder: &OwnedFd, owner: (Uid, Gid)) -> Result<(), String> {
    let device = fstat(folder).map_err(|error| error.to_string())?.st_dev;
    for entry in Dir::read_from(folder).map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            visit(folder, name, device, owner).map_err(|error| at(entry.ino(), error))?;
        }
    }
    Ok(())
}

/// Gives one thing back.
fn visit(parent: impl AsFd, name: &CStr, device: u64, owner: (Uid, Gid)) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node = openat(&parent, name, flags, Mode::empty())?;
    let stat = fstat(&node)?;
    if stat.st_dev != device {
        return Ok(());
    }
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice | FileType::BlockDevice => unlinkat(&parent, name, AtFlags::empty()),
        _ => settle(&node, owner),
    }
}

/// Owner first: that alone takes the bits, and capabilities, from files, and afterwards nobody else can set them again.
fn settle(node: &OwnedFd, (uid, gid): (Uid, Gid)) -> rustix::io::Result<()> {
    chownat(node, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    let Stat { st_mode: mode, .. } = fstat(node)?;
    if mode & PRIVILEGED != 0 && FileType::from_raw_mode(mode) != FileType::Symlink {
        // a descriptor that was opened for its path alone takes no other way
        chmod(format!("/proc/self/fd/{}", node.as_raw_fd()), Mode::from_raw_mode(mode & 0o1777))?;
    }
    Ok(())
}

/// Where something failed, by its number: its name may be a secret of the set-up's.
fn at(inode: u64, error: impl Display) -> String {
    format!("inode {inode}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_two_numbers() {
        assert_eq!(parse("7:9"), Some((Uid::from_raw(7), Gid::from_raw(9))));
        for wrong in ["", "7", "7:", ":9", "-1:9", "7:4294967295", "a:b", "7:9:1"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
