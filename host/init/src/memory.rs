//! A memory limit for the whole workspace where the kernel gives us none (no cgroup that we may write).
//!
//! Process 1 looks because it sees exactly the workspace's processes, and none of them can stop it. What a
//! process holds is its anonymous and shared memory; pages shared after a fork count once for each process, so
//! the sum errs on the high side.

use std::fs;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::process::{Pid, Signal, kill_process};

use crate::processes;

/// How often to look.
const EVERY: Duration = Duration::from_millis(100);

/// The watch over what all processes hold together.
#[derive(Debug)]
pub(crate) struct Watchdog {
    limit: u64,
    next: Instant,
    kills: Kills,
}

/// How many processes were killed for the limit, as process 1 counts and its forks can read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kills(&'static AtomicU32);

impl Kills {
    /// Memory that stays the same through a fork. It is never given back: there is one for each workspace.
    fn new() -> rustix::io::Result<Self> {
        #[expect(unsafe_code, reason = "the standard library has no memory that two processes share")]
        // SAFETY: the kernel chooses the place, so nothing of ours is there; what it gives is zeroed, aligned to a
        // page, large enough for the number, and never unmapped. All access to it is atomic.
        let number = unsafe {
            let place = mmap_anonymous(
                ptr::null_mut(),
                size_of::<AtomicU32>(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
            )?;
            &*place.cast::<AtomicU32>()
        };
        Ok(Self(number))
    }

    /// The number so far.
    pub(crate) fn count(self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}

impl Watchdog {
    /// Watches for more than `limit` bytes.
    pub(crate) fn new(limit: u64) -> rustix::io::Result<Self> {
        Ok(Self { limit, next: Instant::now() + EVERY, kills: Kills::new()? })
    }

    /// Counts those that it kills.
    pub(crate) fn kills(&self) -> Kills {
        self.kills
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
        let sizes: Vec<(u64, i32)> =
            processes::numbers().filter(|pid| *pid > 1).map(|pid| (held(pid), pid)).collect();
        let sum: u64 = sizes.iter().map(|(size, _)| size).sum();
        if sum <= self.limit {
            return;
        }
        if let Some(largest) = sizes.into_iter().max().and_then(|(_, pid)| Pid::from_raw(pid)) {
            // First, or whoever sees the death could find nothing counted.
            self.kills.0.fetch_add(1, Ordering::Release);
            let _ = kill_process(largest, Signal::KILL);
        }
    }
}

/// Bytes of anonymous, shared and swapped memory of a process; 0 if it is gone.
fn held(pid: i32) -> u64 {
    let status = format!("/proc/{pid}/status");
    held_by(&status).or_else(|| held_by_threads(pid)).unwrap_or(0)
}

/// What a process holds whose first thread has ended: the kernel shows it with the others alone.
fn held_by_threads(pid: i32) -> Option<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    threads.filter_map(|thread| held_by(thread.path().join("status"))).next()
}

/// What the status of a process or thread says; none if it has no memory any more.
fn held_by(status: impl AsRef<Path>) -> Option<u64> {
    let status = fs::read(status).unwrap_or_default();
    // Its name may hold any bytes, but the kernel escapes newlines in it.
    String::from_utf8_lossy(&status).lines().filter_map(held_by_line).reduce(|sum, more| sum + more)
}

fn held_by_line(line: &str) -> Option<u64> {
    let (key, value) = line.split_once(':')?;
    if !matches!(key, "RssAnon" | "RssShmem" | "VmSwap") {
        return None;
    }
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_process_really_holds_counts() {
        let status = "Name:\tx\nVmSize:\t 9000 kB\nRssAnon:\t  12 kB\nRssFile:\t 50 kB\nRssShmem:\t 4 kB\n";
        assert_eq!(status.lines().filter_map(held_by_line).sum::<u64>(), 16 << 10);
    }

    #[test]
    fn a_process_that_is_gone_holds_nothing() {
        assert_eq!(held(i32::MAX), 0);
    }
}
