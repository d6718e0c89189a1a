//! Which mirrors are kept.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use super::Mirrors;
use super::place::Place;

/// A mirror that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorInfo {
    /// Its remote, without credentials; empty if that cannot be read.
    pub url: String,
    /// What it takes on the disk.
    pub bytes: u64,
    /// When a task last used it.
    pub used: SystemTime,
}

impl Mirrors {
    /// The mirrors that are there; those used last come first.
    pub fn list(&self) -> Vec<MirrorInfo> {
        self.places().into_iter().map(|(_, info)| info).collect()
    }

    /// Removes what killed hosts left half-made; how many.
    pub fn sweep(&self) -> usize {
        self.places().iter().filter(|(place, _)| place.sweep()).count()
    }

    /// Removes mirrors that nobody used for too long, and of the others those
    /// used longest ago, as far as they are more or larger than the bounds
    /// allow. One that somebody is at work in stays.
    pub fn enforce(&self, now: SystemTime) -> Vec<MirrorInfo> {
        self.pick(now, Place::remove)
    }

    /// What [`Mirrors::enforce`] would remove, if nobody is at work in it.
    pub fn superfluous(&self, now: SystemTime) -> Vec<MirrorInfo> {
        self.pick(now, |_| true)
    }

    fn pick(&self, now: SystemTime, goes: impl Fn(&Place) -> bool) -> Vec<MirrorInfo> {
        let (mut number, mut bytes) = (0, 0);
        let mut removed = Vec::new();
        for (place, info) in self.places() {
            let age = now.duration_since(info.used).unwrap_or_default();
            let is_kept = age <= self.bounds.unused
                && number < self.bounds.number
                && info.bytes <= self.bounds.bytes.saturating_sub(bytes);
            if !is_kept && goes(&place) {
                removed.push(info);
            } else {
                number += 1;
                bytes += info.bytes;
            }
        }
        removed
    }

    fn places(&self) -> Vec<(Place, MirrorInfo)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut places: Vec<_> = folders
            .map(|entry| {
                let folder = entry.path();
                let times = [folder.join("lock"), folder.clone()];
                let used =
                    times.iter().find_map(|path| fs::metadata(path).and_then(|there| there.modified()).ok());
                let url = fs::read_to_string(folder.join("url")).unwrap_or_default();
                let used = used.unwrap_or(SystemTime::UNIX_EPOCH);
                let info = MirrorInfo { url, bytes: size(&folder), used };
                (Place { folder }, info)
            })
            .collect();
        places.sort_by_key(|(_, info)| std::cmp::Reverse(info.used));
        places
    }
}

/// Bytes on the disk, without following links.
fn size(path: &Path) -> u64 {
    let Ok(kind) = fs::symlink_metadata(path) else { return 0 };
    let within = if kind.is_dir() {
        fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size(&entry.path())).sum()
    } else {
        0
    };
    kind.blocks() * 512 + within
}
