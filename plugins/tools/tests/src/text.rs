//! Output of test runners, which may be anything, made into text to read.

/// The bytes as text without terminal escapes: CSI and OSC sequences go,
/// carriage returns before a line feed go, other control characters but tab
/// and line feed go. Bytes that are not UTF-8 become U+FFFD.
pub(crate) fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c) && c != '\n') {},
                Some(']') => {
                    while chars.peek().is_some_and(|c| !matches!(c, '\u{7}' | '\u{1b}' | '\n')) {
                        chars.next();
                    }
                    chars.next_if_eq(&'\u{7}');
                }
                Some('\n') => out.push('\n'),
                _ => {}
            },
            '\n' | '\t' => out.push(c),
            // A lone carriage return redraws the line: what follows is a line of its own.
            '\r' if chars.peek() != Some(&'\n') => out.push('\n'),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// At most `max` bytes of the text: its beginning and its end, with a line in
/// between that says how many bytes are missing.
pub(crate) fn head_and_tail(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(max / 3);
    let tail = text.ceil_char_boundary(text.len() - (max - max / 3));
    format!("{}\n[… {} bytes left out …]\n{}", &text[..head], tail - head, &text[tail..])
}

/// The first `max` bytes of the text, with `…` if that was not all.
pub(crate) fn clip(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(max)])
}

/// The last `max` bytes of the text, from the start of a line if there is one.
pub(crate) fn tail(text: &str, max: usize) -> &str {
    let text = text.trim_end();
    if text.len() <= max {
        return text;
    }
    let cut = &text[text.ceil_char_boundary(text.len() - max)..];
    cut.split_once('\n').map_or(cut, |(_, lines)| lines)
}

/// A message of JavaScript without the frames of its stack that lie in the
/// runner, in libraries or in node itself.
pub(crate) fn without_foreign_frames(message: &str) -> String {
    let foreign = |line: &&str| {
        let frame = line.trim_start();
        frame.starts_with("at ")
            && (frame.contains("node_modules/")
                || frame.contains("node:")
                || frame == "at new Promise (<anonymous>)")
    };
    message.lines().filter(|line| !foreign(line)).collect::<Vec<_>>().join("\n")
}

/// Whether this is a number of seconds, as in `0.12s`.
pub(crate) fn is_seconds(text: &str) -> bool {
    let digits = text.strip_suffix('s').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// The number that stands before `word` in `N word`, of the whole text.
pub(crate) fn number_before(text: &str, word: &str) -> Option<u64> {
    text.trim().strip_suffix(word)?.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_bytes_that_are_no_text_are_harmless() {
        assert_eq!(clean(b"\x1b[32mok\x1b[0m\r\n\x1b]0;title\x07x\xffy\x00"), "ok\nx\u{fffd}y");
        assert_eq!(clean(b"\x1b[999\nnext"), "next");
        assert_eq!(clean(b"\x1b"), "");
    }

    #[test]
    fn a_cut_keeps_both_ends_and_whole_characters() {
        let text = "é".repeat(1000);
        let cut = head_and_tail(&text, 101);
        assert!(cut.len() < 160 && cut.starts_with('é') && cut.ends_with('é'), "{cut}");
        assert_eq!(tail("one\ntwo\nthree", 8), "three");
    }
}
