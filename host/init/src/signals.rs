//! SIGCHLD as a descriptor: a death wakes `poll`, and no code runs in a signal handler.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::io::{Errno, Result};

/// The last of the kernel's signals, and the bytes of a set of them.
const LAST: i32 = 64;
const SET: usize = 8;

/// Has no signal ignored that whoever started us ignored: commands would inherit that, and a shell cannot undo it. A
/// script that starts a task in the background ignores SIGINT for it, and no Ctrl-C would end anything in there.
///
/// The kernel itself is asked: a C library does not let go of the signals that it keeps for itself, which are others for
/// each.
pub(crate) fn ignore_none() {
    // `struct sigaction` as the kernel has it, and longer than on any machine: the default action, no flags, no mask
    let default = [0_u64; 8];
    for signal in 1..=LAST {
        // which the standard library ignores for us, and not for what it starts
        if signal == libc::SIGPIPE {
            continue;
        }
        #[expect(unsafe_code, reason = "rustix has no signal actions")]
        // SAFETY: the kernel reads from `default`, which is longer than what it reads, and the default action runs no code
        // of ours. Signals that have no other are refused.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), ptr::null::<u64>(), SET)
        };
    }
}

/// Blocks SIGCHLD for this thread (and for what is forked from it; an exec by the standard library unblocks).
pub(crate) fn block_child_signal() -> Result<()> {
    let set = child_set();
    #[expect(unsafe_code, reason = "rustix has no signal masks")]
    // SAFETY: `set` was filled in by `child_set`; a null old set is allowed.
    let status = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
    if status == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(status)) }
}

/// A descriptor that is readable when a child of *this* process has died.
pub(crate) fn child_descriptor() -> Result<OwnedFd> {
    let set = child_set();
    #[expect(unsafe_code, reason = "rustix has no signalfd")]
    // SAFETY: `set` was filled in by `child_set`; -1 asks for a new descriptor.
    let raw = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if raw < 0 {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL));
    }
    #[expect(unsafe_code, reason = "signalfd returns a bare number")]
    // SAFETY: the kernel has just made this descriptor and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Takes one signal up, if there is one. Signals of one kind merge, so the caller must reap until nobody is left; and
/// every process of the same user can send them faster than they are taken up, so one must do: poll tells of another.
pub(crate) fn take_one(children: impl AsFd) {
    let mut record = [0; size_of::<libc::signalfd_siginfo>()];
    // Whatever it says, the caller looks itself.
    let _ = rustix::io::read(&children, &mut record);
}

fn child_set() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    #[expect(unsafe_code, reason = "rustix has no signal sets")]
    // SAFETY: `sigemptyset` fills the set in before anything reads it; SIGCHLD is a signal's number.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        set.assume_init()
    }
}
