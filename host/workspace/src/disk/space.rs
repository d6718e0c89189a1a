//! What is free on a file system, and what kind it is.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::fs::{StatVfs, fstatfs, ioctl_ficlone, statvfs};

use super::quota::{self, Quota};

/// What is free for a user who is not root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes.
    pub bytes: u64,
    /// Files; none where the file system makes room for them as it goes.
    pub files: Option<u64>,
    /// Files that there is room for in all; 0 if `files` is none.
    pub all_files: u64,
}

impl Space {
    /// On the file system of a folder, whatever quota the folder has.
    ///
    /// # Errors
    /// If there is no such folder.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let own = statvfs(folder)?;
        // of a folder with a quota, the kernel says what is left of that
        let beside = folder.parent().filter(|_| quota::is_ours(folder));
        let StatVfs { f_bavail, f_frsize, f_favail, f_files, .. } = beside.map_or(Ok(own), statvfs)?;
        Ok(Self {
            bytes: f_bavail.saturating_mul(f_frsize),
            files: (f_files > 0).then_some(f_favail),
            all_files: f_files,
        })
    }
}

/// What a file system is able to, found out by trying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Its name, such as `ext4`; its number if it is not known to us.
    pub kind: String,
    /// Whether two files can share their blocks until one is written.
    pub reflink: bool,
    /// Whether it is in memory: what lies there costs memory, and is gone after a restart.
    pub memory: bool,
    /// Whether this process can give folders a [`Quota`] there.
    pub quotas: bool,
}

/// The numbers that the kernel gives to kinds of file systems, from its header `magic.h`.
const KINDS: [(u64, &str); 10] = [
    (0xEF53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683E, "btrfs"),
    (0x0102_1994, "tmpfs"),
    (0x8584_58F6, "ramfs"),
    (0x794C_7630, "overlayfs"),
    (0x2FC1_2FC1, "zfs"),
    (0xF2F5_2010, "f2fs"),
    (0xCA45_1A4E, "bcachefs"),
    (0x6969, "nfs"),
];

impl FileSystem {
    /// That of a folder, in which files can be made.
    ///
    /// # Errors
    /// If none can.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let files = [nameless(folder)?, nameless(folder)?];
        rustix::io::write(&files[0], b"x")?;
        let number = magic(&files[0])?;
        let known = KINDS.iter().find(|(known, _)| *known == number).map(|(_, name)| (*name).to_owned());
        let kind = known.unwrap_or_else(|| format!("type {number:#x}"));
        let memory = matches!(kind.as_str(), "tmpfs" | "ramfs");
        let reflink = ioctl_ficlone(files[1].as_fd(), files[0].as_fd()).is_ok();
        Ok(Self { kind, reflink, memory, quotas: Quota::is_possible(folder) })
    }
}

fn magic(file: &File) -> io::Result<u64> {
    #[expect(clippy::cast_sign_loss, reason = "the kernel's numbers are unsigned, the C library's are not")]
    Ok((fstatfs(file)?.f_type as u64) & 0xFFFF_FFFF)
}

fn nameless(folder: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(File::from(open(folder, flags, Mode::RUSR | Mode::WUSR)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_in_memory_is_told_from_one_on_a_disk() {
        let shared = FileSystem::of(Path::new("/dev/shm")).expect("anybody can write there");
        assert_eq!((shared.kind.as_str(), shared.memory, shared.reflink), ("tmpfs", true, false));
        assert!(FileSystem::of(Path::new("/proc")).is_err());
    }
}
