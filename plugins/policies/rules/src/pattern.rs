//! Patterns: globs for paths and for other texts, and regular expressions.

use std::borrow::Cow;

use regex_lite::{Regex, RegexBuilder};
use sortie_sdk::{Error, Result};

/// The most characters of a pattern.
pub(crate) const MAX_LENGTH: usize = 1000;

/// What a glob is matched against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// A path: `*` stays within a part, `**` does not.
    Path,
    /// Anything else: `*` matches anything.
    Plain,
}

/// A pattern with the `!` in front taken off.
fn body(pattern: &str) -> (bool, &str) {
    match pattern.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    }
}

/// Whether a value is let in by one of the patterns and taken out by none.
/// If there are only patterns that take out, anything else is let in.
/// With `ignore_case`, the patterns must have been [folded](crate::fold).
///
/// # Errors
/// If a pattern is malformed.
pub(crate) fn any<'p>(
    patterns: impl Iterator<Item = &'p str> + Clone,
    value: &str,
    text: Text,
    ignore_case: bool,
) -> Result<bool> {
    let value = Value::new(value, text, ignore_case);
    let some = |takes_out: bool| -> Result<bool> {
        for (_, pattern) in patterns.clone().map(body).filter(|(out, _)| *out == takes_out) {
            if value.matches(pattern)? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let let_in = some(false)? || patterns.clone().all(|pattern| body(pattern).0);
    Ok(let_in && !some(true)?)
}

/// A value in the form in which patterns are matched.
struct Value<'v> {
    written: &'v str,
    matched: Cow<'v, str>,
    text: Text,
    ignore_case: bool,
}

impl<'v> Value<'v> {
    fn new(written: &'v str, text: Text, ignore_case: bool) -> Self {
        let mut matched = Cow::Borrowed(written);
        if ignore_case {
            matched = Cow::Owned(matched.to_lowercase());
        }
        if text == Text::Plain {
            matched = Cow::Owned(separate(&matched));
        }
        Self { written, matched, text, ignore_case }
    }

    fn matches(&self, pattern: &str) -> Result<bool> {
        if let Some(expression) = pattern.strip_prefix("regex:") {
            return Ok(regex(expression, self.ignore_case)?.is_match(self.written));
        }
        // A separator that is none makes `*` match across it.
        Ok(match self.text {
            Text::Path => fast_glob::glob_match(pattern, &*self.matched),
            Text::Plain => fast_glob::glob_match(separate(pattern), &*self.matched),
        })
    }
}

/// A text without separators, in which nothing else has become one.
fn separate(text: &str) -> String {
    text.replace('\u{1}', "\u{2}").replace('/', "\u{1}")
}

fn regex(expression: &str, ignore_case: bool) -> Result<Regex> {
    RegexBuilder::new(expression)
        .case_insensitive(ignore_case)
        .build()
        .map_err(|error| Error::invalid(format!("`regex:{expression}` is malformed: {error}")))
}

/// Whether a pattern is good.
///
/// # Errors
/// If it is malformed or too long.
pub(crate) fn check(pattern: &str) -> Result<()> {
    let (_, pattern) = body(pattern);
    let bad = |why: &str| Err(Error::invalid(format!("pattern `{pattern:.100}` {why}")));
    if pattern.is_empty() {
        return bad("is empty");
    }
    if pattern.chars().count() > MAX_LENGTH {
        return bad("is too long");
    }
    if let Some(expression) = pattern.strip_prefix("regex:") {
        return regex(expression, false).map(drop);
    }
    if pattern.starts_with('!') {
        return bad("is negated twice");
    }
    let escapes_letter = pattern.split('\\').skip(1).any(|rest| rest.starts_with(char::is_alphanumeric));
    if escapes_letter {
        return bad("escapes a letter or a digit, which needs no `\\`");
    }
    match fast_glob::validate(pattern) {
        Ok(()) => Ok(()),
        Err(error) => bad(&format!("is malformed: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::fold;

    fn matches(patterns: &[&str], value: &str, text: Text) -> bool {
        patterns.iter().for_each(|pattern| check(pattern).expect("is good"));
        any(patterns.iter().copied(), value, text, true).expect("is good")
    }

    #[test]
    fn a_star_stays_within_a_part_of_a_path_and_nowhere_else() {
        assert!(matches(&["src/*.rs"], "src/a.rs", Text::Path));
        assert!(!matches(&["src/*.rs"], "src/a/b.rs", Text::Path));
        assert!(matches(&["src/**/*.rs"], "src/a/b.rs", Text::Path));
        assert!(matches(&["**/.env"], ".env", Text::Path));
        assert!(matches(&["git push *"], "git push https://a/b main", Text::Plain));
        assert!(matches(&["refs/heads/release/*"], "refs/heads/release/1/x", Text::Plain));
        assert!(matches(&["*"], "", Text::Plain));
        assert!(!matches(&["a/b"], "a\u{1}b", Text::Plain));
    }

    #[test]
    fn what_is_taken_out_is_out_wherever_it_stands() {
        for patterns in [["!a.md", "*.md"], ["*.md", "!a.md"]] {
            assert!(!matches(&patterns, "a.md", Text::Path));
            assert!(matches(&patterns, "b.md", Text::Path));
            assert!(!matches(&patterns, "b.rs", Text::Path));
        }
        assert!(matches(&["!docs/**"], "src/a", Text::Path));
        assert!(!matches(&["!docs/**"], "docs/a", Text::Path));
    }

    #[test]
    fn case_is_ignored_only_when_asked() {
        let written = ["refs/heads/Main", "regex:^X$"];
        for (value, ignore, expected) in [
            ("refs/heads/main", true, true),
            ("refs/heads/main", false, false),
            ("x", true, true),
            ("x", false, false),
        ] {
            let patterns = written.map(|pattern| if ignore { fold(pattern) } else { pattern.to_owned() });
            let patterns = patterns.iter().map(String::as_str);
            assert_eq!(any(patterns, value, Text::Plain, ignore).expect("is good"), expected);
        }
    }

    #[test]
    fn malformed_patterns_are_named() {
        for bad in ["", "!", "a{b", "a[b", "a\\", "!!a", "regex:(", "\\bad", &"x".repeat(MAX_LENGTH + 1)] {
            assert!(check(bad).is_err(), "{bad}");
        }
        check("regex:^a|b$").expect("is good");
        check("a\\*b").expect("is good");
    }

    #[test]
    fn patterns_that_would_run_for_ever_elsewhere_do_not() {
        let value = "a".repeat(20_000);
        assert!(!matches(&["*a*a*a*a*a*a*a*b"], &value, Text::Plain));
        assert!(!matches(&["regex:^(a+)+$b"], &value, Text::Plain));
        assert!(!matches(&["**/a/**/a/**/a/**/b"], &"a/".repeat(5_000), Text::Path));
    }
}
