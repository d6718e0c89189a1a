//! A keeper that stands still while it starts a command.
//!
//! Between the fork of a command and its exec, a keeper waits for the child without looking at anything else. Whoever
//! stops that child in between, which every process of the same user can, keeps the keeper waiting, and with it
//! everybody whose request it has or would take next. Nothing else tells process 1: the child that was stopped is not
//! its own. So it looks now and then: a keeper that may be starting a command, has something to do, and has not run at
//! all since the look before the last one is killed, and what is beneath it ends with it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::{Duration, Instant};

use crate::processes;

/// How often to look. An exec that takes twice as long, on a disk that hangs, is taken for one that is stuck.
const EVERY: Duration = Duration::from_secs(5);

/// The watch over the keepers that may be starting a command.
#[derive(Debug)]
pub(crate) struct Watch {
    next: Instant,
    /// By keeper: how often it had run, and for how many looks that has been so.
    seen: HashMap<i32, (u64, u32)>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { next: Instant::now() + EVERY, seen: HashMap::new() }
    }

    /// Time until the next look.
    pub(crate) fn due(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Looks, if it is time; which of these keepers are stuck. `asked` is the one that a request waits for, if one does.
    pub(crate) fn look(
        &mut self,
        keepers: impl FnOnce() -> HashSet<i32>,
        asked: impl FnOnce() -> Option<i32>,
    ) -> Vec<i32> {
        if !self.due().is_zero() {
            return Vec::new();
        }
        self.next = Instant::now() + EVERY;
        let keepers = keepers();
        let processes = if keepers.is_empty() { Vec::new() } else { processes::all() };
        let mut busy: HashSet<i32> = processes.iter().map(|process| process.parent).collect();
        busy.extend(asked());
        self.compare(keepers.into_iter().filter(|pid| busy.contains(pid)), runs)
    }

    /// Compares how often each of these has run with the look before, and forgets all others.
    fn compare(&mut self, keepers: impl Iterator<Item = i32>, runs: impl Fn(i32) -> Option<u64>) -> Vec<i32> {
        let looks = |pid, now| match self.seen.get(&pid) {
            Some((before, looks)) if *before == now => looks + 1,
            _ => 0,
        };
        self.seen = keepers
            .filter_map(|pid| {
                let now = runs(pid)?;
                Some((pid, (now, looks(pid, now))))
            })
            .collect();
        self.seen.iter().filter(|(_, (_, looks))| *looks >= 2).map(|(pid, _)| *pid).collect()
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
    fn each_keeper_that_has_not_run_for_two_looks_is_stuck_beside_others_that_have_or_are_new() {
        let mut watch = Watch::new();
        let mut look = |keepers: &[(i32, u64)]| {
            let runs = |pid| keepers.iter().find(|(keeper, _)| *keeper == pid).map(|(_, runs)| *runs);
            let mut stuck = watch.compare(keepers.iter().map(|(pid, _)| *pid), runs);
            stuck.sort_unstable();
            stuck
        };
        assert_eq!(look(&[(10, 1), (11, 1), (12, 1)]), []);
        assert_eq!(look(&[(10, 1), (11, 2), (12, 1), (13, 1)]), []);
        assert_eq!(look(&[(10, 1), (11, 2), (13, 1)]), [10]);
        // 12 had nothing to do in between
        assert_eq!(look(&[(11, 2), (12, 1), (13, 1)]), [11, 13]);
    }

    #[test]
    fn a_process_that_waits_has_run_as_often_as_before_and_one_that_works_more_often() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("it starts");
        let waits = i32::try_from(child.id()).expect("process ids are small");
        // it waits for its time, and not for a processor
        let asleep = || {
            let stat = fs::read_to_string(format!("/proc/{waits}/stat")).expect("it is there");
            let command = fs::read(format!("/proc/{waits}/cmdline")).expect("it is there");
            stat.contains(" (sleep) S ") && command.starts_with(b"sleep\0")
        };
        let stays = || {
            let before = runs(waits).filter(|_| asleep());
            std::thread::sleep(Duration::from_millis(20));
            before.is_some() && runs(waits) == before
        };
        // something else may wake it now and then
        assert!(std::iter::repeat_with(stays).take(15_000).any(|stays| stays), "it never sleeps");
        let script = "while :; do sleep 0.01; done";
        let mut other = std::process::Command::new("sh").args(["-c", script]).spawn().expect("it starts");
        let works = i32::try_from(other.id()).expect("process ids are small");
        let before = runs(works);
        let runs_on = || {
            std::thread::sleep(Duration::from_millis(20));
            runs(works) > before
        };
        let has_run = std::iter::repeat_with(runs_on).take(15_000).any(|runs_on| runs_on);
        other.kill().expect("it is ours");
        other.wait().expect("it ends");
        assert!(before.is_some() && has_run, "it never runs");
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
        assert_eq!(runs(waits), None);
    }
}
