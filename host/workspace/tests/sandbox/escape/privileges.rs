//! Users, capabilities, and what root of the host left.

use std::fs;
use std::process::Command;

use sortie_policy::ports::Exit;
use sortie_workspace::sandbox::Owner;

use super::{Checks, is_root, number};
use crate::support::{Box, program};

#[tokio::test]
async fn no_privilege_is_left_and_none_is_gained() {
    let inside = Box::start().await;
    let mut checks = Checks::default();
    let status = inside.sh("cat /proc/self/status").await.stdout;
    for (field, value) in [
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
        checks.expect(field, line.ends_with(value), line);
    }
    let root = number(&inside.probe(&["syscall", "setuid-root"]).await);
    checks.expect("becoming root", [libc::EPERM, libc::EINVAL].contains(&root), root);
    // No root by name, none by a change of user, no ambient capabilities, and all of it locked.
    let bits = inside.probe(&["secure-bits"]).await.stdout;
    checks.expect("secure bits", bits == 0b1110_1111.to_string(), bits);
    let filters = |status: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:"));
        line.and_then(|count| count.trim().parse::<u32>().ok())
    };
    let outside = filters(&fs::read_to_string("/proc/self/status").expect("it is always there"));
    checks.expect("filters", filters(&status) == outside.map(|count| count + 4), filters(&status));
    checks.done();
}

#[test]
fn the_groups_of_root_are_not_the_boxs() {
    if !is_root() {
        return;
    }
    // To the kernel, groups are a thread's own. The helper has those of the thread that starts it.
    let tried = std::thread::spawn(|| {
        rustix::thread::set_thread_groups(&[rustix::process::Gid::from_raw(4)]).expect("root may");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("it starts");
        runtime.block_on(async {
            let status = Box::start().await.sh("grep ^Groups: /proc/self/status").await.stdout;
            assert_eq!(status.trim(), "Groups:");
        });
    });
    tried.join().expect("it has none of them");
}

#[tokio::test]
async fn a_setuid_program_of_roots_in_the_work_tree_gains_nothing() {
    if !is_root() {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let inside = Box::start().await;
    let id = inside.folders.work_tree.join("id");
    program(&id, &fs::read("/usr/bin/id").expect("it is there"));
    fs::set_permissions(&id, fs::Permissions::from_mode(0o4755)).expect("root may");
    let outcome = inside.sh("./id -u").await;
    assert_eq!((outcome.exit, outcome.stdout), (Exit::Code(0), format!("{}\n", Owner::current().uid)));
}

#[tokio::test]
async fn a_device_node_in_the_work_tree_is_no_device() {
    if !is_root() {
        return;
    }
    let inside = Box::start().await;
    let node = inside.folders.work_tree.join("zero");
    let made =
        Command::new("mknod").arg(&node).args(["-m", "666", "c", "1", "5"]).status().expect("mknod runs");
    assert!(made.success());
    let outcome = inside.sh("head -c 1 zero").await;
    assert_eq!(outcome.exit, Exit::Code(1), "{outcome:?}");
    fs::remove_file(node).expect("it is there");
}
