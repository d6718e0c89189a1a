//! What the prober does to who keeps it: to its keeper, to process 1, and to who counts what it uses.
//!
//! Each says `up` once it has begun.

use std::ffi::c_long;
use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, setpgid, setsid};

/// Stops at each signal and at its end until who traces it has looked.
const STOP_AT_THE_END: usize = libc::PTRACE_O_TRACEEXIT as usize;

/// Runs one attack. It returns if that cannot be had here.
pub(crate) fn run(arguments: &[&str]) -> io::Result<()> {
    match arguments {
        ["leave-group"] => leave_group(),
        ["held"] => held(),
        ["hold", pid] => hold(number(pid)?),
        ["wait"] => wait(),
        ["trace-me"] => trace_me(),
        ["pester", processes] => pester(number(processes)?),
        ["headless", megabytes] => headless(megabytes),
        other => panic!("no such attack: {other:?}"),
    }
}

fn number(text: &str) -> io::Result<i32> {
    text.parse().map_err(io::Error::other)
}

fn up() {
    println!("up");
}

fn pause() -> ! {
    loop {
        std::thread::sleep(std::time::Duration::from_secs(1000));
    }
}

fn check(result: c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Forks; the child runs this and never returns.
fn fork(child: impl FnOnce()) -> io::Result<Pid> {
    #[expect(unsafe_code, reason = "a bare system call")]
    // SAFETY: there is one thread.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        child();
        pause();
    }
    Pid::from_raw(pid).filter(|_| pid > 0).ok_or_else(io::Error::last_os_error)
}

/// Tries to go over to another process group, where who kills its own would not reach it. What it starts does so.
fn leave_group() -> io::Result<()> {
    let other = fork(|| {
        let _ = setpgid(None, None);
    })?;
    // whichever of the two comes first
    let _ = setpgid(Some(other), Some(other));
    fork(move || setpgid(None, Some(other)).expect("it leads nobody"))?;
    fork(|| setsid().map(drop).expect("it leads nobody"))?;
    for led in [setpgid(None, Some(other)), setpgid(None, None), setsid().map(drop)] {
        match led {
            // who leads a session leads its group already
            Err(Errno::PERM) => {}
            other => panic!("{other:?}"),
        }
    }
    up();
    pause();
}

/// Has itself traced by a process of another session, which never looks.
fn held() -> io::Result<()> {
    let own = rustix::process::getpid();
    let_anyone_trace()?;
    fork(|| {
        let traced = setsid().map_err(io::Error::from).and_then(|_| seize(own.as_raw_pid()));
        traced.expect("it lets anyone");
        up();
    })?;
    pause();
}

/// Traces another process, and never looks.
fn hold(pid: i32) -> io::Result<()> {
    seize(pid)?;
    up();
    pause();
}

/// Says its number, and may be traced by anyone.
fn wait() -> io::Result<()> {
    let_anyone_trace()?;
    println!("{}", std::process::id());
    pause();
}

/// Where tracing is for parents alone unless one says otherwise (Yama); elsewhere the kernel has no such option.
fn let_anyone_trace() -> io::Result<()> {
    #[expect(unsafe_code, reason = "a bare system call")]
    // SAFETY: it takes numbers.
    let said = unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY, 0, 0, 0) };
    match check(said.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINVAL) => Err(error),
        _ => Ok(()),
    }
}

fn seize(pid: i32) -> io::Result<()> {
    #[expect(unsafe_code, reason = "a bare system call")]
    // SAFETY: the options are a number, too.
    check(unsafe { libc::syscall(libc::SYS_ptrace, libc::PTRACE_SEIZE, pid, 0usize, STOP_AT_THE_END) })
}

/// Has its parent trace it, and stops for that.
fn trace_me() -> io::Result<()> {
    #[expect(unsafe_code, reason = "a bare system call")]
    // SAFETY: nothing else is looked at.
    check(unsafe { libc::syscall(libc::SYS_ptrace, libc::PTRACE_TRACEME, 0, 0usize, 0usize) })?;
    up();
    kill_process(rustix::process::getpid(), Signal::USR1)?;
    Ok(())
}

/// Sends its keeper word of deaths, from many processes at once.
fn pester(processes: i32) -> io::Result<()> {
    let keeper = rustix::process::getppid().expect("it has one");
    let pester = || while kill_process(keeper, Signal::CHILD).is_ok() {};
    for _ in 1..processes {
        fork(pester)?;
    }
    up();
    pester();
    pause();
}

/// Takes memory in a thread, once the first one has ended.
fn headless(megabytes: &str) -> io::Result<()> {
    let own = std::process::id();
    let megabytes = megabytes.to_owned();
    std::thread::spawn(move || {
        let status = format!("/proc/{own}/status");
        while !std::fs::read_to_string(&status).is_ok_and(|status| status.contains("State:\tZ")) {
            std::thread::yield_now();
        }
        let eaten = crate::probes::eat("shared", megabytes.parse().expect("a number"));
        std::process::exit(i32::from(eaten.is_err()));
    });
    #[expect(unsafe_code, reason = "a bare system call")]
    // SAFETY: this thread holds nothing that the other needs.
    unsafe {
        libc::syscall(libc::SYS_exit, 0);
    }
    unreachable!("this thread has ended");
}
