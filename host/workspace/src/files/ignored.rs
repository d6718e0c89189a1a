//! Ignore rules of the work tree: `.gitignore` and `.ignore`.
//!
//! The walk of crate `ignore` goes by path; its matchers do not, so the rule
//! files are read through the walk's own descriptors. Only rules in the tree
//! count: the user's global ones are not the workspace's.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::path::WorkPath;
use super::tree::open_regular;

/// In the order in which they count: a later file overrules an earlier one.
const RULE_FILES: [&str; 2] = [".gitignore", ".ignore"];

/// Bounds of one rule file. Rules beyond them do not count.
const MAX_BYTES: u64 = 64 << 10;
const MAX_LINES: usize = 1000;
const MAX_LINE: usize = 1024;

/// Rules of all directories of a walk together.
const MAX_RULES: usize = 5000;

/// The rules that hold in the directories from the root down to the current one.
pub(super) struct Rules {
    stack: Vec<Level>,
    left: usize,
}

struct Level {
    /// Bytes of a path that lead to this directory, its `/` included.
    prefix: usize,
    rules: Gitignore,
}

impl Rules {
    pub(super) fn new() -> Self {
        Self { stack: Vec::new(), left: MAX_RULES }
    }

    /// Enters a directory whose paths begin with `prefix` bytes that lead to it.
    pub(super) fn enter(&mut self, dir: BorrowedFd<'_>, prefix: usize) {
        let mut builder = GitignoreBuilder::new("");
        for name in RULE_FILES {
            self.add(&mut builder, dir, name);
        }
        // a set of rules that does not compile hides nothing
        let rules = builder.build().unwrap_or_else(|_| Gitignore::empty());
        self.stack.push(Level { prefix, rules });
    }

    pub(super) fn leave(&mut self) {
        self.stack.pop();
    }

    /// Whether the path is ignored; the innermost rule that matches decides.
    pub(super) fn ignore(&self, path: &[u8], is_dir: bool) -> bool {
        for level in self.stack.iter().rev() {
            let relative = Path::new(OsStr::from_bytes(&path[level.prefix..]));
            match level.rules.matched(relative, is_dir) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        false
    }

    fn add(&mut self, builder: &mut GitignoreBuilder, dir: BorrowedFd<'_>, name: &str) {
        let Ok(path) = WorkPath::parse(name) else { return };
        let Ok((file, _)) = open_regular(dir, name, &path) else { return };
        let lines = BufReader::new(file.take(MAX_BYTES)).split(b'\n').map_while(Result::ok);
        for line in lines.take(MAX_LINES.min(self.left)) {
            self.left -= 1;
            if line.len() > MAX_LINE {
                continue;
            }
            // a line that is no glob is skipped, as git does
            let _ = builder.add_line(None, String::from_utf8_lossy(&line).trim_start_matches('\u{feff}'));
        }
    }
}
