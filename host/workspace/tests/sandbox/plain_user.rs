//! The same tests again as a plain user.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::program;

/// Nobody's number, and not the one that sandboxes of root use.
const USER: u32 = 65432;

#[test]
fn all_of_this_holds_for_a_plain_user_too() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("temporary folders can be made");
    let own = folder.path().join("tests");
    // The binary and its folder may lie where only root can look.
    program(&own, &std::fs::read("/proc/self/exe").expect("the test binary can be read"));
    for path in [folder.path(), &own] {
        std::os::unix::fs::chown(path, Some(USER), Some(USER)).expect("root may");
    }
    let mut again = Command::new(&own);
    again.env("TMPDIR", folder.path()).env("HOME", folder.path()).current_dir(folder.path());
    // Root's engine is not for plain users.
    again.env_remove(crate::containers::WANTED).env_remove(crate::containers::PODMAN);
    again.args(std::env::args().skip(1).filter(|argument| argument != "--exact"));
    let status = again.uid(USER).gid(USER).status().expect("the copy runs");
    assert!(status.success(), "as a plain user: {status}");
}
