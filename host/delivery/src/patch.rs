//! Unified diffs.

use std::fmt::Write;

use git2::{DiffOptions, ObjectType, Oid, Patch};
use sortie_policy::ports::PortError;

use crate::names::lossy;
use crate::tree::{Mode, unreadable};

/// Bytes of a file whose lines are compared; of larger ones it is only said
/// that they differ.
pub(crate) const COMPARED: u64 = 2 << 20;

/// One side of a comparison.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) mode: Mode,
    pub(crate) content: Content,
}

/// What a side holds.
#[derive(Debug)]
pub(crate) enum Content {
    /// The bytes of a file, or a link's target.
    Bytes(Vec<u8>),
    /// More than [`COMPARED`] bytes.
    Large(u64),
    /// A submodule's commit.
    Commit(Oid),
}

/// A diff that keeps at most so many bytes.
#[derive(Debug)]
pub(crate) struct Diff {
    text: String,
    max: usize,
    /// Bytes of the file that reached the bound.
    cut: usize,
    /// Files after that one.
    left: usize,
}

impl Diff {
    pub(crate) fn new(max: u32) -> Self {
        Self { text: String::new(), max: max as usize, cut: 0, left: 0 }
    }

    /// Whether there is room for more.
    pub(crate) fn is_full(&self) -> bool {
        self.text.len() >= self.max
    }

    /// Counts a file that nobody has compared, because there is no room.
    pub(crate) fn skip(&mut self) {
        self.left += 1;
    }

    /// Adds text as it is, such as a commit's message.
    pub(crate) fn text(&mut self, text: &str) {
        let room = self.max.saturating_sub(self.text.len());
        let end = text.floor_char_boundary(room.min(text.len()));
        self.text.push_str(&text[..end]);
        self.cut += text.len() - end;
    }

    /// Adds a file; none for a side where it does not exist.
    pub(crate) fn file(
        &mut self,
        path: &[u8],
        old: Option<&Side>,
        new: Option<&Side>,
    ) -> Result<(), PortError> {
        let text = render(path, old, new)?;
        self.text(&text);
        Ok(())
    }

    /// The text, with a line that says how much was left out.
    pub(crate) fn finish(mut self) -> String {
        if self.cut > 0 || self.left > 0 {
            if !self.text.ends_with('\n') {
                self.text.push('\n');
            }
            let _ = writeln!(self.text, "[cut here: {} more bytes, then {} more files]", self.cut, self.left);
        }
        self.text
    }
}

fn render(path: &[u8], old: Option<&Side>, new: Option<&Side>) -> Result<String, PortError> {
    let (a, b) = (quoted(b"a/", path), quoted(b"b/", path));
    let mut out = format!("diff --git {a} {b}\n");
    let (old_id, new_id) = (id(old), id(new));
    let _ = match (old, new) {
        (None, Some(new)) => writeln!(out, "new file mode {:o}", new.mode.bits()),
        (Some(old), None) => writeln!(out, "deleted file mode {:o}", old.mode.bits()),
        (Some(old), Some(new)) if old.mode != new.mode => {
            writeln!(out, "old mode {:o}\nnew mode {:o}", old.mode.bits(), new.mode.bits())
        }
        _ => Ok(()),
    };
    if old_id.is_some() && old_id == new_id {
        return Ok(out);
    }
    let (old_id, new_id) = (shown_id(old, old_id), shown_id(new, new_id));
    let _ = writeln!(out, "index {old_id}..{new_id}");
    let (old_name, new_name) = (
        if old.is_some() { a.as_str() } else { "/dev/null" },
        if new.is_some() { b.as_str() } else { "/dev/null" },
    );
    match (lines(old), lines(new)) {
        (Some(old), Some(new)) if !is_binary(&old) && !is_binary(&new) => {
            let hunks = hunks(&old, &new)?;
            if !hunks.is_empty() {
                let _ = writeln!(out, "--- {old_name}\n+++ {new_name}");
                out.push_str(&hunks);
            }
        }
        (Some(_), Some(_)) => {
            let _ = writeln!(out, "Binary files {old_name} and {new_name} differ");
        }
        _ => {
            let size = |side: Option<&Side>| match side.map(|side| &side.content) {
                Some(Content::Bytes(bytes)) => bytes.len() as u64,
                Some(Content::Large(size)) => *size,
                Some(Content::Commit(_)) | None => 0,
            };
            let (old, new) = (size(old), size(new));
            let _ = writeln!(out, "Large files {old_name} and {new_name} differ ({old} and {new} bytes)");
        }
    }
    Ok(out)
}

/// The hunks of two texts, with three lines around each.
fn hunks(old: &[u8], new: &[u8]) -> Result<String, PortError> {
    let mut options = DiffOptions::new();
    options.context_lines(3).force_text(true);
    let mut patch = Patch::from_buffers(old, None, new, None, Some(&mut options)).map_err(unreadable)?;
    let mut out = String::new();
    patch
        .print(&mut |_, _, line| {
            match line.origin() {
                origin @ ('+' | '-' | ' ') => {
                    out.push(origin);
                    out.push_str(&String::from_utf8_lossy(line.content()));
                }
                'H' | '=' | '>' | '<' => out.push_str(&String::from_utf8_lossy(line.content())),
                _ => {}
            }
            true
        })
        .map_err(unreadable)?;
    Ok(out)
}

fn lines(side: Option<&Side>) -> Option<Vec<u8>> {
    match side.map(|side| &side.content) {
        None => Some(Vec::new()),
        Some(Content::Bytes(bytes)) => Some(bytes.clone()),
        Some(Content::Commit(id)) => Some(format!("Subproject commit {id}\n").into_bytes()),
        Some(Content::Large(_)) => None,
    }
}

/// The id of a side's content, where it is at hand.
fn id(side: Option<&Side>) -> Option<Oid> {
    match &side?.content {
        Content::Bytes(bytes) => Oid::hash_object(ObjectType::Blob, bytes).ok(),
        Content::Commit(id) => Some(*id),
        Content::Large(_) => None,
    }
}

fn shown_id(side: Option<&Side>, id: Option<Oid>) -> String {
    match (side, id) {
        (Some(_), None) => "?".into(),
        (_, id) => id.unwrap_or(Oid::ZERO_SHA1).to_string()[..10].to_owned(),
    }
}

fn is_binary(bytes: &[u8]) -> bool {
    bytes[..bytes.len().min(8000)].contains(&0)
}

/// A name as Git writes it: in quotes where it would break the line.
fn quoted(prefix: &[u8], path: &[u8]) -> String {
    let whole = [prefix, path].concat();
    let special = |byte: u8| byte < 0x20 || matches!(byte, 0x7f | b'"' | b'\\');
    if std::str::from_utf8(&whole).is_ok() && !whole.iter().any(|&byte| special(byte)) {
        return lossy(&whole);
    }
    let mut out = String::from("\"");
    for byte in whole {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            0x20..=0x7e => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\{byte:03o}");
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Side {
        Side { mode: Mode::File, content: Content::Bytes(text.as_bytes().to_vec()) }
    }

    fn diff(path: &[u8], old: Option<&Side>, new: Option<&Side>) -> String {
        let mut diff = Diff::new(10_000);
        diff.file(path, old, new).expect("renders");
        diff.finish()
    }

    #[test]
    fn a_change_reads_as_git_writes_it() {
        let text = diff(b"a.txt", Some(&file("one\ntwo\n")), Some(&file("one\n2")));
        let expected = "diff --git a/a.txt b/a.txt\nindex 814f4a4229..4ed879660e\n--- a/a.txt\n+++ b/a.txt\n\
                        @@ -1,2 +1,2 @@\n one\n-two\n+2\n\\ No newline at end of file\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_name_with_a_newline_cannot_forge_a_line() {
        let text = diff(b"a\n+++ b/x\xff", None, Some(&file("")));
        assert!(text.starts_with("diff --git \"a/a\\n+++ b/x\\377\""), "{text}");
    }

    #[test]
    fn binary_and_mode_are_named_and_not_shown() {
        let script = Side { mode: Mode::Executable, content: Content::Bytes(b"x".to_vec()) };
        assert_eq!(
            diff(b"s", Some(&file("x")), Some(&script)),
            "diff --git a/s b/s\nold mode 100644\nnew mode 100755\n"
        );
        assert!(diff(b"s", Some(&file("\0")), None).ends_with("Binary files a/s and /dev/null differ\n"));
    }

    #[test]
    fn what_exceeds_the_bound_is_counted() {
        let mut diff = Diff::new(20);
        diff.file(b"a", None, Some(&file("x\n"))).expect("renders");
        assert!(diff.is_full());
        diff.skip();
        let text = diff.finish();
        assert!(
            text.starts_with("diff --git a/a b/a\nn\n[cut here: ") && text.ends_with("then 1 more files]\n"),
            "{text}"
        );
    }
}
