//! What files were when they were last read, so that those that have not
//! changed since are not read again on every turn.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;

use crate::tree::Entry;

/// File systems tick more coarsely than the clock: a change this soon after
/// another may leave the same time behind.
const TICK: Duration = Duration::from_millis(50);

/// Files by path, with the stat under which they had their content.
#[derive(Debug, Default)]
pub(crate) struct StatCache(HashMap<Vec<u8>, (Stamp, Entry)>);

/// What changes when a file changes. The workspace can set the modification
/// time to what it likes, but not the change time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    mode: u32,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

#[expect(clippy::unnecessary_cast, reason = "the widths differ between architectures")]
impl From<&Stat> for Stamp {
    fn from(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            mode: stat.st_mode,
            size: stat.st_size as i64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }
}

impl StatCache {
    /// The entry of a path, if its file has not changed since it was read.
    pub(crate) fn get(&self, path: &[u8], stat: &Stat) -> Option<Entry> {
        self.0.get(path).filter(|(stamp, _)| *stamp == Stamp::from(stat)).map(|(_, entry)| *entry)
    }

    /// Remembers what was read. `stat` is from before the first byte was read
    /// and `looked` a time from before that stat. A file that changed within a
    /// tick of `looked` is not remembered: it could change once more and keep
    /// its stamp.
    pub(crate) fn put(&mut self, path: &[u8], stat: &Stat, entry: Entry, looked: SystemTime) {
        let stamp = Stamp::from(stat);
        let seconds = stamp.changed.0.try_into().unwrap_or_default();
        let nanoseconds = stamp.changed.1.try_into().unwrap_or_default();
        // times without a fraction are of a file system that counts whole seconds, or two
        let tick = if nanoseconds == 0 { Duration::from_secs(2) } else { TICK };
        if UNIX_EPOCH + Duration::new(seconds, nanoseconds) + tick < looked {
            self.0.insert(path.to_vec(), (stamp, entry));
        } else {
            self.0.remove(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use git2::Oid;

    use super::*;
    use crate::tree::Mode;

    #[test]
    fn a_file_that_changed_just_before_it_was_read_is_not_remembered() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let stat = rustix::fs::fstat(&file).expect("its stat");
        let entry = Entry { mode: Mode::File, id: Oid::from_bytes(&[1; 20]).expect("an id") };
        let nanoseconds = stat.st_ctime_nsec.try_into().unwrap_or_default();
        let changed = UNIX_EPOCH + Duration::new(stat.st_ctime.cast_unsigned(), nanoseconds);
        let mut cache = StatCache::default();
        cache.put(b"a", &stat, entry, changed + Duration::from_millis(40));
        assert_eq!(cache.get(b"a", &stat), None);
        cache.put(b"a", &stat, entry, changed + Duration::from_secs(3));
        assert_eq!(cache.get(b"a", &stat), Some(entry));
    }
}
