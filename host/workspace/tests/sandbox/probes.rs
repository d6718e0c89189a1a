//! What the prober tries, inside and outside: bare system calls and the like. It prints the error number, 0 if
//! the attempt worked.
//!
//! The arguments are such that even root, outside, changes nothing: a wrong pointer, flag or path, which the
//! kernel complains of *after* it has checked whether one may ask. So "not permitted" inside and something else
//! outside shows that it was the sandbox who refused.

use std::ffi::CStr;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use libc::{c_int, c_long};

const NOWHERE: &CStr = c"/no/such/path";
/// A number that no process, group or user has.
const NOBODY: c_int = c_int::MAX - 1;

/// Calls a system call by number with these arguments.
macro_rules! call {
    ($number:expr $(, $argument:expr)*) => {{
        #[expect(unsafe_code, reason = "a bare system call")]
        // SAFETY: pointers are null or to constants, and nothing that is named here exists.
        let result = unsafe { libc::syscall($number $(, $argument)*) };
        check(result)
    }};
}

/// Runs one probe and leaves the process.
pub(crate) fn run(arguments: &[String]) -> ! {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["syscall", name] => system_call(name),
        ["dial", address, word] => dial(address, word),
        ["connect", address] => connect(address),
        ["connect-path", path] => UnixStream::connect(path).map(drop),
        ["trace", "parent"] => trace(std::os::unix::process::parent_id()),
        ["trace", pid] => trace(pid.parse().expect("a number")),
        ["stop-newborn", spared] => stop_newborn(spared.parse().expect("a number")),
        ["secure-bits"] => secure_bits(),
        ["datagram", address] => datagram(address),
        ["abstract", name] => abstract_socket(name),
        ["kill", pid] => signal(pid),
        ["link", from, to] => std::fs::hard_link(from, to),
        ["fork-bomb"] => fork_bomb(),
        ["attack", attack @ ..] => crate::attacks::run(attack),
        ["eat", kind, megabytes] => eat(kind, megabytes.parse().expect("a number")),
        other => panic!("no such probe: {other:?}"),
    };
    let number = result.map_or_else(|error| error.raw_os_error().unwrap_or(-1), |()| 0);
    if !matches!(arguments[0], "dial" | "secure-bits") {
        print!("{number}");
    }
    std::process::exit(i32::from(number != 0))
}

fn dial(address: &str, word: &str) -> io::Result<()> {
    let mut peer = TcpStream::connect(address)?;
    peer.write_all(word.as_bytes())?;
    peer.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    peer.read_to_string(&mut answer)?;
    print!("{answer}");
    Ok(())
}

fn connect(address: &str) -> io::Result<()> {
    let address = address.parse().expect("an address");
    TcpStream::connect_timeout(&address, Duration::from_secs(5)).map(drop)
}

fn datagram(address: &str) -> io::Result<()> {
    let address: std::net::SocketAddr = address.parse().expect("an address");
    let mut socket = UdpSocket::bind("0.0.0.0:0")?;
    // one that has the very port that it asks would answer itself
    while socket.local_addr()?.port() == address.port() {
        socket = UdpSocket::bind("0.0.0.0:0")?;
    }
    socket.connect(address)?;
    socket.send(b"hello")?;
    // an answer, or the kernel's word that nobody is there
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    socket.recv(&mut [0; 8]).map(drop)
}

fn abstract_socket(name: &str) -> io::Result<()> {
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).map(drop)
}

fn signal(pid: &str) -> io::Result<()> {
    let pid = pid.parse().expect("a number");
    #[expect(unsafe_code, reason = "a bare system call")]
    // SAFETY: signal 0 only asks.
    check(unsafe { libc::kill(pid, 0) }.into())
}

/// Attaches without stopping: what succeeds leaves the other process as it was once this one has ended.
fn trace(pid: u32) -> io::Result<()> {
    call!(libc::SYS_ptrace, libc::PTRACE_SEIZE, pid, 0usize, 0usize)
}

fn secure_bits() -> io::Result<()> {
    print!("{}", rustix::thread::capabilities_secure_bits()?.bits());
    Ok(())
}

/// Forks without end; every child does the same. Whoever is refused for the first time says so, and tries again at
/// once, so that no room lasts that somebody else leaves.
fn fork_bomb() -> io::Result<()> {
    let mut told = false;
    loop {
        #[expect(unsafe_code, reason = "a bare system call")]
        // SAFETY: there is one thread.
        if unsafe { libc::fork() } < 0 {
            if !std::mem::replace(&mut told, true) {
                io::stdout().write_all(b"full\n")?;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Takes memory until it has this much, or is killed: in one process, in shared mappings, or in many processes.
pub(crate) fn eat(kind: &str, megabytes: usize) -> io::Result<()> {
    match kind {
        "private" => hold(megabytes, libc::MAP_PRIVATE),
        "shared" => hold(megabytes, libc::MAP_SHARED),
        "children" => {
            let mut children = Vec::new();
            for _ in 0..8 {
                let mut own = std::process::Command::new("/proc/self/exe");
                children.push(own.args(["--probe", "eat", "private", &(megabytes / 8).to_string()]).spawn()?);
            }
            let failed = children.iter_mut().any(|child| !child.wait().is_ok_and(|status| status.success()));
            return if failed { Err(io::Error::from_raw_os_error(libc::ENOMEM)) } else { Ok(()) };
        }
        other => panic!("no such kind of memory: {other}"),
    }?;
    // Long enough to be looked at.
    std::thread::sleep(Duration::from_secs(1));
    Ok(())
}

fn hold(megabytes: usize, sharing: c_int) -> io::Result<()> {
    for _ in 0..megabytes {
        let length = 1 << 20;
        #[expect(unsafe_code, reason = "a bare system call")]
        // SAFETY: a new mapping of the kernel's choice is written within its length.
        unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = sharing | libc::MAP_ANONYMOUS;
            let piece = libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0);
            if piece == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            piece.cast::<u8>().write_bytes(1, length);
        }
    }
    Ok(())
}

fn check(result: c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// All calls that must be refused inside, by name.
pub(crate) const REFUSED: &[&str] = &[
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "unshare",
    "unshare-user",
    "setns",
    "clone-user",
    "clone-mount",
    "clone-pid",
    "clone-net",
    "clone-ipc",
    "clone-uts",
    "clone-cgroup",
    "prlimit-init",
    "sched_setscheduler-init",
    "sched_setparam-init",
    "sched_setattr-init",
    "setpriority-other",
    "setpriority-group",
    "setpriority-user",
    "ioprio_set-other",
    "ioprio_set-group",
    "ioprio_set-user",
    "quotactl",
    "quotactl_fd",
    "move_pages",
    "migrate_pages",
    "lookup_dcookie",
    "nfsservctl",
    "vhangup",
    "open_tree_attr",
    "file_setattr",
    "fssetxattr",
    "setflags",
    "keyctl",
    "add_key",
    "request_key",
    "bpf",
    "userfaultfd",
    "perf_event_open",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "kexec_load",
    "init_module",
    "finit_module",
    "delete_module",
    "open_by_handle_at",
    "name_to_handle_at",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "syslog",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "pidfd_getfd",
    "kcmp",
    "fanotify_init",
    "mknod-char",
    "mknod-block",
    "socket-vsock",
    "socket-packet",
    "socket-alg",
    "socket-raw",
    "socket-netfilter",
    "socketpair-vsock",
    "tiocsti",
    "tioclinux",
    "tiocsetd",
    "sethostname",
    #[cfg(target_arch = "x86_64")]
    "kexec_file_load",
    #[cfg(target_arch = "x86_64")]
    "iopl",
    #[cfg(target_arch = "x86_64")]
    "ioperm",
    #[cfg(target_arch = "x86_64")]
    "modify_ldt",
    #[cfg(target_arch = "x86_64")]
    "uselib",
    #[cfg(target_arch = "x86_64")]
    "_sysctl",
    #[cfg(target_arch = "x86_64")]
    "mknod-char-old",
    #[cfg(target_arch = "x86_64")]
    "mknod-block-old",
];

/// Once a line has come, stops every process that is born from then on but the first ones, as early as it can.
fn stop_newborn(mut spared: u32) -> io::Result<()> {
    io::stdin().read_line(&mut String::new())?;
    let all = sortie_init::processes::all().into_iter();
    let mut last = all.map(|process| process.pid).max().expect("at least this one");
    println!("up");
    loop {
        // numbers are given out one after the other
        for pid in last + 1..last + 64 {
            let pid = rustix::process::Pid::from_raw(pid).expect("it is positive");
            let born = if spared > 0 {
                rustix::process::test_kill_process(pid)
            } else {
                rustix::process::kill_process(pid, rustix::process::Signal::STOP)
            };
            if born.is_ok() {
                last = pid.as_raw_pid();
                spared = spared.saturating_sub(1);
            }
        }
    }
}

fn system_call(name: &str) -> io::Result<()> {
    let null = 0usize;
    match name {
        "mount" => call!(libc::SYS_mount, null, NOWHERE.as_ptr(), 1usize, 0, null),
        "umount2" => call!(libc::SYS_umount2, NOWHERE.as_ptr(), 0),
        "pivot_root" => call!(libc::SYS_pivot_root, NOWHERE.as_ptr(), NOWHERE.as_ptr()),
        "chroot" => call!(libc::SYS_chroot, NOWHERE.as_ptr()),
        "open_tree" => call!(libc::SYS_open_tree, libc::AT_FDCWD, NOWHERE.as_ptr(), 0x4000_0000),
        "move_mount" => call!(libc::SYS_move_mount, -1, NOWHERE.as_ptr(), -1, NOWHERE.as_ptr(), 0xffff),
        "fsopen" => call!(libc::SYS_fsopen, c"no-such-file-system".as_ptr(), 0),
        "fsconfig" => call!(libc::SYS_fsconfig, -1, 0xffff, null, null, 0),
        "fsmount" => call!(libc::SYS_fsmount, -1, 0xffff, 0),
        "fspick" => call!(libc::SYS_fspick, libc::AT_FDCWD, NOWHERE.as_ptr(), 0),
        "mount_setattr" => call!(libc::SYS_mount_setattr, libc::AT_FDCWD, NOWHERE.as_ptr(), 0xffff, null, 0),
        "unshare" => call!(libc::SYS_unshare, 1),
        "unshare-user" => call!(libc::SYS_unshare, libc::CLONE_NEWUSER),
        "setns" => call!(libc::SYS_setns, -1, 0),
        "clone-user" => clone(libc::CLONE_NEWUSER),
        "clone-mount" => clone(libc::CLONE_NEWNS),
        "clone-pid" => clone(libc::CLONE_NEWPID),
        "clone-net" => clone(libc::CLONE_NEWNET),
        "clone-ipc" => clone(libc::CLONE_NEWIPC),
        "clone-uts" => clone(libc::CLONE_NEWUTS),
        "clone-cgroup" => clone(libc::CLONE_NEWCGROUP),
        "prlimit-init" => call!(libc::SYS_prlimit64, 1, libc::RLIMIT_NOFILE, null, null),
        "sched_setscheduler-init" => call!(libc::SYS_sched_setscheduler, 1, 0, null),
        "sched_setparam-init" => call!(libc::SYS_sched_setparam, 1, null),
        "sched_setattr-init" => call!(libc::SYS_sched_setattr, 1, null, 0),
        "setpriority-other" => call!(libc::SYS_setpriority, 0, NOBODY, 0),
        "setpriority-group" => alone().and_then(|()| call!(libc::SYS_setpriority, 1, 0, 0)),
        "setpriority-user" => call!(libc::SYS_setpriority, 2, NOBODY, 0),
        "setpriority-own" => call!(libc::SYS_setpriority, 0, 0, 19),
        "ioprio_set-other" => call!(libc::SYS_ioprio_set, 1, NOBODY, 0),
        "ioprio_set-group" => alone().and_then(|()| call!(libc::SYS_ioprio_set, 2, 0, 0)),
        "ioprio_set-user" => call!(libc::SYS_ioprio_set, 3, NOBODY, 0),
        "ioprio_set-own" => call!(libc::SYS_ioprio_set, 1, 0, 0),
        "quotactl" => call!(libc::SYS_quotactl, 0xff, null, 0, null),
        "quotactl_fd" => call!(libc::SYS_quotactl_fd, -1, 0xff, 0, null),
        "move_pages" => call!(libc::SYS_move_pages, 0, 0usize, null, null, null, 0xffff),
        "migrate_pages" => call!(libc::SYS_migrate_pages, -1, 0usize, null, null),
        "lookup_dcookie" => call!(libc::SYS_lookup_dcookie, 0usize, null, 0usize),
        "nfsservctl" => call!(libc::SYS_nfsservctl, 0xffff, null, null),
        "vhangup" => hang_up(),
        "open_tree_attr" => call!(467, -1, NOWHERE.as_ptr(), 0xffff, null, 0usize),
        "file_setattr" => call!(469, -1, null, null, 0usize, 0xffff),
        "fssetxattr" => call!(libc::SYS_ioctl, -1, 0x401c_5820, null),
        "setflags" => call!(libc::SYS_ioctl, -1, 0x4008_6602, null),
        "clone3" => call!(libc::SYS_clone3, null, 0),
        "keyctl" => call!(libc::SYS_keyctl, 0xffff, 0, 0, 0, 0),
        "add_key" => call!(libc::SYS_add_key, null, null, null, 0, 0),
        "request_key" => call!(libc::SYS_request_key, null, null, null, 0),
        "bpf" => call!(libc::SYS_bpf, 0xffff, null, 0),
        "userfaultfd" => call!(libc::SYS_userfaultfd, 0xffff),
        "perf_event_open" => call!(libc::SYS_perf_event_open, null, 0, 0, -1, 0),
        "io_uring_setup" => call!(libc::SYS_io_uring_setup, 0, null),
        "io_uring_enter" => call!(libc::SYS_io_uring_enter, -1, 0, 0, 0, null, 0),
        "io_uring_register" => call!(libc::SYS_io_uring_register, -1, 0xffff, null, 0),
        "kexec_load" => call!(libc::SYS_kexec_load, 0, 0, null, 0xffff),
        "init_module" => call!(libc::SYS_init_module, null, 0, null),
        "finit_module" => call!(libc::SYS_finit_module, -1, null, 0xffff),
        "delete_module" => call!(libc::SYS_delete_module, null, 0),
        "open_by_handle_at" => call!(libc::SYS_open_by_handle_at, -1, null, 0),
        "name_to_handle_at" => call!(libc::SYS_name_to_handle_at, -1, NOWHERE.as_ptr(), null, null, 0),
        "settimeofday" => call!(libc::SYS_settimeofday, 1, 1),
        "clock_settime" => call!(libc::SYS_clock_settime, 0xffff, null),
        "clock_adjtime" => call!(libc::SYS_clock_adjtime, 0xffff, null),
        "adjtimex" => call!(libc::SYS_adjtimex, null),
        "reboot" => call!(libc::SYS_reboot, 0, 0, 0, null),
        "swapon" => call!(libc::SYS_swapon, NOWHERE.as_ptr(), 0x7fff_ffff),
        "swapoff" => call!(libc::SYS_swapoff, NOWHERE.as_ptr()),
        "acct" => call!(libc::SYS_acct, NOWHERE.as_ptr()),
        "syslog" => call!(libc::SYS_syslog, 3, null, 0),
        "process_vm_readv" => call!(libc::SYS_process_vm_readv, 1, null, 0, null, 0, 0xffff),
        "process_vm_writev" => call!(libc::SYS_process_vm_writev, 1, null, 0, null, 0, 0xffff),
        "process_madvise" => call!(libc::SYS_process_madvise, -1, null, 0, 0, 0xffff),
        "pidfd_getfd" => call!(libc::SYS_pidfd_getfd, -1, -1, 0xffff),
        "kcmp" => call!(libc::SYS_kcmp, std::process::id(), std::process::id(), 0xffff, 0, 0),
        "fanotify_init" => call!(libc::SYS_fanotify_init, 0x8000_0200u32, 0),
        "mknod-char" => call!(libc::SYS_mknodat, libc::AT_FDCWD, NOWHERE.as_ptr(), libc::S_IFCHR, 0),
        "mknod-block" => call!(libc::SYS_mknodat, libc::AT_FDCWD, NOWHERE.as_ptr(), libc::S_IFBLK, 0),
        "mknod-fifo" => fifo(),
        "socket-vsock" => call!(libc::SYS_socket, libc::AF_VSOCK, libc::SOCK_STREAM, 0),
        "socket-packet" => call!(libc::SYS_socket, libc::AF_PACKET, 15, 0),
        "socket-alg" => call!(libc::SYS_socket, libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
        "socket-raw" => call!(libc::SYS_socket, libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
        "socket-netfilter" => {
            call!(libc::SYS_socket, libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER)
        }
        "socketpair-vsock" => call!(libc::SYS_socketpair, libc::AF_VSOCK, libc::SOCK_STREAM, 0, null),
        "socket-inet" => call!(libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0),
        "socket-route" => call!(libc::SYS_socket, libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE),
        "tiocsti" => call!(libc::SYS_ioctl, 0, libc::TIOCSTI, c"x".as_ptr()),
        "tioclinux" => call!(libc::SYS_ioctl, 0, 0x541c, c"\x02".as_ptr()),
        "tiocsetd" => call!(libc::SYS_ioctl, 0, 0x5423, null),
        "sethostname" => call!(libc::SYS_sethostname, null, -1),
        "setuid-root" => call!(libc::SYS_setresuid, 0, 0, 0),
        "ptrace-own" => call!(libc::SYS_ptrace, libc::PTRACE_TRACEME, 0, null, null),
        #[cfg(target_arch = "x86_64")]
        "kexec_file_load" => call!(libc::SYS_kexec_file_load, -1, -1, 0, null, 0xffff),
        #[cfg(target_arch = "x86_64")]
        "iopl" => call!(libc::SYS_iopl, 4),
        #[cfg(target_arch = "x86_64")]
        "ioperm" => call!(libc::SYS_ioperm, 0xff_ffff, 1, 1),
        #[cfg(target_arch = "x86_64")]
        "modify_ldt" => call!(libc::SYS_modify_ldt, 0xffff, null, 0),
        #[cfg(target_arch = "x86_64")]
        "uselib" => call!(libc::SYS_uselib, NOWHERE.as_ptr()),
        #[cfg(target_arch = "x86_64")]
        "_sysctl" => call!(libc::SYS__sysctl, null),
        #[cfg(target_arch = "x86_64")]
        "mknod-char-old" => call!(libc::SYS_mknod, NOWHERE.as_ptr(), libc::S_IFCHR, 0),
        #[cfg(target_arch = "x86_64")]
        "mknod-block-old" => call!(libc::SYS_mknod, NOWHERE.as_ptr(), libc::S_IFBLK, 0),
        #[cfg(target_arch = "x86_64")]
        "x32" => call!(0x4000_0000 | libc::SYS_getpid),
        #[cfg(target_arch = "x86_64")]
        "int80" => {
            int80();
            Ok(())
        }
        other => panic!("no such call: {other}"),
    }
}

/// Whether this kernel has Landlock: asks for its version.
pub(crate) fn has_landlock() -> bool {
    call!(libc::SYS_landlock_create_ruleset, 0usize, 0usize, 1u32).is_ok()
}

/// A namespace for a thread without the rest of a thread: invalid, which the kernel says before it looks at privileges.
fn clone(namespace: c_int) -> io::Result<()> {
    call!(libc::SYS_clone, namespace | libc::CLONE_THREAD, 0usize, 0usize, 0usize, 0usize)
}

/// Hangs up the terminal, of which there must be none.
fn hang_up() -> io::Result<()> {
    // Outside, this leaves the terminal of whoever runs the tests. Inside, there is none to leave.
    let _ = rustix::process::setsid();
    if std::fs::File::open("/dev/tty").is_ok() {
        panic!("there is a terminal to lose");
    }
    call!(libc::SYS_vhangup)
}

/// Leads a group in which nobody else is.
fn alone() -> io::Result<()> {
    match rustix::process::setpgid(None, None) {
        // whoever leads a session leads its group already, and may not leave it
        Err(rustix::io::Errno::PERM) if rustix::process::getpgrp() == rustix::process::getpid() => Ok(()),
        made => made.map_err(io::Error::from),
    }
}

fn fifo() -> io::Result<()> {
    let path = std::env::temp_dir().join(format!("fifo-{}", std::process::id()));
    let path = std::ffi::CString::new(path.into_os_string().into_encoded_bytes()).expect("no NUL byte");
    let result = call!(libc::SYS_mknodat, libc::AT_FDCWD, path.as_ptr(), libc::S_IFIFO | 0o600, 0);
    // What was made must not stay.
    let _ = std::fs::remove_file(path.to_str().expect("plain"));
    result
}

/// The 32-bit way in: call 20, `getpid`.
#[cfg(target_arch = "x86_64")]
fn int80() {
    #[expect(unsafe_code, reason = "another way into the kernel")]
    // SAFETY: `getpid` changes nothing but the register of its result.
    unsafe {
        std::arch::asm!("int 0x80", inout("eax") 20 => _);
    }
}
