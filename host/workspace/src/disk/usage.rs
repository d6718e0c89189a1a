//! What the folders of a workspace take up, counted while hostile commands change them.
//!
//! Folders are opened relative to the one they lie in and without following links, so the count cannot be led out.
//! It needs a descriptor for each level and no memory for names. It is off by what happens meanwhile, no more.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, open, openat, statat};
use sortie_init::processes;

/// What each name counts at least: an empty file takes a place as well, and its name and number some room.
pub(super) const LEAST: u64 = 4096;

/// Folders within folders that are counted; what lies deeper is more than anybody needs.
const DEPTH_MAX: usize = 200;

/// Names that are counted. Further links to the same file take up next to nothing, and time to count.
const NAMES_MAX: u64 = 20_000_000;

/// Files with several names that are remembered, so that they count once. Beyond, each name counts.
const LINKS_MAX: usize = 1_000_000;

/// Open files that are looked at for those without a name.
const OPEN_MAX: usize = 200_000;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

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
        let Ok(root) = open(folder, FOLDER, Mode::empty()).and_then(Dir::new) else { return };
        let mut levels = vec![root];
        while let Some(level) = levels.last_mut() {
            if self.is_over() {
                return;
            }
            let Some(Ok(entry)) = level.read() else {
                levels.pop();
                continue;
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if let Some(inner) = self.add_name(level, name) {
                levels.push(inner);
            }
            if levels.len() > DEPTH_MAX || self.names > NAMES_MAX {
                self.is_too_much = true;
            }
        }
    }

    /// Counts one name; for a folder it returns what is in it.
    fn add_name(&mut self, level: &Dir, name: &CStr) -> Option<Dir> {
        let level = level.fd().ok()?;
        // it may be gone by now
        let stat = statat(level.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        self.names += 1;
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_folder || stat.st_nlink < 2 || self.is_first(&stat) {
            self.bytes = self.bytes.saturating_add(blocks(&stat).max(LEAST));
        }
        if !is_folder {
            return None;
        }
        // a folder that its owner has closed is closed to us, too; root can look
        openat(level.as_fd(), name, FOLDER, Mode::empty()).and_then(Dir::new).ok()
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
        let descriptors = beneath(root).into_iter().flat_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")));
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

/// The processes that hang on `root`, and itself.
fn beneath(root: i32) -> Vec<i32> {
    let parents: HashMap<i32, i32> =
        processes::all().into_iter().map(|process| (process.pid, process.parent)).collect();
    let leads = |pid: i32| {
        // bounded, in case the list shows a ring
        std::iter::successors(Some(pid), |pid| parents.get(pid).copied())
            .take(parents.len())
            .any(|pid| pid == root)
    };
    parents.keys().copied().filter(|pid| leads(*pid)).collect()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "makes what is counted")]
mod tests {
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
    fn folders_that_are_too_deep_to_be_counted_are_too_much() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = |levels| folder.path().join("d/".repeat(levels));
        fs::create_dir_all(deep(DEPTH_MAX - 1)).expect("made");
        assert!(count(folder.path()) < u64::MAX);
        fs::create_dir_all(deep(DEPTH_MAX + 1)).expect("made");
        assert_eq!(count(folder.path()), u64::MAX);
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
