//! The way through folders within folders, however many, which nobody else changes.
//!
//! The innermost are open. Of those further out it is known where reading stopped, and the way back to them is `..`,
//! which has to lead to where it came from. What there is of a folder that is not open are two numbers, so that
//! millions of them need little memory.

use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Dir, DirEntry, Mode, OFlags, fstat, openat};
use rustix::io::{Errno, Result};

/// Folders that are open at a time.
const OPEN: usize = 64;

pub(crate) const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A folder that is open.
struct Level {
    folder: Dir,
    /// Behind the last name that was read.
    offset: i64,
}

/// A folder that was open, on the file system that all are on.
struct Outer {
    number: u64,
    offset: i64,
}

/// The folders that were entered and not left, from the outermost on.
pub(crate) struct Folders {
    device: u64,
    outer: Vec<Outer>,
    open: VecDeque<Level>,
}

impl Folders {
    pub(crate) fn new(root: OwnedFd) -> Result<Self> {
        let device = fstat(&root)?.st_dev;
        let open = VecDeque::from([Level { folder: Dir::new(root)?, offset: 0 }]);
        Ok(Self { device, outer: Vec::new(), open })
    }

    /// The file system that all are on.
    pub(crate) fn device(&self) -> u64 {
        self.device
    }

    /// The innermost folder.
    pub(crate) fn folder(&self) -> Result<BorrowedFd<'_>> {
        self.open.back().expect("it is left with the last one").folder.fd()
    }

    /// The next name in the innermost folder; none at its end.
    pub(crate) fn read(&mut self) -> Result<Option<DirEntry>> {
        let level = self.open.back_mut().expect("it is left with the last one");
        while let Some(entry) = level.folder.read().transpose()? {
            level.offset = entry.offset();
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Goes on in a folder in the innermost one.
    pub(crate) fn enter(&mut self, folder: OwnedFd) -> Result<()> {
        if self.open.len() == OPEN {
            let outermost = &self.open[0];
            let number = fstat(outermost.folder.fd()?)?.st_ino;
            self.outer.push(Outer { number, offset: outermost.offset });
            self.open.pop_front();
        }
        self.open.push_back(Level { folder: Dir::new(folder)?, offset: 0 });
        Ok(())
    }

    /// Goes back to the folder around. Whether there is one. It is an error (`ESTALE`) if it is another than the one that
    /// was entered from.
    pub(crate) fn leave(&mut self) -> Result<bool> {
        let left = self.open.pop_back().expect("it is left with the last one");
        if !self.open.is_empty() {
            return Ok(true);
        }
        let Some(outer) = self.outer.pop() else { return Ok(false) };
        let around = openat(left.folder.fd()?, c"..", FOLDER, Mode::empty())?;
        let stat = fstat(&around)?;
        if (stat.st_dev, stat.st_ino) != (self.device, outer.number) {
            return Err(Errno::STALE);
        }
        let mut folder = Dir::new(around)?;
        folder.seek(outer.offset)?;
        self.open.push_back(Level { folder, offset: outer.offset });
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    /// A folder that goes with the test.
    struct Ground(PathBuf);

    impl Ground {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("sortie-folders-{name}-{}", std::process::id()));
            // of a run that was killed
            drop(fs::remove_dir_all(&path));
            fs::create_dir(&path).expect("it is new");
            Self(path)
        }
    }

    impl Drop for Ground {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    /// At the innermost of so many folders within a root.
    fn deep(root: &Path, count: usize) -> Folders {
        let root = rustix::fs::open(root, FOLDER, Mode::empty()).expect("it is there");
        let mut folders = Folders::new(root).expect("it is a folder");
        for _ in 0..count {
            let entry = folders.read().expect("can be read").expect("there is one");
            let inner = openat(folders.folder().expect("is open"), entry.file_name(), FOLDER, Mode::empty());
            folders.enter(inner.expect("it is there")).expect("there is room");
        }
        folders
    }

    #[test]
    fn few_folders_are_open_and_reading_goes_on_where_it_stopped() {
        let ground = Ground::new("few");
        fs::create_dir_all(ground.0.join("d/".repeat(3 * OPEN))).expect("is made");
        let mut folders = deep(&ground.0, 3 * OPEN);
        assert_eq!((folders.open.len(), folders.outer.len()), (OPEN, 2 * OPEN + 1));
        for _ in 0..3 * OPEN {
            assert!(folders.read().expect("can be read").is_none(), "its one name was read before");
            assert_eq!(folders.leave(), Ok(true));
        }
        assert!(folders.read().expect("can be read").is_none());
        assert_eq!(folders.leave(), Ok(false));
    }

    #[test]
    fn a_folder_that_was_moved_leads_nowhere_else() {
        let ground = Ground::new("moved");
        let (root, elsewhere) = (ground.0.join("root"), ground.0.join("elsewhere"));
        fs::create_dir_all(root.join("d/".repeat(OPEN + 10))).expect("is made");
        fs::create_dir(&elsewhere).expect("is made");
        let mut folders = deep(&root, OPEN + 10);
        // the first that is open lies in the last that is not
        let inner = root.join("d/".repeat(11));
        fs::rename(&inner, elsewhere.join("d")).expect("is moved");
        for _ in 1..OPEN {
            assert_eq!(folders.leave(), Ok(true));
        }
        assert_eq!(folders.leave(), Err(Errno::STALE));
    }
}
