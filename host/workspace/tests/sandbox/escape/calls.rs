//! System calls.

use std::fs;

use sortie_policy::ports::Exit;

use super::{Checks, is_root, number, outside};
use crate::probes::REFUSED;
use crate::support::Box;

/// Whether who runs this machine keeps it from everybody.
fn is_off(name: &str) -> bool {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let is = |setting: &str, value: &str| read(&format!("/proc/sys/kernel/{setting}")).trim() == value;
    match name {
        "kexec_load" | "kexec_file_load" => {
            // the kernel puts brackets around what is so
            is("kexec_load_disabled", "1") || read("/sys/kernel/security/lockdown").starts_with("none")
        }
        "init_module" | "finit_module" | "delete_module" => is("modules_disabled", "1"),
        "io_uring_setup" => is("io_uring_disabled", "2"),
        _ => false,
    }
}

#[tokio::test]
async fn system_calls_that_lead_out_are_refused() {
    let inside = Box::start().await;
    let mut checks = Checks::default();
    for name in REFUSED {
        let seen = number(&inside.probe(&["syscall", name]).await);
        checks.expect(name, seen == libc::EPERM, seen);
        // A plain user is refused some of them outside as well.
        if is_root() && !is_off(name) {
            let control = outside(&["syscall", name]);
            checks.expect(&format!("{name}, outside as root"), control != libc::EPERM, control);
        }
    }
    let clone3 = number(&inside.probe(&["syscall", "clone3"]).await);
    checks.expect("clone3", clone3 == libc::ENOSYS, clone3);
    let control = outside(&["syscall", "clone3"]);
    checks.expect("clone3, outside", control == libc::EINVAL, control);
    checks.done();
}

#[tokio::test]
async fn system_calls_that_builds_need_are_not_refused() {
    let inside = Box::start().await;
    let mut checks = Checks::default();
    for name in
        ["socket-inet", "socket-route", "mknod-fifo", "ptrace-own", "setpriority-own", "ioprio_set-own"]
    {
        let seen = number(&inside.probe(&["syscall", name]).await);
        checks.expect(name, seen == 0, seen);
    }
    checks.done();
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn the_other_numberings_of_system_calls_are_closed() {
    let inside = Box::start().await;
    assert_eq!(number(&inside.probe(&["syscall", "x32"]).await), libc::ENOSYS);
    let outcome = inside.probe(&["syscall", "int80"]).await;
    assert_eq!(outcome.exit, Exit::Signal(31), "{outcome:?}");
}
