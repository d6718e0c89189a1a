//! When to count, and when to end what runs: a function of what was seen, without any effect.

use std::time::Duration;

use sortie_policy::ports::{CommandLimit, LimitReached};

use super::usage::LEAST;
use super::{DiskLimits, Space, limit};

/// How often in a row what runs is ended before nothing may run.
const TRIES: u32 = 8;

/// The longest time without a count, if counting is cheap.
const AT_LEAST: Duration = Duration::from_secs(60);

/// How long a count may be put off, in times of what the last one took, so that counting stays a small part of what
/// the machine does: usually, and where the limit may be passed already.
const PATIENCE: u32 = 20;
const HURRY: u32 = 2;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Nothing,
    Count,
    /// End all that runs, for this limit.
    End(LimitReached),
}

#[derive(Debug)]
pub(crate) struct Guard {
    limits: DiskLimits,
    /// Files that are to stay free.
    free_files: u64,
    /// The most that was free since the last count.
    mark: Space,
    /// What was counted last; nothing was, at first.
    used: Option<u64>,
    counted_at: Duration,
    took: Duration,
    /// What a workspace that is over its limit may have: what it had, or less.
    level: Option<u64>,
    /// What was ended has let go of its files by the next count.
    settling: bool,
    /// What was free when too little was: it may not become less.
    low: Option<u64>,
    /// How often in a row what ran was ended.
    tries: u32,
}

impl Guard {
    pub(crate) fn new(limits: DiskLimits, space: Space) -> Self {
        Self {
            limits,
            free_files: (space.all_files / 32).min(65_536),
            mark: space,
            used: None,
            counted_at: Duration::ZERO,
            took: Duration::ZERO,
            level: None,
            settling: false,
            low: None,
            tries: 0,
        }
    }

    /// What may come or go without being noticed.
    fn slack(&self) -> u64 {
        (self.limits.bytes / 16).clamp(1 << 20, 16 << 20)
    }

    /// Whether nothing may run until there is less.
    pub(crate) fn gave_up(&self) -> bool {
        self.tries >= TRIES
    }

    /// Takes up what is free `now`, as time since the start.
    pub(crate) fn look(&mut self, now: Duration, space: Space) -> Want {
        if let Some(reached) = self.too_little(space) {
            self.tries += 1;
            self.settling = true;
            return Want::End(reached);
        }
        if self.low.is_none() && self.level.is_none() {
            self.tries = 0;
        }
        self.mark.bytes = self.mark.bytes.max(space.bytes);
        self.mark.files = self.mark.files.max(space.files);
        if self.is_due(now, space) { Want::Count } else { Want::Nothing }
    }

    /// The bound of free space, if it is passed and what runs passes it further.
    fn too_little(&mut self, space: Space) -> Option<LimitReached> {
        let few_files = space.files.is_some_and(|files| files < self.free_files);
        if space.bytes >= self.limits.free && !few_files {
            self.low = None;
            return None;
        }
        // files as what they count at least
        let left = space.bytes.saturating_add(space.files.unwrap_or(0).saturating_mul(LEAST));
        let worse = self.low.is_none_or(|low| left.saturating_add(self.slack()) < low);
        self.low = Some(if worse { left } else { self.low.map_or(left, |low| low.max(left)) });
        let reached = if space.bytes < self.limits.free {
            limit(CommandLimit::DiskFree, self.limits.free)
        } else {
            limit(CommandLimit::DiskFreeFiles, self.free_files)
        };
        worse.then_some(reached)
    }

    fn is_due(&self, now: Duration, space: Space) -> bool {
        let ago = now.saturating_sub(self.counted_at);
        let Some(used) = self.used else { return true };
        if self.settling {
            return true;
        }
        if self.level.is_some() && ago >= Duration::from_secs(1).max(self.took * PATIENCE) {
            return true;
        }
        let files = |space: Space| space.files.unwrap_or(0).saturating_mul(LEAST);
        let gone =
            self.mark.bytes.saturating_sub(space.bytes) + files(self.mark).saturating_sub(files(space));
        let room = self.limits.bytes.saturating_sub(used);
        let patience = if gone >= room.max(self.slack()) {
            HURRY
        } else if gone >= (room / 4).max(self.slack()) {
            PATIENCE
        } else {
            return ago >= AT_LEAST.max(self.took * 100);
        };
        ago >= self.took * patience
    }

    /// Takes up a count that took so long; `u64::MAX` is more than can be counted.
    pub(crate) fn counted(&mut self, now: Duration, took: Duration, space: Space, used: u64) -> Want {
        (self.mark, self.used, self.counted_at, self.took) = (space, Some(used), now, took);
        let settling = std::mem::take(&mut self.settling);
        if used <= self.limits.bytes {
            self.level = None;
            return Want::Nothing;
        }
        let settled = self.limits.bytes / 4;
        match self.level {
            // what was ended wrote until it was, and what it let go of has gone
            Some(level) if settling && used <= level.saturating_add(settled) => self.level = Some(used),
            Some(level) if used <= level.saturating_add(self.slack()) && used < u64::MAX => {
                self.level = Some(level.min(used));
            }
            _ => {
                self.level = Some(used);
                self.settling = true;
                self.tries += 1;
                return Want::End(limit(CommandLimit::Disk, self.limits.bytes));
            }
        }
        Want::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const LIMITS: DiskLimits = DiskLimits { bytes: 1000 * MIB, free: 500 * MIB };
    const OVER: Want = Want::End(LimitReached { limit: CommandLimit::Disk, value: 1000 * MIB });
    const LOW: Want = Want::End(LimitReached { limit: CommandLimit::DiskFree, value: 500 * MIB });

    fn free(mib: u64) -> Space {
        Space { bytes: mib * MIB, files: Some(1 << 20), all_files: 1 << 21 }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// That has counted 100 MiB in a millisecond, with 10,000 MiB free.
    fn guard() -> Guard {
        let mut guard = Guard::new(LIMITS, free(10_000));
        assert_eq!(guard.look(seconds(1), free(10_000)), Want::Count, "at first");
        assert_eq!(
            guard.counted(seconds(1), Duration::from_millis(1), free(10_000), 100 * MIB),
            Want::Nothing
        );
        guard
    }

    #[test]
    fn it_is_counted_when_so_much_went_that_the_limit_could_be_near_and_now_and_then() {
        let mut guard = guard();
        assert_eq!(guard.look(seconds(2), free(9_800)), Want::Nothing);
        assert_eq!(guard.look(seconds(2), free(9_700)), Want::Count);
        assert_eq!(guard.look(seconds(62), free(9_800)), Want::Count, "others may have freed as much");
    }

    #[test]
    fn what_others_free_hides_nothing() {
        let mut guard = guard();
        assert_eq!(guard.look(seconds(2), free(12_000)), Want::Nothing);
        assert_eq!(guard.look(seconds(2), free(11_000)), Want::Count);
    }

    #[test]
    fn empty_files_take_no_space_and_are_noticed() {
        let mut guard = guard();
        let files = Space { files: Some((1 << 20) - 100_000), ..free(10_000) };
        assert_eq!(guard.look(seconds(2), files), Want::Count);
        let few = Space { files: Some(1000), ..free(10_000) };
        assert!(matches!(
            guard.look(seconds(2), few),
            Want::End(LimitReached { limit: CommandLimit::DiskFreeFiles, .. })
        ));
    }

    #[test]
    fn a_count_that_takes_long_is_not_made_often() {
        let mut guard = guard();
        guard.counted(seconds(2), seconds(3), free(10_000), 100 * MIB);
        assert_eq!(guard.look(seconds(10), free(9_700)), Want::Nothing);
        assert_eq!(guard.look(seconds(10), free(9_000)), Want::Count, "the limit may be passed");
        assert_eq!(guard.look(seconds(70), free(9_700)), Want::Count);
    }

    #[test]
    fn over_the_limit_what_grows_is_ended_and_what_shrinks_is_left_alone() {
        let mut guard = guard();
        let count =
            |guard: &mut Guard, at, used| guard.counted(seconds(at), Duration::ZERO, free(9_000), used * MIB);
        assert_eq!(count(&mut guard, 2, 1_200), OVER);
        assert_eq!(guard.look(seconds(3), free(9_000)), Want::Count, "what it let go of");
        assert_eq!(count(&mut guard, 3, 1_150), Want::Nothing);
        assert_eq!(count(&mut guard, 4, 1_160), Want::Nothing, "a log");
        assert_eq!(count(&mut guard, 5, 1_050), Want::Nothing);
        assert_eq!(count(&mut guard, 6, 1_100), OVER, "from where it had come to");
        assert_eq!(count(&mut guard, 7, 1_400), OVER, "somebody has begun again");
        assert_eq!(count(&mut guard, 8, 900), Want::Nothing);
        assert_eq!(count(&mut guard, 9, 1_001), OVER, "it is a new limit");
    }

    #[test]
    fn what_cannot_be_counted_is_ended_each_time() {
        let mut guard = guard();
        for at in 2..5 {
            let ended = guard.counted(seconds(at), Duration::ZERO, free(9_000), u64::MAX);
            assert_eq!(ended, OVER, "{at}");
            guard.settling = false;
        }
    }

    #[test]
    fn nothing_may_run_once_it_was_in_vain_too_often_until_there_is_less() {
        let mut guard = guard();
        for round in 0..TRIES {
            assert!(!guard.gave_up());
            let used = (1_200 + u64::from(round) * 100) * MIB;
            assert_eq!(guard.counted(seconds(2), Duration::ZERO, free(9_000), used), OVER);
            guard.counted(seconds(2), Duration::ZERO, free(9_000), used);
        }
        assert!(guard.gave_up());
        assert_eq!(guard.look(seconds(4), free(9_000)), Want::Count, "somebody may have removed something");
        guard.counted(seconds(4), Duration::ZERO, free(9_000), 10 * MIB);
        guard.look(seconds(5), free(9_000));
        assert!(!guard.gave_up());
    }

    #[test]
    fn too_little_free_space_ends_what_runs_and_again_only_if_it_becomes_less() {
        let mut guard = guard();
        assert_eq!(guard.look(seconds(2), free(499)), LOW);
        assert_ne!(guard.look(seconds(3), free(499)), LOW);
        assert_ne!(guard.look(seconds(3), free(490)), LOW);
        assert_eq!(guard.look(seconds(3), free(400)), LOW);
        assert_ne!(guard.look(seconds(3), free(450)), LOW);
        assert_eq!(guard.look(seconds(3), free(400)), LOW, "from where it had come to");
        assert_ne!(guard.look(seconds(3), free(600)), LOW);
        assert_eq!(guard.look(seconds(3), free(499)), LOW);
    }
}
