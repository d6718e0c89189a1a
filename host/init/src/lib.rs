//! Process 1 of a workspace: starts commands for the host, reaps, kills, hands descriptors over.
//!
//! The host talks to it over a socket pair whose other end only the host holds, so there is no path that a
//! process inside could dial. It is small on purpose: std, libc and rustix, one thread, no async runtime.
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

mod control;
mod failure;
mod keeper;
mod memory;
mod orphans;
mod program;
mod seat;
mod signals;
mod terminal;

pub mod descriptors;
pub mod processes;
pub mod protocol;

/// Serves the control socket on descriptor 0 until it hangs up, then ends with every process of the workspace.
///
/// Arguments: `--memory BYTES` makes it kill the largest process once all together hold more than this (for
/// machines without memory cgroups). Refuses to run as anything but process 1, for at the end it kills all that
/// it may signal.
pub fn main() -> ! {
    if !rustix::process::getpid().is_init() {
        eprintln!("sortie-init: not process 1 of a process namespace");
        std::process::exit(2);
    }
    let memory = memory_limit(std::env::args().skip(1));
    match control::serve(memory) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("sortie-init: {error}");
            std::process::exit(3);
        }
    }
}

fn memory_limit(mut arguments: impl Iterator<Item = String>) -> Option<u64> {
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("--memory"), Some(bytes)) => bytes.parse().ok(),
        _ => None,
    }
}
