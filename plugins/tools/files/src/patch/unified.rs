//! Unified diffs, of git and of `diff -u`.

use sortie_sdk::{Error, Result};

use super::model::{Change, Hunk, Line};

/// What the lines above a file's hunks say.
#[derive(Debug, Default)]
struct Header {
    /// Path behind `---`; none for `/dev/null`.
    old: Option<String>,
    /// Path behind `+++`; none for `/dev/null`.
    new: Option<String>,
    /// Whether there were `---` and `+++`.
    named: bool,
    rename_from: Option<String>,
    rename_to: Option<String>,
    /// Paths of the `diff --git` line, for empty files.
    git: Option<(String, String)>,
    is_new: bool,
    is_deleted: bool,
}

/// Reads a unified diff of one or several files.
///
/// # Errors
/// Names the line at fault.
pub(super) fn parse(lines: &[&str]) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    let mut at = 0;
    let mut header = Header::default();
    while at < lines.len() {
        let line = lines[at];
        if line.starts_with("diff --git ") {
            changes.extend(std::mem::take(&mut header).without_hunks()?);
            header.git = git_paths(line);
        } else if starts_file(lines, at) {
            if header.named {
                changes.extend(std::mem::take(&mut header).without_hunks()?);
            }
            header.named = true;
            header.old = path(lines[at], "--- ")?;
            header.new = path(lines[at + 1], "+++ ")?;
            at += 1;
        } else if line.starts_with("@@") {
            let (hunks, next) = hunks(lines, at)?;
            changes.push(std::mem::take(&mut header).with_hunks(hunks)?);
            at = next;
            continue;
        } else {
            header.note(line)?;
        }
        at += 1;
    }
    changes.extend(header.without_hunks()?);
    Ok(changes)
}

impl Header {
    /// Takes up what a line between `diff --git` and the hunks says. Others are prose.
    fn note(&mut self, line: &str) -> Result<()> {
        let plain = |text: &str| unquote(text.trim());
        if line.starts_with("Binary files ") || line == "GIT binary patch" {
            return Err(Error::invalid("the patch changes a binary file, which this tool cannot"));
        }
        if self.git.is_none() {
            return Ok(());
        }
        if let Some(from) = line.strip_prefix("rename from ") {
            self.rename_from = Some(plain(from)?);
        } else if let Some(to) = line.strip_prefix("rename to ") {
            self.rename_to = Some(plain(to)?);
        } else if line.starts_with("copy from ") {
            return Err(Error::invalid(
                "the patch copies a file, which this tool cannot: add it as a new one",
            ));
        } else if line.starts_with("new file mode ") {
            self.is_new = true;
        } else if line.starts_with("deleted file mode ") {
            self.is_deleted = true;
        }
        Ok(())
    }

    /// Paths without the `a/` and `b/` that git writes in front.
    fn paths(&self) -> (Option<String>, Option<String>) {
        let strip = |path: &Option<String>, prefix: &str| {
            path.as_deref().map(|path| path.strip_prefix(prefix).unwrap_or(path).to_owned())
        };
        let prefixed =
            |path: &Option<String>, prefix: &str| path.as_deref().is_none_or(|path| path.starts_with(prefix));
        if prefixed(&self.old, "a/") && prefixed(&self.new, "b/") {
            (strip(&self.old, "a/"), strip(&self.new, "b/"))
        } else {
            (strip(&self.old, "./"), strip(&self.new, "./"))
        }
    }

    fn with_hunks(self, hunks: Vec<Hunk>) -> Result<Change> {
        if !self.named {
            return Err(Error::invalid("a hunk comes before the `---` and `+++` that name its file"));
        }
        match self.paths() {
            (None, None) => Err(Error::invalid("both sides of a file are /dev/null")),
            (None, Some(path)) => Ok(Change::Add { content: content(&path, &hunks)?, path }),
            (Some(path), None) => Ok(Change::Delete { path }),
            (Some(old), Some(new)) if old == new => Ok(Change::Update { path: old, to: None, hunks }),
            (Some(old), Some(new)) if self.rename_to.is_some() => {
                Ok(Change::Update { path: old, to: Some(new), hunks })
            }
            // `diff -u x.orig x` and the like: the new name is the one that is meant.
            (Some(_), Some(new)) => Ok(Change::Update { path: new, to: None, hunks }),
        }
    }

    /// A file of which there are no hunks: renamed, or empty and new or deleted.
    fn without_hunks(self) -> Result<Option<Change>> {
        if let (Some(path), Some(to)) = (self.rename_from, self.rename_to) {
            return Ok(Some(Change::Update { path, to: Some(to), hunks: Vec::new() }));
        }
        match self.git {
            Some((path, _)) if self.is_deleted => Ok(Some(Change::Delete { path })),
            Some((_, path)) if self.is_new => Ok(Some(Change::Add { path, content: String::new() })),
            _ if self.named => Err(Error::invalid(format!(
                "there are no hunks for {}",
                self.new.or(self.old).unwrap_or_default()
            ))),
            _ => Ok(None),
        }
    }
}

/// Whether a file's `---` and `+++` stand here.
fn starts_file(lines: &[&str], at: usize) -> bool {
    lines[at].starts_with("--- ") && lines.get(at + 1).is_some_and(|next| next.starts_with("+++ "))
}

fn hunk_at(lines: &[&str], at: usize) -> bool {
    lines.get(at).is_some_and(|line| line.starts_with("@@"))
}

/// The path behind `---` or `+++`; none for `/dev/null`.
fn path(line: &str, prefix: &str) -> Result<Option<String>> {
    let text = line.strip_prefix(prefix).unwrap_or_default();
    let path = if text.starts_with('"') {
        unquote(text.trim_end())?
    } else {
        // `diff -u` writes a tab and the time behind it.
        text.split('\t').next().unwrap_or_default().trim_end().to_owned()
    };
    if path.is_empty() {
        return Err(Error::invalid(format!("`{line:.100}` names no file")));
    }
    Ok((path != "/dev/null").then_some(path))
}

/// Paths of a `diff --git a/x b/x` line, where they are the same and so can be told apart.
fn git_paths(line: &str) -> Option<(String, String)> {
    let rest = line.strip_prefix("diff --git ")?;
    let half = rest.len().checked_sub(1)? / 2;
    let (old, new) = (rest.get(..half)?, rest.get(half + 1..)?);
    let (old, new) = (unquote(old).ok()?, unquote(new).ok()?);
    let (old, new) = (old.strip_prefix("a/")?, new.strip_prefix("b/")?);
    Some((old.to_owned(), new.to_owned()))
}

/// A path as git quotes it: `"a/\303\244"`.
fn unquote(text: &str) -> Result<String> {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return Ok(text.to_owned());
    };
    let bad = || Error::invalid(format!("`{text:.100}` is not a path as git quotes it"));
    let mut bytes = Vec::new();
    let mut rest = inner.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().ok_or_else(bad)? {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            escaped @ (b'"' | b'\\') => escaped,
            first @ b'0'..=b'3' => {
                let digits = [first, rest.next().ok_or_else(bad)?, rest.next().ok_or_else(bad)?];
                let digits = std::str::from_utf8(&digits).map_err(|_| bad())?;
                u8::from_str_radix(digits, 8).map_err(|_| bad())?
            }
            _ => return Err(bad()),
        });
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

/// The hunks of one file, and the line after them.
fn hunks(lines: &[&str], mut at: usize) -> Result<(Vec<Hunk>, usize)> {
    let mut hunks = Vec::new();
    while at < lines.len() && lines[at].starts_with("@@") {
        let (hunk, next) = hunk(lines, at)?;
        hunks.push(hunk);
        at = next;
    }
    Ok((hunks, at))
}

fn hunk(lines: &[&str], at: usize) -> Result<(Hunk, usize)> {
    let range = Range::parse(lines[at]);
    let mut hunk = Hunk { start: range.as_ref().map(|range| range.start), ..Hunk::default() };
    let (mut old, mut new) = range.map_or((0, 0), |range| (range.old, range.new));
    let mut next = at + 1;
    while next < lines.len() {
        let line = lines[next];
        if line.starts_with('\\') {
            hunk.without_line_end |= !matches!(hunk.lines.last(), Some(Line::Remove(_)));
            hunk.at_end = true;
            next += 1;
            continue;
        }
        // The counts say where the hunk ends. Beyond them it goes on only
        // with what can be nothing else: models count badly.
        let counted = old > 0 || new > 0;
        let next_file =
            starts_file(lines, next) && (!counted || (old, new) != (1, 1) && hunk_at(lines, next + 2));
        let signature = line.is_empty() || line.trim_end() == "--";
        if line.starts_with("@@") || next_file || !counted && signature {
            break;
        }
        let Some(line) = Line::parse(line) else { break };
        let (in_old, in_new) = (line.old().is_some(), !matches!(line, Line::Remove(_)));
        old = old.saturating_sub(usize::from(in_old));
        new = new.saturating_sub(usize::from(in_new));
        hunk.lines.push(line);
        next += 1;
    }
    if hunk.lines.is_empty() {
        return Err(Error::invalid(format!("the hunk `{:.100}` is empty", lines[at])));
    }
    Ok((hunk, next))
}

/// Line numbers beyond this one are taken for it: no text has so many.
const LAST_LINE: usize = 1 << 30;

/// The numbers of `@@ -1,3 +1,4 @@`.
struct Range {
    start: usize,
    old: usize,
    new: usize,
}

impl Range {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("@@ -")?.split(' ');
        let (start, old) = pair(words.next()?)?;
        let (_, new) = pair(words.next()?.strip_prefix('+')?)?;
        Some(Self { start: start.min(LAST_LINE), old, new })
    }
}

fn pair(text: &str) -> Option<(usize, usize)> {
    match text.split_once(',') {
        Some((start, count)) => Some((start.parse().ok()?, count.parse().ok()?)),
        None => Some((text.parse().ok()?, 1)),
    }
}

/// The content of a new file.
fn content(path: &str, hunks: &[Hunk]) -> Result<String> {
    let mut content = String::new();
    for line in hunks.iter().flat_map(|hunk| &hunk.lines) {
        match line {
            Line::Add(text) => {
                content.push_str(text);
                content.push('\n');
            }
            Line::Keep(text) if text.is_empty() => content.push('\n'),
            Line::Keep(_) | Line::Remove(_) => {
                return Err(Error::invalid(format!("{path} is new, so all of its lines begin with `+`")));
            }
        }
    }
    if hunks.last().is_some_and(|hunk| hunk.without_line_end) {
        content.pop();
    }
    Ok(content)
}
