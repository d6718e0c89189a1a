//! Gives folders back to the workspace's owner, after a set-up whose commands were root.
//!
//! It is init's part because an image may have no `chown`, and its own might be anything. What it walks through was
//! made by whoever liked: so each name is opened without following it, looked at, and changed by that descriptor
//! alone. A link is given away itself, never what it leads to.

use std::ffi::{CStr, OsString};
use std::fmt::Display;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, chmod, chownat, fstat, openat, unlinkat};
use rustix::process::{Gid, Uid};

/// Folders within folders; each takes a descriptor while it is walked through.
const DEEPEST: usize = 1000;
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

fn give_back(folder: &Path, owner: (Uid, Gid)) -> Result<(), String> {
    let root = openat(CWD, folder, FOLDER, Mode::empty()).map_err(|error| error.to_string())?;
    let device = fstat(&root).map_err(|error| error.to_string())?.st_dev;
    settle(&root, owner).map_err(|error| error.to_string())?;
    let mut levels = vec![Dir::new(root).map_err(|error| error.to_string())?];
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.read() else {
            levels.pop();
            continue;
        };
        let entry = entry.map_err(|error| error.to_string())?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let parent = level.fd().map_err(|error| named(name, error))?;
        let below = visit(parent, name, device, owner).map_err(|error| named(name, error))?;
        if let Some(below) = below {
            if levels.len() >= DEEPEST {
                return Err(named(name, format_args!("more than {DEEPEST} folders lie above it")));
            }
            levels.push(Dir::new(below).map_err(|error| named(name, error))?);
        }
    }
    Ok(())
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Gives one thing back; if it is a folder, it is returned for a look into it.
fn visit(
    parent: impl AsFd,
    name: &CStr,
    device: u64,
    owner: (Uid, Gid),
) -> rustix::io::Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node = openat(&parent, name, flags, Mode::empty())?;
    let stat = fstat(&node)?;
    if stat.st_dev != device {
        return Ok(None);
    }
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice | FileType::BlockDevice => {
            unlinkat(&parent, name, AtFlags::empty())?;
            Ok(None)
        }
        kind => {
            settle(&node, owner)?;
            let folder = kind == FileType::Directory;
            folder.then(|| openat(&node, c".", FOLDER, Mode::empty())).transpose()
        }
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

fn named(name: &CStr, error: impl Display) -> String {
    format!("`{}`: {error}", Path::new(std::ffi::OsStr::from_bytes(name.to_bytes())).display())
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
