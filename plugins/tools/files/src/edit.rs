//! `write_file` and `edit_file`.

use sortie_sdk::files::IfMatch;
use sortie_sdk::prelude::*;

use crate::nearest::suggest;

/// Creates a file, or replaces all of its content. Directories are made as needed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WriteFile {
    /// Path of the file, from the root of the work tree.
    path: String,
    /// The whole content.
    content: String,
}

impl Tool for WriteFile {
    const NAME: &'static str = "write_file";
    const TITLE: &'static str = "Write file";
    const EFFECTS: Effects = Effects::WRITES.union(Effects::IDEMPOTENT);

    fn run(self, _call: &Call) -> Result<Output> {
        files::write(&self.path, &self.content, IfMatch::Any)?;
        let (lines, bytes) = (self.content.lines().count(), self.content.len());
        let text = format!("wrote {lines} lines ({bytes} bytes) to {}", self.path);
        Ok(Output::text(text).details(json!({"path": self.path, "bytes": bytes})))
    }
}

/// Replaces text in a file. `old` must occur exactly `count` times, character by character, so give it
/// enough lines around the place to be the only one.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EditFile {
    /// Path of the file, from the root of the work tree.
    path: String,
    /// The text to replace, without line numbers.
    old: String,
    /// The text in its place.
    new: String,
    /// How often `old` occurs; all occurrences are replaced. The default is 1.
    count: Option<u32>,
}

impl Tool for EditFile {
    const NAME: &'static str = "edit_file";
    const TITLE: &'static str = "Edit file";
    const EFFECTS: Effects = Effects::READS.union(Effects::WRITES);

    fn run(self, _call: &Call) -> Result<Output> {
        let count = self.count.unwrap_or(1);
        if self.old.is_empty() || count == 0 {
            return Err(Error::invalid("`old` is empty or `count` is 0; to make a file, use `write_file`"));
        }
        if self.old == self.new {
            return Err(Error::invalid("`old` and `new` are the same"));
        }
        match files::edit(&self.path, &self.old, &self.new, count) {
            Ok(_) => {}
            Err(error) if error.code == ErrorCode::Conflict => self.retry(count, error)?,
            Err(error) => return Err(suggest(error, &self.path)),
        }
        let times = if count == 1 { String::new() } else { format!(" in {count} places") };
        Ok(Output::text(format!("edited {}{times}", self.path))
            .details(json!({"path": self.path, "replaced": count})))
    }
}

impl EditFile {
    /// A model writes `\n` where the file has `\r\n`: the edit is made so.
    /// Any other mismatch is explained.
    fn retry(&self, count: u32, conflict: Error) -> Result<()> {
        let Ok(text) = files::read_text(&self.path) else { return Err(conflict) };
        let old = with_crlf(&self.old);
        if self.old.contains('\n') && text.matches(&old).count() == count as usize {
            files::edit(&self.path, &old, &with_crlf(&self.new), count)?;
            return Ok(());
        }
        Err(Error { message: self.explain(&text, count), ..conflict })
    }

    fn explain(&self, text: &str, count: u32) -> String {
        let places: Vec<_> = text.match_indices(&self.old).map(|(at, _)| line_of(text, at)).collect();
        if places.is_empty() {
            let hint = match near(text, &self.old) {
                Some(line) => format!("; at line {line} it does but for white space: read it again"),
                None => "; read the file again, it may have changed".into(),
            };
            return format!("`old` does not occur in {}{hint}", self.path);
        }
        let found = places.len();
        let lines = places.iter().take(10).map(usize::to_string).collect::<Vec<_>>().join(", ");
        format!(
            "`old` occurs {found} times in {}, not {count}, at lines {lines}; \
             give more of the text around the place, or set `count` to {found}",
            self.path
        )
    }
}

fn with_crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\n', "\r\n")
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The line where a text occurs, were it not for white space at the ends of its lines.
fn near(text: &str, old: &str) -> Option<usize> {
    let wanted: Vec<_> = old.trim().lines().map(str::trim).collect();
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let place = lines.windows(wanted.len().max(1)).position(|window| window == wanted)?;
    Some(place + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sortie_sdk::testing::Host;

    fn edit(host: &Host, old: &str, new: &str, count: Option<u32>) -> Result<Output> {
        host.call::<EditFile>(json!({"path": "a", "old": old, "new": new, "count": count}))
    }

    #[test]
    fn a_file_is_written_and_its_size_told() {
        let host = Host::new();
        let output = host.call::<WriteFile>(json!({"path": "x/y", "content": "a\nb\n"})).expect("writes");
        assert_eq!(output.content, "wrote 2 lines (4 bytes) to x/y");
        assert_eq!(host.text("x/y").expect("is there"), "a\nb\n");
    }

    #[test]
    fn one_place_is_replaced() {
        let host = Host::new().file("a", "let x = 1;\n");
        edit(&host, "1", "2", None).expect("edits");
        assert_eq!(host.text("a").expect("is there"), "let x = 2;\n");
    }

    #[test]
    fn several_places_need_to_be_counted_and_are_listed() {
        let host = Host::new().file("a", "x\ny\nx\n");
        let error = edit(&host, "x", "z", None).expect_err("is not unique");
        assert_eq!(error.code, ErrorCode::Conflict);
        assert!(error.message.starts_with("`old` occurs 2 times in a, not 1, at lines 1, 3;"), "{error}");
        assert_eq!(host.text("a").expect("is there"), "x\ny\nx\n");
        edit(&host, "x", "z", Some(2)).expect("edits");
        assert_eq!(host.text("a").expect("is there"), "z\ny\nz\n");
    }

    #[test]
    fn text_that_differs_in_white_space_alone_is_pointed_at() {
        let host = Host::new().file("a", "one\n\tif x {\n\t}\n");
        let error = edit(&host, "    if x {\n    }", "y", None).expect_err("differs");
        assert!(error.message.contains("at line 2 it does but for white space"), "{error}");
        let error = edit(&host, "nothing like it", "y", None).expect_err("differs");
        assert!(error.message.starts_with("`old` does not occur in a;"), "{error}");
    }

    #[test]
    fn line_ends_of_the_file_are_kept() {
        let host = Host::new().file("a", "one\r\ntwo\r\nthree\r\n");
        edit(&host, "one\ntwo", "1\n2\n", None).expect("edits");
        assert_eq!(host.text("a").expect("is there"), "1\r\n2\r\n\r\nthree\r\n");
    }

    #[test]
    fn edits_that_say_nothing_are_refused() {
        let host = Host::new().file("a", "x");
        for (old, new, count) in [("", "y", None), ("x", "x", None), ("x", "y", Some(0))] {
            assert_eq!(edit(&host, old, new, count).expect_err("is refused").code, ErrorCode::Invalid);
        }
    }

    #[test]
    fn a_refusal_is_passed_on_as_it_is() {
        let host = Host::new()
            .file("a", "x")
            .refuse(|operation, _| (operation == "edit").then(|| Error::denied("no: rule r")));
        assert_eq!(edit(&host, "x", "y", None).expect_err("is denied"), Error::denied("no: rule r"));
    }
}
