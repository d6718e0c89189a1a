//! Ends what outlived its keeper.
//!
//! Process 1's rightful children are keepers. All else that turns up among them was left by a keeper that is
//! gone (the host let go of the command, or a process killed its own keeper) and is killed with all beneath it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::processes;

/// How long new orphans may keep turning up before everything in the workspace is killed at one stroke, and how long
/// those that were killed may take to die before who traces them is killed.
const PATIENCE: Duration = Duration::from_secs(2);

/// How soon to look again while some are still dying, at first and at last. A death among our own children wakes us
/// in any case.
const AGAIN: Duration = Duration::from_millis(2);
const SLOWEST: Duration = Duration::from_millis(128);

/// Scans in a row before the control socket gets its turn.
const ROUNDS: usize = 16;

/// The hunt for what keepers left behind.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    /// Since when there have been new ones at every look.
    since: Option<Instant>,
    /// Whom we have killed; they may take a while to die.
    condemned: HashSet<i32>,
    /// Since when there have been none but those.
    waiting: Option<Instant>,
    /// How long it takes until the next look.
    pause: Duration,
}

impl Orphans {
    /// Time until another look is due, if one is.
    pub(crate) fn due(&self) -> Duration {
        self.pause
    }

    /// Kills all processes beneath none of `keepers`; true if some may be left, so that another look is due.
    ///
    /// Killing one by one can lose against something that forks as fast. `kill(-1)` can not, since it holds the
    /// kernel's list meanwhile, but it ends the workspace's other commands too: the last resort.
    pub(crate) fn sweep(&mut self, keepers: &HashSet<i32>) -> bool {
        self.pause = (self.pause * 2).clamp(AGAIN, SLOWEST);
        for _ in 0..ROUNDS {
            if processes::children().is_some_and(|children| children.iter().all(|pid| keepers.contains(pid)))
            {
                *self = Self::default();
                return false;
            }
            let (orphans, unclear) = processes::outside(&processes::all(), keepers);
            if unclear && orphans.is_empty() {
                continue;
            }
            if orphans.is_empty() {
                *self = Self::default();
                return false;
            }
            let fresh = orphans.iter().fold(false, |fresh, pid| self.condemned.insert(*pid) | fresh);
            orphans.iter().copied().for_each(kill);
            let (streak, over) = if fresh {
                (&mut self.since, &mut self.waiting)
            } else {
                (&mut self.waiting, &mut self.since)
            };
            *over = None;
            let late = streak.get_or_insert_with(Instant::now).elapsed() > PATIENCE;
            match (fresh, late) {
                (false, false) => return true,
                // Who traces a process can keep it from dying for as long as it lives itself.
                (false, true) => {
                    orphans.iter().filter_map(|pid| processes::tracer(*pid)).for_each(kill);
                    return true;
                }
                (true, false) => self.pause = AGAIN,
                (true, true) => kill_everything(),
            }
        }
        true
    }
}

/// Kills a process but process 1.
fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid).filter(|pid| !pid.is_init()) {
        // It may have died since: that is what we want.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Kills every process of the workspace but process 1.
pub(crate) fn kill_everything() {
    // A group of 1 is spelt -1, which the kernel reads as "all but process 1 and myself".
    let _ = kill_process_group(Pid::INIT, Signal::KILL);
}
