//! npm scripts, taken apart.
//!
//! `npm test` runs a line of shell that often calls other scripts, checks the
//! style, and only then runs the tests. Here it becomes a list of plain
//! commands: other scripts are put in place of their calls, and what checks
//! style or types is left out, so that a missing semicolon does not hide what
//! the tests say. A line that is more than commands joined by `&&` stays as it is.

use std::collections::BTreeMap;

/// Scripts call each other at most this deep, this often in all, and come to
/// at most this many commands.
const MAX_DEPTH: usize = 6;
const MAX_CALLS: usize = 200;
const MAX_COMMANDS: usize = 32;

/// Programs that check style, types or packaging, and run no tests.
const CHECKERS: [&str; 20] = [
    "eslint",
    "xo",
    "standard",
    "semistandard",
    "prettier",
    "tsd",
    "biome",
    "jshint",
    "jscs",
    "oxlint",
    "dtslint",
    "publint",
    "attw",
    "size-limit",
    "commitlint",
    "tslint",
    "stylelint",
    "markdownlint",
    "depcheck",
    "tstyche",
];

/// Programs that only make TAP pretty.
const PRETTY: [&str; 4] = ["faucet", "tap-spec", "tap-dot", "tap-arc"];

/// The scripts of a package, by name.
pub(super) type Scripts = BTreeMap<String, String>;

/// One command of a script.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Command {
    /// As it was written.
    pub(super) text: String,
    /// Its words, without the variables set in front of it.
    pub(super) words: Vec<String>,
}

/// The commands that `npm run name` comes to. None if the script is more than
/// a list of commands, or there is no such script.
pub(super) fn commands(scripts: &Scripts, name: &str) -> Option<Vec<Command>> {
    let mut expansion = Expansion { scripts, calls: 0, commands: Vec::new() };
    expansion.expand(name, "", 0)?;
    Some(expansion.commands)
}

/// Scripts on their way to a list of commands.
struct Expansion<'a> {
    scripts: &'a Scripts,
    /// Scripts taken up so far. Those that only check come to no command, so
    /// that counting commands would not bound the work.
    calls: usize,
    commands: Vec<Command>,
}

impl Expansion<'_> {
    fn expand(&mut self, name: &str, arguments: &str, depth: usize) -> Option<()> {
        self.calls += 1;
        if depth > MAX_DEPTH || self.calls > MAX_CALLS {
            return None;
        }
        let script = self.scripts.get(name)?;
        // npm runs it first, of its own accord.
        let before = format!("pre{name}");
        if self.scripts.contains_key(&before) {
            self.expand(&before, "", depth + 1)?;
        }
        let segments = split(script)?;
        let last = segments.len().checked_sub(1)?;
        for (index, segment) in segments.iter().enumerate() {
            let extra = if index == last { arguments } else { "" };
            let text = format!("{segment} {extra}").trim().to_owned();
            let words = words(&text);
            match called(&words, self.scripts) {
                Some(calls) => {
                    for (called, arguments) in calls {
                        if !is_check(&called) {
                            self.expand(&called, &arguments, depth + 1)?;
                        }
                    }
                }
                None if words.first().is_some_and(|word| CHECKERS.contains(&base(word))) => {}
                None => self.commands.push(Command { text, words }),
            }
            if self.commands.len() > MAX_COMMANDS {
                return None;
            }
        }
        Some(())
    }
}

/// Whether a script's name says that it only checks style or types.
fn is_check(name: &str) -> bool {
    ["lint", "format", "prettier", "eslint", "typecheck", "type-check", "types", "style", "audit"].iter().any(
        |check| {
            name == *check || name.ends_with(&format!(":{check}")) || name.starts_with(&format!("{check}:"))
        },
    )
}

/// The scripts that a command calls, with what is passed on to each. None if
/// the command is something else.
fn called(words: &[String], scripts: &Scripts) -> Option<Vec<(String, String)>> {
    let word = |at: usize| words.get(at).map(String::as_str);
    let (name, rest) = match (word(0)?, word(1)) {
        ("npm" | "pnpm" | "yarn" | "bun", Some("run" | "run-script")) => (word(2)?, &words[3..]),
        ("npm" | "pnpm" | "yarn", Some("test" | "t")) => ("test", &words[2..]),
        ("yarn" | "pnpm", Some(name)) if scripts.contains_key(name) => (name, &words[2..]),
        ("run-s" | "run-p" | "npm-run-all", Some(_)) => return several(&words[1..], scripts),
        _ => return None,
    };
    let flags = |word: &&String| matches!(word.as_str(), "--" | "--silent" | "-s" | "--if-present");
    let arguments: Vec<&str> = rest.iter().filter(|word| !flags(word)).map(String::as_str).collect();
    Some(vec![(name.to_owned(), arguments.join(" "))])
}

/// The scripts that `run-s a b:*` names.
fn several(patterns: &[String], scripts: &Scripts) -> Option<Vec<(String, String)>> {
    let mut names = Vec::new();
    for pattern in patterns.iter().filter(|word| !word.starts_with('-')) {
        match pattern.split_once('*') {
            Some((prefix, _)) => {
                let rest = |name: &&String| name.strip_prefix(prefix).is_some_and(|rest| !rest.contains(':'));
                names.extend(scripts.keys().filter(rest).cloned());
            }
            None if scripts.contains_key(pattern) => names.push(pattern.clone()),
            None => return None,
        }
    }
    Some(names.into_iter().map(|name| (name, String::new())).collect())
}

/// Splits a line at `&&`. None if it has other operators outside of quotes;
/// a pipe into what only makes TAP pretty is cut off.
fn split(script: &str) -> Option<Vec<&str>> {
    let mut segments = Vec::new();
    let (mut start, mut quote) = (0, None);
    let bytes = script.as_bytes();
    let mut at = 0;
    let mut piped = None;
    while at < bytes.len() {
        let (byte, next) = (bytes[at], bytes.get(at + 1).copied());
        match (quote, byte) {
            (Some(open), _) if byte == open => quote = None,
            (Some(b'\''), _) => {}
            (_, b'\\') => at += 1,
            (_, b'`') | (_, b'$') if byte == b'`' || next == Some(b'(') => return None,
            (Some(_), _) => {}
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'&') if next == Some(b'&') => {
                segments.push(segment(&script[start..at], piped.take())?);
                at += 1;
                start = at + 1;
            }
            (None, b'|') if next != Some(b'|') && piped.is_none() => piped = Some(at - start),
            (None, b'|' | b'&' | b';' | b'<' | b'>' | b'(' | b')' | b'\n') => return None,
            (None, _) => {}
        }
        at += 1;
    }
    segments.push(segment(script.get(start..)?, piped)?);
    quote.is_none().then_some(segments)
}

/// One command, without the pipe that makes it pretty.
fn segment(text: &str, piped: Option<usize>) -> Option<&str> {
    let Some(at) = piped else { return Some(text.trim()).filter(|text| !text.is_empty()) };
    let (command, pipe) = text.split_at_checked(at)?;
    let program = pipe[1..].split_whitespace().next()?;
    PRETTY.contains(&base(program)).then_some(command.trim())
}

/// The words of a command as a shell sees them, expansions left alone; the
/// variables in front, and `cross-env`, are dropped.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    let is_setting = |word: &String| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        }) || matches!(base(word), "cross-env" | "env")
    };
    let program = words.iter().position(|word| !is_setting(word)).unwrap_or(words.len());
    words.split_off(program)
}

/// Name of a program, without folder and extension.
pub(super) fn base(word: &str) -> &str {
    let name = word.rsplit('/').next().unwrap_or(word);
    [".js", ".cjs", ".mjs"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(scripts: &[(&str, &str)]) -> Option<Vec<String>> {
        let scripts = scripts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Some(commands(&scripts, "test")?.into_iter().map(|command| command.text).collect())
    }

    #[test]
    fn scripts_are_put_in_place_of_their_calls_and_checks_are_left_out() {
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
        let cases: [Case<'_>; 8] = [
            (&[("test", "jest --coverage")], &["jest --coverage"]),
            (&[("test", "xo && c8 ava && tsd")], &["c8 ava"]),
            (
                &[
                    ("test", "npm run lint && npm run unit -- --bail"),
                    ("lint", "eslint ."),
                    ("unit", "mocha 'test/**'"),
                ],
                &["mocha 'test/**' --bail"],
            ),
            (
                &[("pretest", "npm run build"), ("build", "tsc -p ."), ("test", "node --test")],
                &["tsc -p .", "node --test"],
            ),
            (&[("pretest", "npm run lint"), ("lint", "eslint ."), ("test", "vitest run")], &["vitest run"]),
            (
                &[
                    ("test", "run-s test:*"),
                    ("test:a", "mocha a"),
                    ("test:b", "mocha b"),
                    ("test:lint", "eslint ."),
                ],
                &["mocha a", "mocha b"],
            ),
            (&[("test", "cross-env NODE_ENV=test yarn unit"), ("unit", "jest")], &["jest"]),
            (&[("test", "tape test/*.js | tap-spec")], &["tape test/*.js"]),
        ];
        for (scripts, expected) in cases {
            let texts = texts(scripts).unwrap_or_else(|| panic!("{scripts:?} was not understood"));
            assert_eq!(texts, expected, "{scripts:?}");
        }
    }

    #[test]
    fn what_is_more_than_a_list_of_commands_is_left_alone() {
        for script in [
            "a || b",
            "a; b",
            "a | b",
            "a > b",
            "echo $(a)",
            "echo `a`",
            "a &",
            "(a && b)",
            "a 'b",
            "",
            "npm test",
        ] {
            assert_eq!(texts(&[("test", script)]), None, "{script}");
        }
        assert_eq!(texts(&[("test", "npm run a"), ("a", "npm run a")]), None);
    }

    #[test]
    fn scripts_that_call_each_other_again_and_again_are_left_alone() {
        // each alone is short; together they come to 100^5 calls, and to no command
        let call = |name: &str| vec![format!("npm run {name}"); 100].join(" && ");
        let (test, a, b, c, d) = (call("a"), call("b"), call("c"), call("d"), call("e"));
        let scripts = [("test", &*test), ("a", &*a), ("b", &*b), ("c", &*c), ("d", &*d), ("e", "eslint .")];
        assert_eq!(texts(&scripts), None);
    }

    #[test]
    fn operators_inside_of_quotes_are_text() {
        assert_eq!(texts(&[("test", "mocha -g 'a && b | c' \"x;y\"")]).expect("plain").len(), 1);
    }
}
