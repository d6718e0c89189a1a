//! Listings and searches.

use std::ffi::OsStr;
use std::io::Read;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use regex::bytes::{Regex, RegexBuilder};
use rustix::fs::FileType;
use sortie_core::text::one_line;
use sortie_policy::ports::{ErrorCode, LineMatch, PortError, Survey};

use super::path::WorkPath;
use super::tree::{Tree, open_regular};
use super::walk::{Budget, Entry, walk};
use super::{MAX_FILE, etag};

/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 4096;

/// The most characters of a line that are shown.
const MAX_LINE: usize = 500;

/// A glob over paths, in which `*` does not match `/`.
pub(super) struct GlobPattern {
    set: GlobSet,
    /// The part before the first wildcard, for leaving out directories that
    /// cannot match.
    literal: String,
}

impl GlobPattern {
    pub(super) fn new(pattern: &str) -> Result<Self, PortError> {
        let invalid = |why: String| {
            let pattern = one_line(pattern, 100);
            PortError::new(ErrorCode::Invalid, format!("`{pattern}` is no glob: {}", one_line(&why, 300)))
        };
        if pattern.is_empty() || pattern.len() > MAX_PATTERN {
            return Err(invalid(format!("it has {} bytes, of at most {MAX_PATTERN}", pattern.len())));
        }
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        let glob = glob.map_err(|error| invalid(error.kind().to_string()))?;
        let set = GlobSetBuilder::new().add(glob).build().map_err(|error| invalid(error.to_string()))?;
        let literal = pattern.split(['*', '?', '[', '{', '\\']).next().unwrap_or_default().to_owned();
        Ok(Self { set, literal })
    }

    fn matches(&self, path: &[u8]) -> bool {
        self.set.is_match(Path::new(OsStr::from_bytes(path)))
    }

    /// Whether something in this directory can match.
    fn reaches(&self, directory: &[u8]) -> bool {
        let literal = self.literal.as_bytes();
        if directory.len() >= literal.len() {
            directory.starts_with(literal)
        } else {
            literal.starts_with(directory) && literal[directory.len()] == b'/'
        }
    }
}

/// The regular expression of a search, bounded in size.
pub(super) fn expression(pattern: &str, ignore_case: bool) -> Result<Regex, PortError> {
    let invalid = |why: &str| {
        let pattern = one_line(pattern, 100);
        PortError::new(
            ErrorCode::Invalid,
            format!("`{pattern}` is no regular expression: {}", one_line(why, 500)),
        )
    };
    if pattern.is_empty() || pattern.len() > MAX_PATTERN {
        return Err(invalid(&format!("it has {} bytes, of at most {MAX_PATTERN}", pattern.len())));
    }
    RegexBuilder::new(pattern)
        .case_insensitive(ignore_case)
        .size_limit(1 << 20)
        .dfa_size_limit(4 << 20)
        .nest_limit(100)
        .build()
        .map_err(|error| invalid(&error.to_string()))
}

/// Paths that match; directories end with `/`.
pub(super) fn glob(
    tree: &Tree,
    pattern: &GlobPattern,
    max: usize,
    budget: &mut Budget<'_>,
) -> Result<Survey, PortError> {
    let mut paths = Vec::new();
    walk(tree, budget, &mut |entry, budget| {
        let is_dir = entry.kind == FileType::Directory;
        if pattern.matches(entry.path) {
            if paths.len() == max {
                budget.truncated = true;
                return ControlFlow::Break(());
            }
            let slash = if is_dir { "/" } else { "" };
            paths.push(format!("{}{slash}", String::from_utf8_lossy(entry.path)));
        }
        ControlFlow::Continue(is_dir && pattern.reaches(entry.path))
    });
    Ok(Survey { paths, truncated: budget.truncated, too_large: budget.too_large })
}

/// Paths of text files of at most [`MAX_FILE`] bytes with a matching line.
pub(super) fn search(
    tree: &Tree,
    lines: &Regex,
    glob: Option<&GlobPattern>,
    max: usize,
    budget: &mut Budget<'_>,
) -> Result<Survey, PortError> {
    let mut paths = Vec::new();
    let mut found = 0;
    walk(tree, budget, &mut |entry, budget| {
        if entry.kind == FileType::Directory {
            return ControlFlow::Continue(glob.is_none_or(|glob| glob.reaches(entry.path)));
        }
        if entry.kind != FileType::RegularFile || glob.is_some_and(|glob| !glob.matches(entry.path)) {
            return ControlFlow::Continue(false);
        }
        let Some((path, text)) = text_of(entry, budget) else { return ControlFlow::Continue(false) };
        let matching = matching_lines(lines, &text).take(max - found + 1).count();
        if found + matching > max {
            budget.truncated = true;
        }
        // its first lines may still fit
        if matching > 0 && found < max {
            paths.push(path);
        }
        found = (found + matching).min(max);
        if budget.truncated { ControlFlow::Break(()) } else { ControlFlow::Continue(false) }
    });
    Ok(Survey { paths, truncated: budget.truncated, too_large: budget.too_large })
}

/// The matching lines of these files, in their order. What is no longer a
/// text file is left out.
pub(super) fn matches(
    tree: &Tree,
    lines: &Regex,
    paths: &[String],
    max: usize,
    budget: &mut Budget<'_>,
) -> Vec<LineMatch> {
    let mut found = Vec::new();
    for path in paths {
        let Ok(work_path) = WorkPath::parse(path) else { continue };
        let Ok((file, stat)) = tree.open_file(&work_path) else { continue };
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX).min(MAX_FILE);
        if found.len() >= max || !budget.take_bytes(size) {
            break;
        }
        let Ok(Some(text)) = etag::whole(&file, &stat, &work_path) else { continue };
        if text.contains(&0) {
            continue;
        }
        for (number, line) in matching_lines(lines, &text).take(max - found.len()) {
            found.push(LineMatch { path: path.clone(), line: number, text: shown(line) });
        }
    }
    found
}

/// A file of the walk, if it is text, can be named and is not too large.
fn text_of(entry: &Entry<'_>, budget: &mut Budget<'_>) -> Option<(String, Vec<u8>)> {
    let path = WorkPath::parse(std::str::from_utf8(entry.path).ok()?).ok()?;
    let (file, stat) = open_regular(entry.dir, entry.name.to_str().ok()?, &path).ok()?;
    let size = u64::try_from(stat.st_size).ok()?;
    if size > MAX_FILE {
        budget.too_large = budget.too_large.saturating_add(1);
        return None;
    }
    if !budget.take_bytes(size) {
        return None;
    }
    let mut head = Vec::with_capacity(1024);
    (&file).take(1024).read_to_end(&mut head).ok()?;
    if head.contains(&0) {
        return None;
    }
    let mut text = head;
    (&file).take(MAX_FILE).read_to_end(&mut text).ok()?;
    (!text.contains(&0)).then(|| (path.as_str().to_owned(), text))
}

/// Matching lines with their numbers from 1.
fn matching_lines<'a>(lines: &'a Regex, text: &'a [u8]) -> impl Iterator<Item = (u32, &'a [u8])> {
    // a line ends with its line feed: nothing follows the last one, and an empty file has no line
    let most = if text.is_empty() { 0 } else { usize::MAX };
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    (1u32..)
        .zip(text.split(|byte| *byte == b'\n'))
        .take(most)
        .map(|(number, line)| (number, line.strip_suffix(b"\r").unwrap_or(line)))
        .filter(|(_, line)| lines.is_match(line))
}

/// A line as it is shown: at most [`MAX_LINE`] characters.
fn shown(line: &[u8]) -> String {
    let bytes = &line[..line.len().min(4 * MAX_LINE)];
    String::from_utf8_lossy(bytes).chars().take(MAX_LINE).collect()
}
