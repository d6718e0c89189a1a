//! A text as lines that keep their ends.

/// One line and its end: `\n`, `\r\n`, or nothing at the end of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextLine {
    pub(super) text: String,
    pub(super) end: &'static str,
}

/// The lines of a text.
pub(super) fn split(text: &str) -> Vec<TextLine> {
    text.split_inclusive('\n')
        .map(|line| match (line.strip_suffix("\r\n"), line.strip_suffix('\n')) {
            (Some(text), _) => TextLine { text: text.to_owned(), end: "\r\n" },
            (None, Some(text)) => TextLine { text: text.to_owned(), end: "\n" },
            (None, None) => TextLine { text: line.to_owned(), end: "" },
        })
        .collect()
}

/// The text again. A line that is not the last always has an end.
pub(super) fn join(lines: &[TextLine], usual_end: &str) -> String {
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        text.push_str(&line.text);
        let is_last = index + 1 == lines.len();
        text.push_str(if line.end.is_empty() && !is_last { usual_end } else { line.end });
    }
    text
}

/// The end that most lines have.
pub(super) fn usual_end(lines: &[TextLine]) -> &'static str {
    let crlf = lines.iter().filter(|line| line.end == "\r\n").count();
    let lf = lines.iter().filter(|line| line.end == "\n").count();
    if crlf > lf { "\r\n" } else { "\n" }
}

/// How much two lines may differ and still count as the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Likeness {
    /// Not at all.
    Exact,
    /// In white space at their ends.
    TrailingSpace,
    /// In white space at either side.
    Indentation,
    /// In typographic quotes, dashes and spaces, too.
    Punctuation,
}

impl Likeness {
    /// From the strictest on.
    pub(super) const ALL: [Self; 4] =
        [Self::Exact, Self::TrailingSpace, Self::Indentation, Self::Punctuation];

    /// Whether two lines count as the same.
    pub(super) fn same(self, a: &str, b: &str) -> bool {
        // A patch that was itself written with CRLF has a CR at each line.
        match self {
            Self::Exact => a == b || a == b.strip_suffix('\r').unwrap_or(b),
            Self::TrailingSpace => a.trim_end() == b.trim_end(),
            Self::Indentation => a.trim() == b.trim(),
            Self::Punctuation => a.trim().chars().map(plain).eq(b.trim().chars().map(plain)),
        }
    }

    /// What was overlooked, for the report.
    pub(super) fn overlooked(self) -> Option<&'static str> {
        match self {
            Self::Exact => None,
            Self::TrailingSpace | Self::Indentation => Some("white space"),
            Self::Punctuation => Some("white space and punctuation"),
        }
    }
}

fn plain(c: char) -> char {
    match c {
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{2018}'..='\u{201b}' => '\'',
        '\u{201c}'..='\u{201f}' => '"',
        '\u{a0}' | '\u{2002}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => ' ',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_survives_being_split_and_joined() {
        for text in ["", "\n", "a", "a\n", "a\r\nb\n\nc", "\r\n\r\n", "a\rb\n"] {
            assert_eq!(join(&split(text), "\n"), text);
        }
    }

    #[test]
    fn each_likeness_overlooks_what_it_says_and_no_more() {
        let pairs = [("a", "a"), ("a ", "a"), ("  a", "a"), ("\u{201c}a\u{201d}\u{a0}x", "\"a\" x")];
        for (index, (a, b)) in pairs.iter().enumerate() {
            let same: Vec<_> = Likeness::ALL.iter().map(|likeness| likeness.same(a, b)).collect();
            let expected: Vec<_> = (0..4).map(|level| level >= index).collect();
            assert_eq!(same, expected, "{a:?} {b:?}");
        }
        assert!(!Likeness::Punctuation.same("a b", "ab"));
    }
}
