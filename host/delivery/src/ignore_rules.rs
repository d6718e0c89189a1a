//! Which untracked files are no part of a change.
//!
//! `.gitignore` files of the work tree and of the base both hold: the model
//! can write the former, and a rule that it deletes should not put what the
//! repository's owners keep out into a commit. An explicit `!pattern` in the
//! work tree does take a file in; it stands in the diff for everybody to see.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use git2::{ObjectType, Oid, Repository};
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::blob;
use crate::folder::Folder;
use crate::names::join;
use crate::tree::{Listing, Mode};

/// Bytes of one `.gitignore` that count.
const LONGEST: u64 = 256 << 10;
/// Lines of all `.gitignore` files of one reading: each is compiled.
const MOST_LINES: usize = 20_000;

/// Places in [`IgnoreRules::lines`].
const NOW: usize = 0;
const BASE: usize = 1;

/// Build output that is left out unless the base has files in it, as lines of
/// a `.gitignore`. `target/` counts only beside a build file.
pub const BUILD_OUTPUT: &[&str] = &[
    "__pycache__/",
    "*.pyc",
    "*.egg-info/",
    ".venv/",
    ".pytest_cache/",
    ".mypy_cache/",
    ".ruff_cache/",
    ".tox/",
    ".nox/",
    ".hypothesis/",
    ".coverage",
    "coverage/",
    ".nyc_output/",
    "node_modules/",
    "target/",
    ".gradle/",
    ".DS_Store",
];

/// Files beside which `target/` is build output.
const TARGET_OWNERS: &[&[u8]] = &[b"Cargo.toml", b"pom.xml", b"build.sbt"];

/// What rules say of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// It may be a part of a change.
    Taken,
    /// It is left out.
    Ignored,
    /// It is left out by the base's rules alone.
    IgnoredByBase,
    /// It is left out as build output.
    BuildOutput,
}

/// Compiled files by content, kept from one reading to the next.
#[derive(Debug, Default)]
pub(crate) struct Compiled(HashMap<Oid, Arc<Gitignore>>);

/// The rules of the folders from the root to the current one.
#[derive(Debug)]
pub(crate) struct IgnoreRules {
    levels: Vec<Level>,
    build_output: Arc<Gitignore>,
    /// Of the work tree, and of the base. Apart, since the model could spend
    /// the bound on lines of its own, and be rid of the base's.
    lines: [usize; 2],
    /// Whether rules were left out at the bound.
    pub(crate) exceeded: bool,
}

#[derive(Debug)]
struct Level {
    /// Bytes of the folder's path with its slash.
    prefix: usize,
    now: Option<Arc<Gitignore>>,
    base: Option<Arc<Gitignore>>,
}

impl IgnoreRules {
    pub(crate) fn new(build_output: Arc<Gitignore>) -> Self {
        Self { levels: Vec::new(), build_output, lines: [0; 2], exceeded: false }
    }

    /// Enters a folder: takes up its own rules and those that the base has for it.
    pub(crate) fn enter(
        &mut self,
        folder: &Folder,
        path: &[u8],
        has_rules: bool,
        base: (&Repository, &Listing),
        compiled: &mut Compiled,
    ) {
        let own = has_rules.then(|| blob::read(folder, b".gitignore", LONGEST).ok()).flatten();
        let now = own.and_then(|text| {
            let id = Oid::hash_object(ObjectType::Blob, &text).ok()?;
            self.compile(NOW, id, &text, compiled)
        });
        let (repository, listing) = base;
        let entry = listing.get(&join(path, b".gitignore")).filter(|entry| entry.mode != Mode::Link);
        let base = entry.and_then(|entry| {
            let odb = repository.odb().ok()?;
            let (length, _) = odb.read_header(entry.id).ok()?;
            if length as u64 > LONGEST {
                return None;
            }
            self.compile(BASE, entry.id, odb.read(entry.id).ok()?.data(), compiled)
        });
        let prefix = if path.is_empty() { 0 } else { path.len() + 1 };
        self.levels.push(Level { prefix, now, base });
    }

    /// Leaves the folder entered last.
    pub(crate) fn leave(&mut self) {
        self.levels.pop();
    }

    /// What the rules say of an untracked path in the folder entered last.
    /// `beside` are the names in that folder, in order.
    pub(crate) fn rule(&self, path: &[u8], is_folder: bool, beside: &[Vec<u8>]) -> Ruling {
        let now = self.last_match(path, is_folder, |level| level.now.as_deref());
        let base = self.last_match(path, is_folder, |level| level.base.as_deref());
        match (now, base) {
            (Some(true), _) => Ruling::Ignored,
            (Some(false), _) => Ruling::Taken,
            (None, Some(true)) => Ruling::IgnoredByBase,
            (None, _) if self.is_build_output(path, is_folder, beside) => Ruling::BuildOutput,
            (None, _) => Ruling::Taken,
        }
    }

    /// Whether the innermost rule that matches ignores.
    fn last_match<'a>(
        &'a self,
        path: &[u8],
        is_folder: bool,
        pick: impl Fn(&'a Level) -> Option<&'a Gitignore>,
    ) -> Option<bool> {
        self.levels.iter().rev().find_map(|level| {
            let relative = Path::new(OsStr::from_bytes(path.get(level.prefix..)?));
            match pick(level)?.matched(relative, is_folder) {
                Match::None => None,
                Match::Ignore(_) => Some(true),
                Match::Whitelist(_) => Some(false),
            }
        })
    }

    fn is_build_output(&self, path: &[u8], is_folder: bool, beside: &[Vec<u8>]) -> bool {
        let (_, name) = crate::names::split(path);
        if name == b"target" && !TARGET_OWNERS.iter().any(|file| beside.iter().any(|name| name == file)) {
            return false;
        }
        self.build_output.matched(Path::new(OsStr::from_bytes(path)), is_folder).is_ignore()
    }

    fn compile(
        &mut self,
        whose: usize,
        id: Oid,
        text: &[u8],
        compiled: &mut Compiled,
    ) -> Option<Arc<Gitignore>> {
        if let Some(known) = compiled.0.get(&id) {
            return Some(Arc::clone(known));
        }
        let text = String::from_utf8_lossy(text);
        self.lines[whose] += text.lines().count();
        if self.lines[whose] > MOST_LINES {
            self.exceeded = true;
            return None;
        }
        let rules = Arc::new(matcher(text.lines()));
        if compiled.0.len() >= 256 {
            compiled.0.clear();
        }
        compiled.0.insert(id, Arc::clone(&rules));
        Some(rules)
    }
}

/// Compiles lines of a `.gitignore`, for paths from its folder. Lines that do
/// not parse are passed over, as Git does.
pub(crate) fn matcher<'a>(lines: impl Iterator<Item = &'a str>) -> Gitignore {
    let mut builder = GitignoreBuilder::new("");
    for line in lines {
        let _ = builder.add_line(None, line);
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}
