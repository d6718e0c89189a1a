//! Who the commands are.

#![expect(clippy::disallowed_methods, reason = "the maps of a user namespace are files of the kernel's")]

use rustix::process::{Gid, Uid, getegid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde::{Deserialize, Serialize};

use super::error::{Failure, Step};

/// The user and group id that commands run as when the host is root. It needs no entry in `/etc/passwd`, and
/// should have none: what belongs to it can be changed by whatever runs in a workspace. Two sandboxes of one
/// host may share it, since neither sees the other's processes or files.
pub const BOX_ID: u32 = 65521;

/// The user and group that own what commands write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
}

/// As `UID:GID`.
impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

impl Owner {
    /// For the running process: [`BOX_ID`] if it is root, else its own user and group.
    pub fn current() -> Self {
        if geteuid().is_root() {
            Self { uid: BOX_ID, gid: BOX_ID }
        } else {
            Self { uid: geteuid().as_raw(), gid: getegid().as_raw() }
        }
    }
}

/// Becomes `owner`, for good, if the process is root. Nothing of root's can be opened by path afterwards.
pub(super) fn drop_root(owner: Owner) -> Result<(), Failure> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    set_thread_groups(&[]).step("give up root's groups")?;
    set_thread_res_gid(gid, gid, gid).step("become the workspace's group")?;
    set_thread_res_uid(uid, uid, uid).step("become the workspace's user")?;
    // Or our own files in /proc, the maps of the new namespace among them, stay root's.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
        .step("own the helper's files in /proc")
}

/// Maps the one user and group onto themselves in the user namespace that was just made.
pub(super) fn map(owner: Owner) -> Result<(), Failure> {
    let Owner { uid, gid } = owner;
    // The kernel wants this before an unprivileged process may map its group.
    std::fs::write("/proc/self/setgroups", "deny").step("forbid changes of groups")?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")).step("map the user")?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")).step("map the group")
}
