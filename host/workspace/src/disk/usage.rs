//! What the folders of a workspace take up, counted while hostile commands change them.
//!
//! Folders are opened relative to the one they lie in and without following links, so the count cannot be led out.
//! It needs few descriptors, however deep they lie, and no memory for names. It is off by what happens meanwhile, no
//! more: where folders are moved so that it loses its way, it begins anew.

use std::collections::HashSet;
use std::ffi::CStr;
use std::fs;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, Mode, Stat, open, openat, statat};
use sortie_init::processes;

use super::levels::{FOLDER, Levels, Moved};

/// What each name counts at least: an empty file takes a place as well, and its name and number some room.
pub(super) const LEAST: u64 = 4096;

/// Names that are counted. Further links to the same file take up next to nothing, and time to count.
const NAMES_MAX: u64 = 20_000_000;

/// Files with several names that are remembered, so that they count once. Beyond, each name counts.
const LINKS_MAX: usize = 1_000_000;

/// Open files that are looked at for those without a name.
const OPEN_MAX: usize = 200_000;

/// How often a count begins anew. Nobody moves folders with more than 64 within each other so often at such moments but
/// who wants not to be counted.
const TRIES: u32 = 8;

/// A count.
pub(crate) struct Usage<'a> {
    bytes: u64,
    names: u64,
    /// It was made so that it cannot be counted.
    is_too_much: bool,
    stop: &'a AtomicBool,
    counted: HashSet<(u64, u64)>,
}

impl<'a> Usage<'a> {
    pub(crate) fn new(stop: &'a AtomicBool) -> Self {
        Self { bytes: 0, names: 0, is_too_much: false, stop, counted: HashSet::new() }
    }

    /// Bytes; `u64::MAX` if they cannot be counted.
    pub(crate) fn bytes(&self) -> u64 {
        if self.is_too_much { u64::MAX } else { self.bytes }
    }

    fn is_over(&self) -> bool {
        self.is_too_much || self.stop.load(Ordering::Relaxed)
    }

    /// Counts what lies in a folder. One that cannot be read counts as nothing.
    pub(crate) fn add_folder(&mut self, folder: &Path) {
        self.steadily(|usage| usage.add_once(folder));
    }

    fn steadily(&mut self, mut add: impl FnMut(&mut Self) -> Result<(), Moved>) {
        let before = (self.bytes, self.names);
        for _ in 0..TRIES {
            if add(self).is_ok() {
                return;
            }
            (self.bytes, self.names) = before;
            // a file that has names in two folders may then count in both
            self.counted.clear();
        }
        self.is_too_much = true;
    }

    fn add_once(&mut self, folder: &Path) -> Result<(), Moved> {
        let Ok(root) = open(folder, FOLDER, Mode::empty()).and_then(Dir::new) else { return Ok(()) };
        let mut levels = Levels::new(root);
        while !self.is_over() {
            let Some(entry) = levels.read() else {
                if levels.leave()? {
                    continue;
                }
                return Ok(());
            };
            if let Some(inner) =
                levels.folder().ok().and_then(|level| self.add_name(level, entry.file_name()))
            {
                levels.enter(inner);
            }
            if self.names > NAMES_MAX {
                self.is_too_much = true;
            }
        }
        Ok(())
    }

    /// Counts one name; for a folder it returns what is in it.
    fn add_name(&mut self, level: BorrowedFd<'_>, name: &CStr) -> Option<Dir> {
        // it may be gone by now
        let stat = statat(level, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        self.names += 1;
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_folder || stat.st_nlink < 2 || self.is_first(&stat) {
            self.bytes = self.bytes.saturating_add(blocks(&stat).max(LEAST));
        }
        if !is_folder {
            return None;
        }
        // a folder that its owner has closed is closed to us, too; root can look
        openat(level, name, FOLDER, Mode::empty()).and_then(Dir::new).ok()
    }

    fn is_first(&mut self, stat: &Stat) -> bool {
        self.counted.len() >= LINKS_MAX || self.counted.insert((stat.st_dev, stat.st_ino))
    }

    /// Counts files without a name that processes beneath `root` have open, on the file systems of these folders.
    pub(crate) fn add_nameless(&mut self, root: i32, folders: &[PathBuf]) {
        let devices: Vec<_> = folders
            .iter()
            .filter_map(|folder| fs::symlink_metadata(folder).ok())
            .map(|stat| stat.dev())
            .collect();
        let beneath = processes::beneath(&processes::all(), root);
        let descriptors = beneath.into_iter().flat_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")));
        for descriptor in descriptors.flatten().flatten().take(OPEN_MAX) {
            if self.is_over() {
                return;
            }
            let Ok(stat) = fs::metadata(descriptor.path()) else { continue };
            let counts = stat.is_file() && stat.nlink() == 0 && devices.contains(&stat.dev());
            if counts && self.counted.insert((stat.dev(), stat.ino())) {
                self.bytes = self.bytes.saturating_add((stat.blocks() * 512).max(LEAST));
            }
        }
    }
}

fn blocks(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "makes what is counted")]
mod tests {
    use rustix::fs::mkdirat;

    use super::*;

    fn count(folder: &Path) -> u64 {
        let stop = AtomicBool::new(false);
        let mut usage = Usage::new(&stop);
        usage.add_folder(folder);
        usage.bytes()
    }

    #[test]
    fn what_files_take_up_counts_and_not_what_they_say() {
        let folder = tempfile::tempdir().expect("a folder");
        let full = fs::File::create(folder.path().join("full")).expect("made");
        // what was written may not have its blocks yet
        std::io::Write::write_all(&mut &full, &vec![1; 1 << 20])
            .and_then(|()| full.sync_all())
            .expect("written");
        fs::File::create(folder.path().join("sparse")).and_then(|file| file.set_len(1 << 40)).expect("made");
        let found = count(folder.path());
        assert!((1 << 20..3 << 20).contains(&found), "{found}");
    }

    #[test]
    fn empty_files_count_and_further_names_of_a_file_do_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: usize| folder.path().join(name.to_string());
        for name in 0..100 {
            fs::File::create(path(name)).expect("made");
        }
        assert_eq!(count(folder.path()), 100 * LEAST);
        for name in 100..200 {
            fs::hard_link(path(0), path(name)).expect("made");
        }
        assert_eq!(count(folder.path()), 100 * LEAST);
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink("/usr", folder.path().join("link")).expect("made");
        assert_eq!(count(folder.path()), LEAST);
        let root = folder.path().join("link");
        assert_eq!(count(&root), 0, "nor as the root");
    }

    #[test]
    fn folders_are_counted_however_many_lie_within_each_other_and_beside() {
        const DEEP: usize = 3_000;
        const WIDE: usize = 2_000;
        let ground = tempfile::tempdir_in("/dev/shm").expect("a folder in memory, for speed");
        let mut deep = open(ground.path(), FOLDER, Mode::empty()).expect("is there");
        for level in 0..DEEP {
            // what is read after what lies deeper, and before
            if level % 500 == 0 {
                for name in 0..WIDE {
                    mkdirat(&deep, name.to_string(), Mode::RWXU).expect("is made");
                }
            }
            mkdirat(&deep, c"d", Mode::RWXU).expect("is made");
            deep = openat(&deep, c"d", FOLDER, Mode::empty()).expect("is there");
        }
        drop(deep);
        let all = u64::try_from(DEEP + DEEP / 500 * WIDE).expect("a number");
        assert_eq!(count(ground.path()), all * LEAST);
        crate::remove::remove_tree(ground.path()).expect("is removed");
    }

    #[test]
    fn a_count_that_lost_its_way_begins_anew_and_not_without_end() {
        let stop = AtomicBool::new(false);
        let mut usage = Usage::new(&stop);
        usage.bytes = 1;
        let mut tries = 0;
        usage.steadily(|usage| {
            (tries, usage.bytes) = (tries + 1, usage.bytes + 10);
            if tries < 3 { Err(Moved) } else { Ok(()) }
        });
        assert_eq!((usage.bytes(), tries), (11, 3));
        usage.steadily(|_| Err(Moved));
        assert_eq!(usage.bytes(), u64::MAX);
    }

    #[test]
    fn a_file_without_a_name_counts_while_it_is_open() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = tempfile::tempfile_in(folder.path()).expect("made");
        std::io::Write::write_all(&mut &file, &vec![1; 1 << 20])
            .and_then(|()| file.sync_all())
            .expect("written");
        let stop = AtomicBool::new(false);
        let own = i32::try_from(std::process::id()).expect("a number");
        let nameless = || {
            let mut usage = Usage::new(&stop);
            usage.add_nameless(own, &[folder.path().to_owned()]);
            usage.bytes()
        };
        // other tests of this process have theirs
        assert!(nameless() >= 1 << 20);
        let elsewhere = {
            let mut usage = Usage::new(&stop);
            usage.add_nameless(own, &[PathBuf::from("/proc")]);
            usage.bytes()
        };
        assert_eq!(elsewhere, 0);
    }
}
