//! A keeper that stands still while it starts a command.
//!
//! Between the fork of a command and its exec, a keeper waits for the child without looking at anything else. Whoever
//! stops that child in between, which every process of the same user can, keeps the keeper waiting, and with it
//! everybody whose request it has or would take next. Nothing else tells process 1: the child that was stopped is not
//! its own. So it looks now and then: a keeper that is to take the next request, has something to do, and has not run
//! at all since the look before the last one is killed, and what is beneath it ends with it.

use std::fs;
use std::time::{Duration, Instant};

use crate::processes;

/// How often to look. An exec that takes twice as long, on a disk that hangs, is taken for one that is stuck.
const EVERY: Duration = Duration::from_secs(5);

/// The watch over the keeper that takes the next request.
#[derive(Debug)]
pub(crate) struct Watch {
    next: Instant,
    /// The keeper, how often it had run, and for how many looks that has been so.
    seen: Option<(i32, u64, u32)>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { next: Instant::now() + EVERY, seen: None }
    }

    /// Time until the next look.
    pub(crate) fn due(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Looks, if it is time; whether this keeper is stuck. `asked` says whether a request waits for it.
    pub(crate) fn look(&mut self, keeper: i32, asked: impl FnOnce() -> bool) -> bool {
        if !self.due().is_zero() {
            return false;
        }
        self.next = Instant::now() + EVERY;
        let runs = runs(keeper);
        let has_child = || processes::all().iter().any(|process| process.parent == keeper);
        let (Some(runs), true) = (runs, asked() || has_child()) else {
            self.seen = None;
            return false;
        };
        let looks = match self.seen {
            Some((seen, before, looks)) if (seen, before) == (keeper, runs) => looks + 1,
            _ => 0,
        };
        self.seen = Some((keeper, runs, looks));
        looks >= 2
    }
}

/// How often a process was given a processor; none if it is gone.
fn runs(pid: i32) -> Option<u64> {
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let switches = status.lines().filter(|line| {
        line.starts_with("voluntary_ctxt_switches:") || line.starts_with("nonvoluntary_ctxt_switches:")
    });
    Some(switches.filter_map(|line| line.split_once(':')?.1.trim().parse::<u64>().ok()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_waits_has_run_as_often_as_before_and_one_that_works_more_often() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("it starts");
        let waits = i32::try_from(child.id()).expect("process ids are small");
        let settled = || {
            let before = runs(waits).expect("it is there");
            std::thread::sleep(Duration::from_millis(20));
            (before > 0 && runs(waits) == Some(before)).then_some(before)
        };
        let still = std::iter::repeat_with(settled).flatten().next().expect("it sleeps");
        let own = i32::try_from(std::process::id()).expect("process ids are small");
        let before = runs(own).expect("it is there");
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(runs(waits), Some(still));
        // of a process with threads, these are the first one's: it may have slept all the while
        assert!(runs(own) >= Some(before));
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
        assert_eq!(runs(waits), None);
    }
}
