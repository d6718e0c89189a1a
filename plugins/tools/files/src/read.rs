//! `read_file`.

use std::fmt::Write as _;

use sortie_sdk::prelude::*;

use crate::nearest::suggest;

/// Lines shown unless more or fewer are asked for.
const LINES: u32 = 2000;

/// Characters of one line that are shown.
const LINE_WIDTH: usize = 2000;

/// Bytes at a file's head of which none is zero if it is text.
const BINARY_PROBE: usize = 8192;

/// Reads a text file. Each line comes with its number and a tab in front, which are not part of the file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadFile {
    /// Path of the file, from the root of the work tree.
    path: String,
    /// The first line to show, counted from 1. The default is 1.
    start_line: Option<u32>,
    /// The most lines to show. The default is 2000.
    max_lines: Option<u32>,
}

impl Tool for ReadFile {
    const NAME: &'static str = "read_file";
    const TITLE: &'static str = "Read file";
    const EFFECTS: Effects = Effects::READS.union(Effects::IDEMPOTENT);

    fn run(self, _call: &Call) -> Result<Output> {
        let start = self.start_line.unwrap_or(1);
        let max = self.max_lines.unwrap_or(LINES);
        if start == 0 || max == 0 {
            return Err(Error::invalid("lines are counted from 1, and `max_lines` is at least 1"));
        }
        let content =
            files::read(&self.path, 0, files::MAX_BYTES).map_err(|error| suggest(error, &self.path))?;
        let partial = content.size > content.data.len() as u64;
        let head = &content.data[..content.data.len().min(BINARY_PROBE)];
        if head.contains(&0) {
            let message = format!("{} is a binary file of {} bytes", self.path, content.size);
            return Err(Error::invalid(message));
        }
        let text = String::from_utf8_lossy(&content.data);
        let shown = Shown::new(&text, start as usize, max as usize);
        if shown.count == 0 && start > 1 {
            let beyond =
                if partial { "the first 8 MiB, which is as far as this tool reads, have" } else { "it has" };
            let message = format!("{} has no line {start}: {beyond} {} lines", self.path, shown.total);
            return Err(Error::invalid(message));
        }
        Ok(shown.output(start as usize, partial, content.size))
    }
}

/// The lines that are shown, and how many there are.
struct Shown {
    lines: String,
    count: usize,
    total: usize,
}

impl Shown {
    fn new(text: &str, start: usize, max: usize) -> Self {
        let mut lines = String::new();
        let mut count = 0;
        let mut total = 0;
        for (line, number) in text.lines().zip(1_usize..) {
            total = number;
            if number >= start && count < max {
                count += 1;
                push_line(&mut lines, number, line);
            }
        }
        Self { lines, count, total }
    }

    fn output(self, start: usize, partial: bool, size: u64) -> Output {
        let Self { mut lines, count, total } = self;
        let last = start + count - 1;
        if total == 0 {
            lines.push_str("[the file is empty]");
        } else if partial {
            let line = if last < total { format!(", after line {last}") } else { String::new() };
            lines.push_str(&format!("[there is more{line}; the file has {size} bytes]"));
        } else if last < total || start > 1 {
            lines.push_str(&format!("[lines {start} to {last} of {total}]"));
        }
        Output::text(lines).details(json!({
            "start_line": start, "lines": count, "total_lines": (!partial).then_some(total), "bytes": size,
        }))
    }
}

fn push_line(lines: &mut String, number: usize, line: &str) {
    // a character has at least one byte, so short lines need no counting
    let cut = if line.len() <= LINE_WIDTH { None } else { line.char_indices().nth(LINE_WIDTH) };
    let written = match cut {
        None => writeln!(lines, "{number:>6}\t{line}"),
        Some((end, _)) => {
            let rest = line[end..].chars().count();
            writeln!(lines, "{number:>6}\t{} [{rest} more characters]", &line[..end])
        }
    };
    written.expect("writing to a string succeeds");
}

#[cfg(test)]
mod tests {
    use super::*;
    use sortie_sdk::testing::Host;

    fn read(host: &Host, arguments: Value) -> Result<Output> {
        host.call::<ReadFile>(arguments)
    }

    #[test]
    fn lines_are_numbered_and_a_part_says_that_it_is_one() {
        let host = Host::new().file("a", "one\r\ntwo\nthree");
        let output = read(&host, json!({"path": "a"})).expect("reads");
        assert_eq!(output.content, "     1\tone\n     2\ttwo\n     3\tthree\n");
        let output = read(&host, json!({"path": "a", "start_line": 2, "max_lines": 1})).expect("reads");
        assert_eq!(output.content, "     2\ttwo\n[lines 2 to 2 of 3]");
        assert_eq!(output.details["total_lines"], 3);
    }

    #[test]
    fn an_empty_file_is_no_error_and_a_line_beyond_the_end_is() {
        let host = Host::new().file("a", "").file("b", "x\n");
        assert_eq!(read(&host, json!({"path": "a"})).expect("reads").content, "[the file is empty]");
        let error = read(&host, json!({"path": "b", "start_line": 5})).expect_err("has one line");
        assert_eq!(error.message, "b has no line 5: it has 1 lines");
    }

    #[test]
    fn binary_files_are_named_and_other_encodings_are_shown_as_well_as_can_be() {
        let host = Host::new().file("a.bin", [0x7f, 0, 1]).file("latin", b"caf\xe9\n");
        let error = read(&host, json!({"path": "a.bin"})).expect_err("is binary");
        assert_eq!(error.message, "a.bin is a binary file of 3 bytes");
        assert_eq!(read(&host, json!({"path": "latin"})).expect("reads").content, "     1\tcaf\u{fffd}\n");
    }

    #[test]
    fn long_lines_are_cut_at_a_character() {
        let host = Host::new().file("a", "é".repeat(LINE_WIDTH + 5));
        let content = read(&host, json!({"path": "a"})).expect("reads").content;
        assert!(content.ends_with("é [5 more characters]\n"));
    }

    #[test]
    fn a_file_of_more_than_8_mib_is_shown_in_part() {
        let host = Host::new().file("a", "0123456\n".repeat((1 << 20) + 10));
        let output = read(&host, json!({"path": "a", "max_lines": 2})).expect("reads");
        assert!(output.content.ends_with("[there is more, after line 2; the file has 8388688 bytes]"));
        assert!(read(&host, json!({"path": "a", "start_line": 9_000_000})).is_err());
    }

    #[test]
    fn a_missing_file_brings_the_nearest_names() {
        let host = Host::new().file("src/parser.rs", "x");
        let error = read(&host, json!({"path": "parser.rs"})).expect_err("is elsewhere");
        assert_eq!(error.message, "parser.rs does not exist; did you mean src/parser.rs?");
        assert_eq!(error.code, ErrorCode::NotFound);
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        let host = Host::new();
        for path in ["/etc/passwd", "../x", "a/../../x", ""] {
            let error = read(&host, json!({ "path": path })).expect_err("leads out");
            assert_eq!(error.code, ErrorCode::Invalid, "{path}");
        }
    }
}
