//! Process 1 of a workspace: starts commands for the host, reaps, kills, hands descriptors over.
//!
//! The host talks to it over a socket whose other end only the host holds: a pair that it inherits, or, in a
//! container, one connection that it makes before anything else runs and to which there is no second. So there is
//! no path that a process inside could dial. It is small on purpose: std, libc and rustix, one thread, no async runtime.
//!
//! ```text
//! host ──control──▶ init (process 1)          one packet a request, descriptors attached
//!   │                 └─ keeper               one for each command at a time, forked from init
//!   └────channel────────▶  └─ command         spec and orders in, events out
//!                               └─ ...        whatever it starts
//! ```
//!
//! *Nothing is lost or left over* rests on two facts of the kernel. A keeper is a child subreaper, so all that a
//! command starts stays beneath its keeper, `setsid` or not. And what outlives a keeper becomes a child of
//! process 1, whose only rightful children are keepers: it kills the rest (`orphans.rs`). A process that kills or
//! stops its own keeper has killed itself.
//!
//! One thread each: a `waitpid(-1)` can never steal a status that the standard library waits for after a failed
//! exec, because nobody else waits meanwhile.
//!
//! What it never does: copy a command's output (the host passes the pipes), decide what may run (the gate
//! does), or set up the sandbox (`sortie-workspace` does, before it becomes this program).

mod arguments;
mod control;
mod failure;
mod folders;
mod give_back;
mod keeper;
mod orphans;
mod program;
mod ready;
mod seat;
mod signals;
mod stuck;
mod terminal;
mod watchdog;

pub mod descriptors;
pub mod filter;
pub mod processes;
pub mod protocol;

use std::io;
use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use arguments::Arguments;

/// Serves the control socket until it hangs up, then ends with every process of the workspace.
///
/// The socket is descriptor 0, or with `--dial PATH` the one that it calls there, before anything else runs. With
/// `--filter FILE` it puts the [`filter`]s of that file on itself, and `--open-files`, `--file-size` and `--core-size`
/// lower what each process may have of these. `--memory BYTES` makes it kill the largest
/// process once all together hold more than this (for machines without memory cgroups). Refuses to run as anything
/// but process 1, for at the end it kills all that it may signal.
///
/// `--give-back UID:GID FOLDER…` is another errand: all beneath these folders becomes that user's, and it ends.
pub fn main() -> ! {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "--give-back") {
        match give_back::main(&arguments.next().unwrap_or_default(), arguments) {
            Ok(()) => std::process::exit(0),
            Err(error) => fail(4, format_args!("cannot give back {error}")),
        }
    }
    if !rustix::process::getpid().is_init() {
        fail(2, "not process 1 of a process namespace");
    }
    signals::ignore_none();
    let arguments = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => fail(2, error),
    };
    if let Some(path) = &arguments.dial
        && let Err(error) = dial(path)
    {
        fail(3, format_args!("cannot call the host on {}: {error}", path.display()));
    }
    if let Some(path) = &arguments.filter
        && let Err(error) = filter::restrict(path)
    {
        fail(3, format_args!("cannot put on the filters of {}: {error}", path.display()));
    }
    if let Err(error) = arguments.limits.iter().try_for_each(|(resource, most)| lower(*resource, *most)) {
        fail(3, format_args!("cannot lower the limits of processes: {error}"));
    }
    match control::serve(arguments.memory) {
        Ok(never) => match never {},
        Err(error) => fail(3, error),
    }
}

/// Makes the host's end of a socket descriptor 0.
fn dial(path: &Path) -> io::Result<()> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(rustix::stdio::dup2_stdin(&socket)?)
}

/// Bounds what each process may have. Where less is left already, it stays less.
fn lower(resource: Resource, most: u64) -> io::Result<()> {
    let most = getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most));
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

fn fail(status: i32, error: impl std::fmt::Display) -> ! {
    eprintln!("sortie-init: {error}");
    std::process::exit(status)
}
