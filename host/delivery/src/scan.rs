//! Reading the work tree: which paths there are, and what they hold.
//!
//! Nothing that is read here is trusted. Links are read and not followed;
//! fifos, sockets and devices are passed over; `.git` in any spelling and
//! repositories within the work tree are left out; names, depth and counts
//! are bounded. What goes away while it is read counts as gone.

use std::collections::BTreeMap;
use std::time::SystemTime;

use git2::Repository;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use sortie_core::action::ChangeKind;
use sortie_policy::ports::{ErrorCode, PortError};
use tokio_util::sync::CancellationToken;

use crate::blob::{self, Unread};
use crate::folder::{Folder, is_closed, is_gone, kind};
use crate::ignore_rules::{Compiled, IgnoreRules, Ruling};
use crate::names::{is_dot_git, join, shown};
use crate::set_up::SetUp;
use crate::stat_cache::StatCache;
use crate::tree::{DEEPEST, Difference, Entry, Listing, Mode, has_beneath};

/// Files and folders that are looked at.
pub(crate) const MOST_SEEN: usize = 1_000_000;
/// Untracked files of a change.
pub(crate) const MOST_NEW: usize = 100_000;
/// Notices kept; there may be one for each path.
const MOST_NOTICES: usize = 50;

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A tracked path with this content.
    Tracked(Entry),
    /// A tracked path that this user may not read: taken as it was.
    Closed,
    /// A path that neither base nor head have.
    New,
}

/// The work tree as it was read.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) found: BTreeMap<Vec<u8>, Found>,
    /// Folders that this user may not read: what is in them is taken as it was.
    closed: Vec<Vec<u8>>,
    /// What was left out and why, for the user.
    pub(crate) notices: Vec<String>,
}

/// What a reading needs.
pub(crate) struct Reader<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) base: &'a Listing,
    pub(crate) head: &'a Listing,
    pub(crate) set_up: &'a SetUp,
    pub(crate) rules: IgnoreRules,
    pub(crate) compiled: &'a mut Compiled,
    pub(crate) cache: &'a mut StatCache,
    /// Untracked files beyond which the reading fails.
    pub(crate) most_new: usize,
    pub(crate) cancel: &'a CancellationToken,
}

struct Walk<'a> {
    reader: Reader<'a>,
    snapshot: Snapshot,
    seen: usize,
    new: usize,
}

impl Snapshot {
    /// Reads the whole work tree.
    pub(crate) fn read(root: &Folder, reader: Reader<'_>) -> Result<Self, PortError> {
        let mut walk = Walk { reader, snapshot: Self::default(), seen: 0, new: 0 };
        walk.folder(root, &[], 0, false)?;
        if walk.reader.rules.exceeded {
            walk.notice(
                "`.gitignore` files of more than 20000 lines in total: the last ones were not read".into(),
            );
        }
        Ok(walk.snapshot)
    }

    /// How it differs from a listing, in order of path.
    pub(crate) fn differences(&self, listing: &Listing) -> Vec<Difference> {
        let mut changes = BTreeMap::new();
        for (path, entry) in listing {
            match self.found.get(path) {
                _ if entry.mode == Mode::Submodule || self.is_closed(path) => {}
                Some(Found::Tracked(now)) if now == entry => {}
                Some(Found::Closed) => {}
                Some(_) => drop(changes.insert(path.clone(), ChangeKind::Modified)),
                None => drop(changes.insert(path.clone(), ChangeKind::Deleted)),
            }
        }
        for path in self.found.keys().filter(|path| !listing.contains_key(*path)) {
            changes.insert(path.clone(), ChangeKind::Added);
        }
        changes.into_iter().collect()
    }

    /// The content of a tracked path; none if it is gone.
    pub(crate) fn entry(&self, path: &[u8]) -> Option<Entry> {
        match self.found.get(path) {
            Some(Found::Tracked(entry)) => Some(*entry),
            _ => None,
        }
    }

    fn is_closed(&self, path: &[u8]) -> bool {
        self.closed.iter().any(|folder| path.starts_with(folder) && path.get(folder.len()) == Some(&b'/'))
    }
}

impl Walk<'_> {
    /// Reads one folder; of an ignored one, the tracked files alone.
    fn folder(&mut self, folder: &Folder, path: &[u8], depth: usize, ignored: bool) -> Result<(), PortError> {
        let names = match folder.names(MOST_SEEN - self.seen) {
            Ok(names) => names,
            Err(Errno::OVERFLOW) => return Err(too_many_seen()),
            Err(error) if is_closed(error) => {
                self.closed(path);
                return Ok(());
            }
            Err(error) if is_gone(error) => return Ok(()),
            Err(error) => return Err(unreadable(path, error)),
        };
        self.seen += names.len();
        let repository = names.iter().any(|name| name.eq_ignore_ascii_case(b".git"));
        if repository && depth > 0 && !self.is_tracked_folder(path) {
            self.notice(format!("`{}` is left out: it is a repository of its own", shown(path)));
            return Ok(());
        }
        let has_rules = names.binary_search_by(|name| name.as_slice().cmp(b".gitignore")).is_ok();
        let base = (self.reader.repository, self.reader.base);
        self.reader.rules.enter(folder, path, has_rules, base, self.reader.compiled);
        let read = names.iter().try_for_each(|name| self.entry(folder, path, name, &names, depth, ignored));
        self.reader.rules.leave();
        read
    }

    fn entry(
        &mut self,
        folder: &Folder,
        parent: &[u8],
        name: &[u8],
        beside: &[Vec<u8>],
        depth: usize,
        ignored: bool,
    ) -> Result<(), PortError> {
        // for each entry: a single file may have a gigabyte to be read
        if self.reader.cancel.is_cancelled() {
            return Err(PortError::new(ErrorCode::Cancelled, "reading the work tree was cancelled"));
        }
        let path = join(parent, name);
        if is_dot_git(name) {
            if name != b".git" {
                self.notice(format!("`{}` is left out: some systems take it for `.git`", shown(&path)));
            }
            return Ok(());
        }
        let stat = match folder.stat(name) {
            Ok(stat) => stat,
            Err(error) if is_gone(error) || is_closed(error) => return Ok(()),
            Err(error) => return Err(unreadable(&path, error)),
        };
        match kind(&stat) {
            _ if self.is_submodule(&path) => Ok(()),
            FileType::Directory => self.inner_folder(folder, &path, name, beside, depth, ignored),
            FileType::RegularFile | FileType::Symlink => {
                self.file(folder, path, name, &stat, beside, ignored)
            }
            _ => {
                self.notice(format!(
                    "`{}` is left out: it is neither a file, a folder nor a link",
                    shown(&path)
                ));
                Ok(())
            }
        }
    }

    fn inner_folder(
        &mut self,
        folder: &Folder,
        path: &[u8],
        name: &[u8],
        beside: &[Vec<u8>],
        depth: usize,
        ignored: bool,
    ) -> Result<(), PortError> {
        let tracked = self.is_tracked_folder(path);
        let ignored = ignored || self.is_left_out(path, true, beside, tracked);
        if ignored && !tracked {
            return Ok(());
        }
        if depth >= DEEPEST {
            self.notice(format!("`{}` is left out: it lies more than {DEEPEST} folders deep", shown(path)));
            return Ok(());
        }
        match folder.folder(name) {
            Ok(inner) => self.folder(&inner, path, depth + 1, ignored),
            Err(error) if is_closed(error) => {
                self.closed(path);
                Ok(())
            }
            Err(error) if is_gone(error) => Ok(()),
            Err(error) => Err(unreadable(path, error)),
        }
    }

    fn file(
        &mut self,
        folder: &Folder,
        path: Vec<u8>,
        name: &[u8],
        stat: &Stat,
        beside: &[Vec<u8>],
        ignored: bool,
    ) -> Result<(), PortError> {
        if !self.reader.base.contains_key(&path) && !self.reader.head.contains_key(&path) {
            if !ignored
                && !self.reader.set_up.untracked.contains(&path)
                && !self.is_left_out(&path, false, beside, false)
            {
                self.new += 1;
                if self.new > self.reader.most_new {
                    return Err(too_many_new(self.reader.most_new));
                }
                self.snapshot.found.insert(path, Found::New);
            }
            return Ok(());
        }
        let found = match self.identify(folder, &path, name, stat) {
            Ok(entry) => Found::Tracked(entry),
            Err(Unread::System(error)) if is_gone(error) => return Ok(()),
            Err(Unread::System(error)) if is_closed(error) => {
                self.notice(format!("`{}` is taken as unchanged: it cannot be read", shown(&path)));
                Found::Closed
            }
            Err(Unread::System(error)) => return Err(unreadable(&path, error)),
            Err(error) => return Err(error.about(&path)),
        };
        self.snapshot.found.insert(path, found);
        Ok(())
    }

    fn identify(&mut self, folder: &Folder, path: &[u8], name: &[u8], stat: &Stat) -> Result<Entry, Unread> {
        if let Some(entry) = self.reader.cache.get(path, stat) {
            return Ok(entry);
        }
        let looked = SystemTime::now();
        let mode = blob::mode_of(stat).ok_or(Errno::INVAL)?;
        let (entry, stat) = blob::identify(folder, name, mode)?;
        if let Some(stat) = stat {
            self.reader.cache.put(path, &stat, entry, looked);
        }
        Ok(entry)
    }

    fn is_left_out(&mut self, path: &[u8], is_folder: bool, beside: &[Vec<u8>], tracked: bool) -> bool {
        match self.reader.rules.rule(path, is_folder, beside) {
            Ruling::Taken => false,
            Ruling::Ignored => true,
            Ruling::BuildOutput => !tracked,
            Ruling::IgnoredByBase => {
                let path = shown(path);
                self.notice(format!(
                    "`{path}` is left out: the base's `.gitignore` has it; `!{path}` in `.gitignore` would take it in"
                ));
                true
            }
        }
    }

    fn is_tracked_folder(&self, path: &[u8]) -> bool {
        has_beneath(self.reader.base, path) || has_beneath(self.reader.head, path)
    }

    fn is_submodule(&self, path: &[u8]) -> bool {
        let listed = |listing: &Listing| listing.get(path).is_some_and(|entry| entry.mode == Mode::Submodule);
        listed(self.reader.base) || listed(self.reader.head)
    }

    fn closed(&mut self, path: &[u8]) {
        self.notice(format!("`{}` is taken as unchanged: it cannot be read", shown(path)));
        self.snapshot.closed.push(path.to_vec());
    }

    fn notice(&mut self, text: String) {
        if self.snapshot.notices.len() < MOST_NOTICES {
            self.snapshot.notices.push(text);
        }
    }
}

fn too_many_seen() -> PortError {
    let message = format!("the work tree has more than {MOST_SEEN} files");
    PortError::new(ErrorCode::TooLarge, message)
}

fn too_many_new(most: usize) -> PortError {
    let message = format!("more than {most} files are new; hint: add what is generated to `.gitignore`");
    PortError::new(ErrorCode::TooLarge, message)
}

fn unreadable(path: &[u8], error: Errno) -> PortError {
    PortError::internal(format!("the work tree cannot be read at `{}`: {error}", shown(path)))
}
