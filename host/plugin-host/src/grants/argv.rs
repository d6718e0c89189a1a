//! Patterns of commands.

use std::str::FromStr;

use super::GrantError;

/// A pattern of an argument vector.
#[derive(Clone, Debug)]
pub(super) struct ArgvPattern {
    words: Vec<Vec<Part>>,
    /// Whether any arguments may follow.
    open: bool,
}

/// A part of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Any,
    Char(char),
}

impl FromStr for ArgvPattern {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let mut words =
            text.split_whitespace().map(|word| parse(text, word)).collect::<Result<Vec<_>, GrantError>>()?;
        let open = words.last().is_some_and(|word| word == &[Part::Any]);
        if open {
            words.pop();
        }
        if words.is_empty() && !open {
            return Err(GrantError::new("exec", text, "it names no program"));
        }
        Ok(Self { words, open })
    }
}

fn parse(text: &str, word: &str) -> Result<Vec<Part>, GrantError> {
    let mut parts = Vec::new();
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '*' => Part::Any,
            '\\' => Part::Char(
                chars
                    .next()
                    .ok_or_else(|| GrantError::new("exec", text, "a word ends with a single `\\`"))?,
            ),
            c => Part::Char(c),
        });
    }
    // each star doubles nothing: two in a row are one
    parts.dedup_by(|a, b| *a == Part::Any && *b == Part::Any);
    Ok(parts)
}

/// Bytes of a pattern that is put forward.
const SUGGESTED: usize = 200;

/// The narrowest pattern of a readable length that covers this command; none
/// if it would not even name the program.
pub(super) fn pattern_for(argv: &[String]) -> Option<String> {
    let program = argv.first().filter(|program| !program.is_empty() && !program.contains(unsayable))?;
    let whole = argv.iter().map(|argument| word_for(argument)).collect::<Vec<_>>().join(" ");
    if whole.len() <= SUGGESTED {
        return Some(whole);
    }
    Some(format!("{} *", word_for(program))).filter(|pattern| pattern.len() <= SUGGESTED)
}

/// White space ends a word, and an empty word is none: `*` stands for both.
fn word_for(argument: &str) -> String {
    if argument.is_empty() {
        return "*".into();
    }
    let mut word = String::new();
    for c in argument.chars() {
        match c {
            c if unsayable(c) => word.push('*'),
            '*' | '\\' => word.extend(['\\', c]),
            c => word.push(c),
        }
    }
    word
}

fn unsayable(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

impl ArgvPattern {
    pub(super) fn matches(&self, argv: &[String]) -> bool {
        if argv.is_empty() || argv.len() < self.words.len() || (!self.open && argv.len() > self.words.len()) {
            return false;
        }
        self.words.iter().zip(argv).all(|(word, argument)| matches(word, argument))
    }
}

/// Whether the text is of this form: the usual two-pointer walk, which goes
/// back to the last star alone and so is never worse than quadratic.
fn matches(word: &[Part], text: &str) -> bool {
    let (mut at, mut rest) = (0, text.chars());
    let mut star: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        let mut ahead = rest.clone();
        match (word.get(at), ahead.next()) {
            (Some(Part::Any), _) => {
                at += 1;
                star = Some((at, rest.clone()));
            }
            (Some(Part::Char(wanted)), Some(c)) if *wanted == c => {
                at += 1;
                rest = ahead;
            }
            (None, None) => return true,
            _ => {
                let Some((after, from)) = &mut star else { return false };
                if from.next().is_none() {
                    return false;
                }
                at = *after;
                rest = from.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, argv: &[&str]) -> bool {
        let argv: Vec<String> = argv.iter().map(|&arg| arg.to_owned()).collect();
        pattern.parse::<ArgvPattern>().expect("a pattern").matches(&argv)
    }

    #[test]
    fn words_stand_for_arguments_and_a_last_star_for_all_that_follow() {
        assert!(covers("sh *", &["sh"]));
        assert!(covers("sh *", &["sh", "-c", "echo a"]));
        assert!(covers("cargo test", &["cargo", "test"]));
        assert!(covers("*", &["anything", "at all"]));
        for (pattern, argv) in [
            ("sh *", &["bash"][..]),
            ("sh *", &["/bin/sh"]),
            ("sh *", &["sh *"]),
            ("cargo test", &["cargo", "test", "--all"]),
            ("cargo test", &["cargo"]),
            ("cargo test *", &["cargo", "run"]),
            ("*", &[]),
        ] {
            assert!(!covers(pattern, argv), "{pattern} {argv:?}");
        }
    }

    #[test]
    fn a_star_within_a_word_stays_within_its_argument() {
        assert!(covers("pytest tests/*.py", &["pytest", "tests/a b.py"]));
        assert!(!covers("pytest tests/*.py", &["pytest", "tests/a.py", "x.py"]));
        assert!(!covers("pytest tests/*.py", &["pytest", "src/a.py"]));
        assert!(covers("a*b*c x", &["aXbYbZc", "x"]));
        assert!(!covers("a*b*c x", &["aXbYbZ", "x"]));
        assert!(covers(r"expr 2 \* 3", &["expr", "2", "*", "3"]));
        assert!(!covers(r"expr 2 \* 3", &["expr", "2", "+", "3"]));
    }

    #[test]
    fn many_stars_cost_no_more_than_their_product() {
        let pattern = format!("{}b x", "a*".repeat(200));
        assert!(!covers(&pattern, &[&"a".repeat(20_000), "x"]));
    }
}
