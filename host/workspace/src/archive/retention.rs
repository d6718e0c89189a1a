//! Which archives are kept.

use std::time::{Duration, SystemTime};

use super::Listed;

/// The rules. An archive that breaks one is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How old an archive may be.
    pub age: Duration,
    /// Bytes of all archives together. The oldest go first.
    pub bytes: u64,
}

impl Retention {
    /// What has to go, of archives that are listed the newest first. A file from the future is as new as can be.
    pub(super) fn surplus(self, archives: Vec<Listed>, now: SystemTime) -> Vec<Listed> {
        let mut kept = 0u64;
        let mut surplus = archives;
        surplus.retain(|archive| {
            if now.duration_since(archive.at).is_ok_and(|age| age > self.age) {
                return true;
            }
            // what has to go still counts: nothing older takes its room
            kept = kept.saturating_add(archive.bytes);
            kept > self.bytes
        });
        surplus
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_old_goes_and_of_the_rest_the_oldest_until_it_fits() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let archive = |task: &str, age: u64, bytes: u64| Listed {
            task: task.parse().expect("an id"),
            bytes,
            at: now - Duration::from_secs(age),
        };
        let archives = vec![
            archive("task-aaaaaa", 1, 40),
            archive("task-bbbbbb", 2, 50),
            archive("task-cccccc", 3, 20),
            archive("task-dddddd", 4, 5),
            archive("task-eeeeee", 500, 1),
        ];
        let retention = Retention { age: Duration::from_secs(100), bytes: 100 };
        let gone = retention.surplus(archives, now);
        let gone: Vec<_> = gone.iter().map(|archive| archive.task.as_str()).collect();
        assert_eq!(gone, ["task-cccccc", "task-dddddd", "task-eeeeee"]);
    }
}
