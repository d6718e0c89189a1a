//! The limits of the whole workspace where the kernel gives us none (no cgroup that we may write).
//!
//! Process 1 looks because it sees exactly the workspace's processes, and none of them can stop it. What a
//! process holds is its anonymous and shared memory; pages shared after a fork count once for each process, so
//! the sum errs on the high side.
//!
//! The limit of processes is kept by the kernel, which tells nobody that it refused one: who is there to be seen when
//! it is full can say so. A refusal that is over before the next look is missed.

use std::fs;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process};

use crate::processes;
use crate::protocol::Met;

/// Processes that count and are not seen: the one that waits for process 1 outside of its namespace.
const UNSEEN: u64 = 1;

/// How often to look.
const EVERY: Duration = Duration::from_millis(100);

/// The watch over what all processes hold together, and over their number.
#[derive(Debug)]
pub(crate) struct Watchdog {
    memory: u64,
    next: Instant,
    tally: Tally,
}

/// How often each limit was met, as process 1 and its forks count it together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    counters: &'static Counters,
    began: Instant,
}

#[derive(Debug)]
struct Counters {
    /// Processes that were killed for the memory.
    memory: AtomicU32,
    /// Looks at which there was no room for a process.
    processes: AtomicU32,
    /// When a fork last looked, in milliseconds since it all began.
    looked: AtomicU64,
}

/// What a tally stood at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    memory: u32,
    processes: u32,
}

impl Tally {
    /// Memory that stays the same through a fork. It is never given back: there is one for each workspace.
    fn new() -> rustix::io::Result<Self> {
        #[expect(unsafe_code, reason = "the standard library has no memory that two processes share")]
        // SAFETY: the kernel chooses the place, so nothing of ours is there; what it gives is zeroed, aligned to a
        // page, large enough for the numbers, and never unmapped. All access to them is atomic.
        let counters = unsafe {
            let place = mmap_anonymous(
                ptr::null_mut(),
                size_of::<Counters>(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
            )?;
            &*place.cast::<Counters>()
        };
        Ok(Self { counters, began: Instant::now() })
    }

    /// What it stands at.
    pub(crate) fn now(self) -> Counts {
        let Counters { memory, processes, .. } = self.counters;
        Counts { memory: memory.load(Ordering::Acquire), processes: processes.load(Ordering::Acquire) }
    }

    /// Looks whether a command that has just been reaped ran where there was no room for a process more. A thousand may
    /// end at once, so one look of a moment is for all.
    pub(crate) fn look_after_reaping(self) {
        // the first is due at once
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (now, looked) = (millis(self.began.elapsed() + EVERY), &self.counters.looked);
        let last = looked.load(Ordering::Acquire);
        let is_due = now.saturating_sub(last) >= millis(EVERY);
        if is_due && looked.compare_exchange(last, now, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.count_if_full(1 + processes::numbers().map(|pid| size(pid).threads).sum::<u64>());
        }
    }

    /// Counts if these threads are as many as there may be. The kernel counts each against the limit of processes.
    fn count_if_full(self, threads: u64) {
        if getrlimit(Resource::Nproc).current.is_some_and(|most| threads + UNSEEN >= most) {
            self.counters.processes.fetch_add(1, Ordering::Release);
        }
    }

    /// The limits that were met since then, by whatever command.
    pub(crate) fn met_since(self, before: Counts) -> Met {
        let now = self.now();
        Met { memory: now.memory != before.memory, processes: now.processes != before.processes }
    }
}

impl Watchdog {
    /// Watches for more than `memory` bytes, and for as many processes as this one may have.
    pub(crate) fn new(memory: u64) -> rustix::io::Result<Self> {
        Ok(Self { memory, next: Instant::now() + EVERY, tally: Tally::new()? })
    }

    /// Counts what it sees.
    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// Time until the next look.
    pub(crate) fn due(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Looks, if it is time, and kills the largest process when all together are over the limit.
    pub(crate) fn look(&mut self) {
        if !self.due().is_zero() {
            return;
        }
        self.next = Instant::now() + EVERY;
        let all: Vec<(Size, i32)> = processes::numbers().map(|pid| (size(pid), pid)).collect();
        self.tally.count_if_full(all.iter().map(|(size, _)| size.threads).sum());
        let others = || all.iter().filter(|(_, pid)| *pid > 1);
        if others().map(|(size, _)| size.held).sum::<u64>() <= self.memory {
            return;
        }
        let largest = others().max_by_key(|(size, _)| size.held);
        if let Some(largest) = largest.and_then(|(_, pid)| Pid::from_raw(*pid)) {
            // First, or whoever sees the death could find nothing counted.
            self.tally.counters.memory.fetch_add(1, Ordering::Release);
            let _ = kill_process(largest, Signal::KILL);
        }
    }
}

/// What a process takes of the workspace's limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    threads: u64,
    /// Bytes of anonymous, shared and swapped memory.
    held: u64,
}

/// That of a process; nothing if it is gone.
fn size(pid: i32) -> Size {
    let status = read(format!("/proc/{pid}/status"));
    let held = held(&status).or_else(|| held_by_threads(pid)).unwrap_or(0);
    Size { threads: value(&status, "Threads").unwrap_or(0), held }
}

/// What a process holds whose first thread has ended: the kernel shows it with the others alone.
fn held_by_threads(pid: i32) -> Option<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    threads.filter_map(|thread| held(&read(thread.path().join("status")))).next()
}

/// The status of a process or thread. Its name may hold any bytes, but the kernel escapes newlines in it.
fn read(status: impl AsRef<Path>) -> String {
    String::from_utf8_lossy(&fs::read(status).unwrap_or_default()).into_owned()
}

/// What it says; none if the process has no memory any more.
fn held(status: &str) -> Option<u64> {
    let kibibytes = ["RssAnon", "RssShmem", "VmSwap"].into_iter().filter_map(|key| value(status, key));
    kibibytes.reduce(|sum, more| sum + more).map(|kibibytes| kibibytes * 1024)
}

/// The number in the line of that name.
fn value(status: &str, key: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_process_really_holds_counts() {
        let status = "Name:\tx\nVmSize:\t 9000 kB\nRssAnon:\t  12 kB\nRssFile:\t 50 kB\nRssShmem:\t 4 kB\n";
        assert_eq!(held(status), Some(16 << 10));
        assert_eq!(held("Name:\tx\nThreads:\t1\n"), None);
    }

    #[test]
    fn the_number_of_threads_is_the_one_that_the_kernel_wrote() {
        let status = "Name:\tx Threads:\t70\nThreads:\t7\nThreadsOfAnother:\t9\n";
        assert_eq!(value(status, "Threads"), Some(7));
        let own = i32::try_from(std::process::id()).expect("process ids are small");
        assert!(size(own).threads >= 1);
    }

    #[test]
    fn a_process_that_is_gone_holds_nothing() {
        assert_eq!(size(i32::MAX), Size::default());
    }
}
