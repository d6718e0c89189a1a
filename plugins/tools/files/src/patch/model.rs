//! What a patch says, in whichever format it says it.

/// What happens to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is new.
    Add { path: String, content: String },
    /// It goes.
    Delete { path: String },
    /// Its content changes, its name, or both.
    Update { path: String, to: Option<String>, hunks: Vec<Hunk> },
}

/// One place of a file that changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hunk {
    /// Lines that stand above the place, each below the one before.
    pub(super) anchors: Vec<String>,
    /// The line at which the place is said to begin, counted from 1.
    pub(super) start: Option<usize>,
    /// Its lines.
    pub(super) lines: Vec<Line>,
    /// Whether it ends where the file ends.
    pub(super) at_end: bool,
    /// Whether the new file's last line, which is in this hunk, has no line end.
    pub(super) without_line_end: bool,
}

/// One line of a hunk, without its line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// It stays.
    Keep(String),
    /// It goes.
    Remove(String),
    /// It comes.
    Add(String),
}

impl Line {
    /// A line from a patch: its first character says what becomes of it.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let rest = || line[1..].to_owned();
        match line.as_bytes().first() {
            // Trailing space gets lost on the way: an empty line stands for an empty line that stays.
            None => Some(Self::Keep(String::new())),
            Some(b' ') => Some(Self::Keep(rest())),
            Some(b'-') => Some(Self::Remove(rest())),
            Some(b'+') => Some(Self::Add(rest())),
            Some(_) => None,
        }
    }

    /// The line as it stands in the old file.
    pub(super) fn old(&self) -> Option<&str> {
        match self {
            Self::Keep(text) | Self::Remove(text) => Some(text),
            Self::Add(_) => None,
        }
    }
}
