//! A bounded walk through the work tree, in order of paths.

use std::ffi::{CStr, CString};
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::vec;

use rustix::fs::{Dir, FileType};

use super::ignored::Rules;
use super::path::{MAX_DEPTH, is_git_dir};
use super::tree::{Tree, open_listing, stat};

/// The most directory entries that one call looks at.
const MAX_ENTRIES: usize = 500_000;

/// The most bytes that one call reads: 1 GiB.
const MAX_BYTES: u64 = 1 << 30;

/// The longest that one call takes.
const MAX_TIME: Duration = Duration::from_secs(30);

/// What one call may spend.
pub(super) struct Budget<'a> {
    entries: usize,
    bytes: u64,
    deadline: Instant,
    abandoned: &'a AtomicBool,
    /// Whether something was left out.
    pub(super) truncated: bool,
    /// Files that were passed over because they are too large to be read.
    pub(super) too_large: u32,
}

impl<'a> Budget<'a> {
    pub(super) fn new(abandoned: &'a AtomicBool) -> Self {
        let deadline = Instant::now() + MAX_TIME;
        Self { entries: MAX_ENTRIES, bytes: MAX_BYTES, deadline, abandoned, truncated: false, too_large: 0 }
    }

    /// Whether so many more bytes may be read.
    pub(super) fn take_bytes(&mut self, bytes: u64) -> bool {
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.unwrap_or_default();
        let enough = left.is_some() && !self.over();
        self.truncated |= !enough;
        enough
    }

    fn take_entry(&mut self) -> bool {
        let left = self.entries.checked_sub(1);
        self.entries = left.unwrap_or_default();
        self.truncated |= left.is_none();
        left.is_some()
    }

    fn over(&mut self) -> bool {
        let over = self.abandoned.load(Ordering::Relaxed) || Instant::now() >= self.deadline;
        self.truncated |= over;
        over
    }
}

/// Something that the walk came by.
pub(super) struct Entry<'a> {
    /// Path from the root, bytes that are not UTF-8 included.
    pub(super) path: &'a [u8],
    /// The directory that it is in.
    pub(super) dir: BorrowedFd<'a>,
    /// Its name there.
    pub(super) name: &'a CStr,
    /// What it is.
    pub(super) kind: FileType,
}

struct Level {
    dir: Dir,
    entries: vec::IntoIter<(CString, FileType)>,
    /// Bytes of the path up to and with the `/` of this directory.
    prefix: usize,
}

/// Visits everything that is neither ignored nor called `.git`, and goes
/// into the directories for which `visit` says so.
pub(super) fn walk(
    tree: &Tree,
    budget: &mut Budget<'_>,
    visit: &mut dyn FnMut(&Entry<'_>, &mut Budget<'_>) -> ControlFlow<(), bool>,
) {
    let mut rules = Rules::new();
    let mut path = Vec::new();
    let mut levels = Vec::new();
    levels.extend(enter(tree.root(), c".", 0, &mut rules, budget));
    while let Some(level) = levels.last_mut() {
        path.truncate(level.prefix);
        let next = if budget.over() { None } else { level.entries.next() };
        let Some((name, kind)) = next else {
            levels.pop();
            rules.leave();
            continue;
        };
        path.extend_from_slice(name.to_bytes());
        let is_dir = kind == FileType::Directory;
        if is_git_dir(&name.to_string_lossy()) || rules.ignore(&path, is_dir) {
            continue;
        }
        let Ok(dir) = level.dir.fd() else { continue };
        let entry = Entry { path: &path, dir, name: &name, kind };
        let descend = match visit(&entry, budget) {
            ControlFlow::Continue(descend) => descend,
            ControlFlow::Break(()) => return,
        };
        if !(is_dir && descend) {
            continue;
        }
        if levels.len() >= MAX_DEPTH {
            budget.truncated = true;
            continue;
        }
        path.push(b'/');
        let prefix = path.len();
        let dir = levels.last().and_then(|level| level.dir.fd().ok()).expect("it was there just now");
        let below = enter(dir, &name, prefix, &mut rules, budget);
        levels.extend(below);
    }
}

/// Opens a directory and reads its names. None if it is none any more.
fn enter(
    parent: BorrowedFd<'_>,
    name: &CStr,
    prefix: usize,
    rules: &mut Rules,
    budget: &mut Budget<'_>,
) -> Option<Level> {
    let mut dir = open_listing(parent, name).ok()?;
    let mut entries = Vec::new();
    while let Some(Ok(entry)) = dir.read() {
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if !budget.take_entry() {
            break;
        }
        entries.push((name.to_owned(), entry.file_type()));
    }
    let fd = dir.fd().ok()?;
    for (name, kind) in &mut entries {
        if *kind == FileType::Unknown {
            *kind =
                stat(fd, name.as_c_str()).map_or(FileType::Unknown, |s| FileType::from_raw_mode(s.st_mode));
        }
    }
    entries.sort_by(|a, b| sort_key(a).cmp(sort_key(b)));
    rules.enter(fd, prefix);
    Some(Level { entries: entries.into_iter(), prefix, dir })
}

/// A directory's contents come where `name/` would.
fn sort_key((name, kind): &(CString, FileType)) -> impl Iterator<Item = u8> {
    let slash = (*kind == FileType::Directory).then_some(b'/');
    name.to_bytes().iter().copied().chain(slash)
}
