//! What the kernel offers: the project of a folder, and the quota of a project.
//!
//! One set of calls does for ext4 and XFS.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// `PRJQUOTA` and the calls of `quota.h`, as `quotactl` wants them.
const OF_PROJECTS: u32 = 2;
const GET: u32 = 0x80_0007;
const SET: u32 = 0x80_0008;
const GET_NEXT: u32 = 0x80_0009;
/// `Q_XGETQSTATV` of `dqblk_xfs.h`.
const GET_STATE: u32 = 0x5808;

/// Which of the limits are set: those of bytes and of files.
const LIMITS: u32 = 1 | 4;
/// `FS_QUOTA_PDQ_ENFD`: limits of projects are kept.
const ENFORCED: u16 = 1 << 5;

/// `FS_IOC_FSGETXATTR` and `FS_IOC_FSSETXATTR` of `fs.h`.
const GET_ATTRIBUTES: u32 = 0x801c_581f;
const SET_ATTRIBUTES: u32 = 0x401c_5820;
/// `FS_XFLAG_PROJINHERIT`: what is made in a folder belongs to its project.
const INHERIT: u32 = 0x200;

/// The unit of limits of bytes.
const BLOCK: u64 = 1024;

/// `fsxattr`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// `if_nextdqblk`, and `if_dqblk`, which ends before the project.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Numbers {
    most_blocks: u64,
    soft_blocks: u64,
    bytes: u64,
    most_files: u64,
    soft_files: u64,
    files: u64,
    times: [u64; 2],
    valid: u32,
    project: u32,
}

/// What a project has used, and may use; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) project: u32,
    pub(super) bytes: u64,
    pub(super) files: u64,
    pub(super) most_bytes: u64,
    pub(super) most_files: u64,
}

impl From<Numbers> for Usage {
    fn from(numbers: Numbers) -> Self {
        let Numbers { project, bytes, files, most_blocks, most_files, .. } = numbers;
        Self { project, bytes, files, most_bytes: most_blocks.saturating_mul(BLOCK), most_files }
    }
}

/// The project that a folder gives to what is made in it; none if it gives none.
pub(super) fn project(folder: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let found = attributes(folder)?;
    Ok((found.flags & INHERIT != 0).then_some(found.project))
}

/// Has what is made in a folder belong to a project, and the folder itself; or to none.
pub(super) fn set_project(folder: BorrowedFd<'_>, project: Option<u32>) -> io::Result<()> {
    let mut wanted = attributes(folder)?;
    wanted.project = project.unwrap_or(0);
    wanted.flags = if project.is_some() { wanted.flags | INHERIT } else { wanted.flags & !INHERIT };
    #[expect(unsafe_code, reason = "rustix does not set these attributes")]
    // SAFETY: the kernel reads a structure of the size that is part of the number.
    let result = unsafe { libc::ioctl(folder.as_raw_fd(), SET_ATTRIBUTES as libc::Ioctl, &raw const wanted) };
    checked(result.into())
}

fn attributes(folder: BorrowedFd<'_>) -> io::Result<Attributes> {
    let mut found = Attributes::default();
    #[expect(unsafe_code, reason = "rustix does not read these attributes")]
    // SAFETY: the kernel writes a structure of the size that is part of the number.
    let result = unsafe { libc::ioctl(folder.as_raw_fd(), GET_ATTRIBUTES as libc::Ioctl, &raw mut found) };
    checked(result.into()).map(|()| found)
}

/// Whether limits of projects are kept on the file system of a folder.
pub(super) fn is_enforced(folder: BorrowedFd<'_>) -> bool {
    // `fs_quota_statv` has less than this; its version comes first, its flags after it
    let mut state = [0u64; 64];
    state[0] = u64::from_ne_bytes([1, 0, 0, 0, 0, 0, 0, 0]);
    let [_, _, low, high, ..] = match quotactl(folder, GET_STATE, 0, &mut state) {
        Ok(()) => state[0].to_ne_bytes(),
        Err(_) => return false,
    };
    u16::from_ne_bytes([low, high]) & ENFORCED != 0
}

/// What a project uses; nothing, if nobody ever gave it anything.
pub(super) fn usage(folder: BorrowedFd<'_>, project: u32) -> io::Result<Usage> {
    let mut numbers = Numbers::default();
    match quotactl(folder, GET, project, &mut numbers) {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => Ok(Usage { project, ..numbers.into() }),
    }
}

/// The first project from this number on that has a quota.
pub(super) fn next(folder: BorrowedFd<'_>, project: u32) -> io::Result<Option<Usage>> {
    let mut numbers = Numbers::default();
    match quotactl(folder, GET_NEXT, project, &mut numbers) {
        Ok(()) => Ok(Some(numbers.into())),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Limits what a project may use, from now on; 0 is no limit.
pub(super) fn limit(folder: BorrowedFd<'_>, project: u32, bytes: u64, files: u64) -> io::Result<()> {
    let most_blocks = bytes.div_ceil(BLOCK);
    let mut numbers = Numbers { most_blocks, most_files: files, valid: LIMITS, ..Numbers::default() };
    quotactl(folder, SET, project, &mut numbers)
}

/// `T` is what the call reads and writes.
fn quotactl<T>(folder: BorrowedFd<'_>, call: u32, project: u32, value: &mut T) -> io::Result<()> {
    let call = (call << 8) | OF_PROJECTS;
    let folder = folder.as_raw_fd();
    #[expect(unsafe_code, reason = "rustix has no quotactl")]
    // SAFETY: each caller passes the structure of its call, or more, and the kernel keeps no pointer to it.
    let result =
        unsafe { libc::syscall(libc::SYS_quotactl_fd, folder, call, project, std::ptr::from_mut(value)) };
    checked(result)
}

fn checked(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
