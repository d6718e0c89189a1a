//! The way through folders within folders, however many, while hostile commands change them.
//!
//! The innermost are open. Of those further out it is known where reading stopped, and the way back to them is `..`,
//! which has to lead to where it came from: nothing else is read.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use rustix::fs::{Dir, DirEntry, Mode, OFlags, fstat, openat};
use rustix::io;

/// Folders that are open at a time.
const OPEN: usize = 64;

pub(super) const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A folder is not any more where it was when it was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moved;

/// A folder that is open.
struct Level {
    folder: Dir,
    /// Behind the last name that was read.
    offset: i64,
}

/// A folder that was open.
struct Outer {
    /// Device and number.
    id: (u64, u64),
    offset: i64,
}

/// The folders that were entered and not left, from the outermost on.
pub(super) struct Levels {
    outer: Vec<Outer>,
    open: VecDeque<Level>,
}

impl Levels {
    pub(super) fn new(root: Dir) -> Self {
        Self { outer: Vec::new(), open: VecDeque::from([Level { folder: root, offset: 0 }]) }
    }

    /// The innermost folder.
    pub(super) fn folder(&self) -> io::Result<BorrowedFd<'_>> {
        self.open.back().expect("it is left with the last one").folder.fd()
    }

    /// The next name in the innermost folder; none at its end, or if it cannot be read any further.
    pub(super) fn read(&mut self) -> Option<DirEntry> {
        let level = self.open.back_mut().expect("it is left with the last one");
        loop {
            let entry = level.folder.read()?.ok()?;
            level.offset = entry.offset();
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                return Some(entry);
            }
        }
    }

    /// Goes on in a folder in the innermost one. If its place cannot be noted, it is not entered.
    pub(super) fn enter(&mut self, folder: Dir) {
        if self.open.len() == OPEN {
            let outermost = &self.open[0];
            let Ok(id) = outermost.folder.fd().and_then(id) else { return };
            self.outer.push(Outer { id, offset: outermost.offset });
            self.open.pop_front();
        }
        self.open.push_back(Level { folder, offset: 0 });
    }

    /// Goes back to the folder around. Whether there is one.
    pub(super) fn leave(&mut self) -> Result<bool, Moved> {
        let left = self.open.pop_back().expect("it is left with the last one");
        if !self.open.is_empty() {
            return Ok(true);
        }
        let Some(outer) = self.outer.pop() else { return Ok(false) };
        let folder = again(&left.folder, &outer).map_err(|_| Moved)?.ok_or(Moved)?;
        self.open.push_back(Level { folder, offset: outer.offset });
        Ok(true)
    }
}

/// The folder around, if it still is.
fn again(inner: &Dir, outer: &Outer) -> io::Result<Option<Dir>> {
    let folder = openat(inner.fd()?, c"..", FOLDER, Mode::empty())?;
    if id(&folder)? != outer.id {
        return Ok(None);
    }
    let mut folder = Dir::new(folder)?;
    folder.seek(outer.offset)?;
    Ok(Some(folder))
}

fn id(folder: impl std::os::fd::AsFd) -> io::Result<(u64, u64)> {
    let stat = fstat(folder)?;
    Ok((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "makes what is gone through")]
mod tests {
    use std::fs;

    use super::*;

    fn open(path: &std::path::Path) -> Dir {
        rustix::fs::open(path, FOLDER, Mode::empty()).and_then(Dir::new).expect("it is there")
    }

    /// At the innermost of so many folders within a root.
    fn deep(root: &std::path::Path, count: usize) -> Levels {
        let mut levels = Levels::new(open(root));
        for _ in 0..count {
            let name = levels.read().expect("there is one").file_name().to_owned();
            let inner = openat(levels.folder().expect("is open"), &name, FOLDER, Mode::empty());
            levels.enter(inner.and_then(Dir::new).expect("it is there"));
        }
        levels
    }

    #[test]
    fn few_folders_are_open_and_reading_goes_on_where_it_stopped() {
        let ground = tempfile::tempdir().expect("a folder");
        let root = ground.path().join("d");
        fs::create_dir_all(root.join("d/".repeat(3 * OPEN))).expect("is made");
        let mut levels = deep(ground.path(), 3 * OPEN + 1);
        assert_eq!((levels.open.len(), levels.outer.len()), (OPEN, 2 * OPEN + 2));
        for _ in 0..3 * OPEN + 1 {
            assert!(levels.read().is_none(), "its one name was read before");
            assert_eq!(levels.leave(), Ok(true));
        }
        assert!(levels.read().is_none());
        assert_eq!(levels.leave(), Ok(false));
    }

    #[test]
    fn a_folder_that_was_moved_leads_nowhere_else() {
        let ground = tempfile::tempdir().expect("a folder");
        let (root, elsewhere) = (ground.path().join("root"), ground.path().join("elsewhere"));
        fs::create_dir_all(root.join("d/".repeat(OPEN + 10))).expect("is made");
        fs::create_dir(&elsewhere).expect("is made");
        let mut levels = deep(&root, OPEN + 10);
        // the first that is open lies in the last that is not
        let inner = root.join("d/".repeat(11));
        fs::rename(&inner, elsewhere.join("d")).expect("is moved");
        for _ in 1..OPEN {
            assert_eq!(levels.leave(), Ok(true));
        }
        assert_eq!(levels.leave(), Err(Moved));
    }
}
