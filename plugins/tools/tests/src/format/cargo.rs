//! `cargo test`: what libtest and rustdoc print, and what cargo says around it.
//!
//! The JSON of libtest is unstable, so this reads the text. A test that fails
//! has its own output printed, which may look like a result. A line counts as
//! the result of a block only if its numbers add up to the number of tests
//! that the block announced, and if the names of its failures stand above it.

use std::collections::HashMap;

use crate::report::{Counts, MAX_FAILURES, Parsed};
use crate::run::Run;
use crate::text::{number_before, tail};

/// Reads a run of `cargo test`.
pub(crate) fn parse(run: &Run) -> Parsed {
    let mut parsed = Parsed::default();
    let mut failed_targets = 0_u64;
    let lines: Vec<&str> = run.stdout.lines().collect();
    let mut at = 0;
    while at < lines.len() {
        let Some(announced) = announced(lines[at]) else {
            at += 1;
            continue;
        };
        parsed.found = true;
        let block = Block::read(&lines[at + 1..], announced);
        failed_targets += u64::from(block.counts.failed > 0);
        block.report(&run.stderr, &mut parsed);
        at += 1 + block.lines.len();
    }
    if !run.succeeded() {
        explain_the_rest(run, failed_targets, &mut parsed);
    }
    parsed
}

/// The numbers of each `test result:` line of a text, for output that others
/// made from cargo's. None if there are none.
pub(crate) fn summaries(text: &str) -> Option<Counts> {
    let mut sum = Counts::default();
    let mut found = false;
    for counts in text.lines().filter_map(result) {
        sum.add(counts);
        found = true;
    }
    found.then_some(sum)
}

/// The tests of one target.
struct Block<'a> {
    lines: &'a [&'a str],
    counts: Counts,
    /// Whether its result line was found; a target that crashed has none.
    ended: bool,
}

impl<'a> Block<'a> {
    fn read(lines: &'a [&'a str], announced: u64) -> Self {
        let mut captured = false;
        for (index, line) in lines.iter().enumerate() {
            captured |= *line == "failures:";
            if let Some(counts) = result(line)
                && counts.total() == announced
                && captured == (counts.failed > 0)
                && failures_above(&lines[..index]).len() as u64 == counts.failed
            {
                return Self { lines: &lines[..=index], counts, ended: true };
            }
            // The next target has begun: this one never ended.
            if !captured && self::announced(line).is_some() {
                return Self { lines: &lines[..index], counts: seen(&lines[..index]), ended: false };
            }
        }
        Self { lines, counts: seen(lines), ended: false }
    }

    fn report(&self, stderr: &str, parsed: &mut Parsed) {
        parsed.counts.add(self.counts);
        if !self.ended {
            let name = self.lines.iter().rev().find_map(|line| unfinished(line)).unwrap_or("run");
            let cause = stderr.lines().find(|line| line.contains("process didn't exit successfully"));
            let cause = cause.map_or("the test process ended before its result", str::trim);
            parsed.add_failure(name, cause);
        }
        if self.counts.failed == 0 {
            return;
        }
        let names = if self.ended {
            failures_above(&self.lines[..self.lines.len() - 1])
        } else {
            self.lines
                .iter()
                .filter_map(|line| status(line))
                .filter(|s| s.1 == "FAILED")
                .map(|s| s.0)
                .collect()
        };
        let messages = messages(self.lines, &names[..names.len().min(MAX_FAILURES)]);
        for name in names {
            parsed.name_failure(name, messages.get(name).map_or("", String::as_str));
        }
    }
}

/// `running 3 tests`.
fn announced(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("running ")?;
    number_before(rest, " tests").or_else(|| number_before(rest, " test"))
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`.
fn result(line: &str) -> Option<Counts> {
    let rest = line.trim_start().strip_prefix("test result: ")?;
    let rest = rest.strip_prefix("ok. ").or_else(|| rest.strip_prefix("FAILED. "))?;
    let mut parts = rest.split("; ");
    let mut next = |word| number_before(parts.next()?, word);
    let (passed, failed, ignored) = (next(" passed")?, next(" failed")?, next(" ignored")?);
    let measured = next(" measured")?;
    Some(Counts { passed: passed.saturating_add(measured), failed, skipped: ignored })
}

/// `test name ... ok`: the name and the status.
fn status(line: &str) -> Option<(&str, &str)> {
    let (name, status) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    Some((name.strip_suffix(" - should panic").unwrap_or(name), status))
}

/// `test name ... ` with nothing of libtest's behind it: the test that was running.
fn unfinished(line: &str) -> Option<&str> {
    let name = line.strip_prefix("test ")?.trim_end().strip_suffix("...")?;
    Some(name.trim_end())
}

/// The numbers that the lines of single tests give.
fn seen(lines: &[&str]) -> Counts {
    let mut counts = Counts::default();
    for (_, status) in lines.iter().filter_map(|line| status(line)) {
        match status {
            "ok" => counts.passed += 1,
            "FAILED" => counts.failed += 1,
            status if status.starts_with("ignored") => counts.skipped += 1,
            _ => {}
        }
    }
    counts
}

/// The names in the list that stands right above a result line.
fn failures_above<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let mut names: Vec<&str> = lines
        .iter()
        .rev()
        .skip_while(|line| line.is_empty())
        .map_while(|line| line.strip_prefix("    ").filter(|name| !name.is_empty()))
        .collect();
    let heading = lines.iter().rev().skip_while(|line| line.is_empty()).nth(names.len());
    if heading != Some(&"failures:") {
        names.clear();
    }
    names.reverse();
    names
}

/// What each failed test printed, by name.
fn messages<'a>(lines: &[&'a str], names: &[&'a str]) -> HashMap<&'a str, String> {
    let mut messages: HashMap<&str, String> = HashMap::new();
    let mut current: Option<&str> = None;
    for line in lines {
        let heading = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"));
        if let Some(name) = heading.and_then(|name| names.iter().find(|n| **n == name)) {
            current = Some(name);
        } else if *line == "failures:" {
            current = None;
        } else if let Some(name) = current
            && !line.starts_with("note: run with `RUST_BACKTRACE=1`")
        {
            let message = messages.entry(name).or_default();
            message.push_str(line);
            message.push('\n');
        }
    }
    messages
}

/// What failed beside tests: the build, or targets that are no libtest.
fn explain_the_rest(run: &Run, failed_blocks: u64, parsed: &mut Parsed) {
    let unbuilt = run.stderr.lines().any(|line| line.starts_with("error: could not compile"));
    if !parsed.found {
        parsed.add_failure(if unbuilt { "build" } else { "run" }, &errors(&run.stderr));
        return;
    }
    let targets = failed_targets(&run.stderr);
    // A target without a result was counted when its block was read.
    let crashed = parsed.failures.iter().any(|f| f.message.contains("process didn't exit successfully"));
    if !crashed && targets.len() as u64 > failed_blocks {
        let message = format!("targets that failed, not all with a result: {}", targets.join(", "));
        parsed.add_failure("run", &message);
    }
}

/// The targets that cargo names at its end as failed.
fn failed_targets(stderr: &str) -> Vec<&str> {
    let mut lines = stderr.lines().skip_while(|line| {
        !(line.starts_with("error: ")
            && (line.ends_with(" target failed:") || line.ends_with(" targets failed:")))
    });
    lines.next();
    lines.map_while(|line| line.strip_prefix("    ").map(str::trim)).collect()
}

/// The errors of cargo or the compiler, from the first one on.
fn errors(stderr: &str) -> String {
    let mut lines =
        stderr.lines().skip_while(|line| !(line.starts_with("error:") || line.starts_with("error[")));
    match lines.next() {
        Some(first) => std::iter::once(first).chain(lines).collect::<Vec<_>>().join("\n"),
        None => tail(stderr, 1_500).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::finished;

    fn counts(passed: u64, failed: u64, skipped: u64) -> Counts {
        Counts { passed, failed, skipped }
    }

    #[test]
    fn all_targets_and_doc_tests_are_added_up() {
        let parsed = parse(&finished(include_str!("../../tests/fixtures/cargo-passing.out"), "", 0));
        assert_eq!(parsed.counts, counts(8, 0, 0));
        assert!(parsed.failures.is_empty());
    }

    #[test]
    fn each_failure_has_the_message_of_its_own_test() {
        let out = include_str!("../../tests/fixtures/cargo-failing.out");
        let err = include_str!("../../tests/fixtures/cargo-failing.err");
        let parsed = parse(&finished(out, err, 101));
        assert_eq!(parsed.counts, counts(103, 3, 1));
        let names: Vec<_> = parsed.failures.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["hamming_works", "jaro_works", "src/lib.rs - hamming (line 77)"]);
        assert!(parsed.failures[0].message.contains("not equal"), "{}", parsed.failures[0].message);
        assert!(!parsed.failures[0].message.contains("jaro"), "{}", parsed.failures[0].message);
        assert!(parsed.failures[2].message.contains("Test executable failed"));
    }

    #[test]
    fn a_result_that_a_failing_test_printed_is_not_counted() {
        let out = "\nrunning 2 tests\ntest a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            test result: ok. 999 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\
            running 7 tests\n\nfailures:\n    b\n\n\
            test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n";
        let parsed = parse(&finished(out, "", 101));
        // The first of the printed lines adds up, but nothing failed in it.
        assert_eq!(parsed.counts, counts(1, 1, 0));
        assert_eq!(parsed.failures.len(), 1);
    }

    #[test]
    fn what_does_not_compile_is_one_failure_named_build() {
        let parsed = parse(&finished("", include_str!("../../tests/fixtures/cargo-build.err"), 101));
        assert_eq!((parsed.counts, parsed.failures.len()), (counts(0, 1, 0), 1));
        assert_eq!(parsed.failures[0].name, "build");
        assert!(parsed.failures[0].message.contains("mismatched types"), "{}", parsed.failures[0].message);
    }

    #[test]
    fn a_target_that_crashes_is_a_failure_of_the_test_that_ran() {
        let out = "\nrunning 3 tests\ntest a ... ok\ntest b ... \nrunning 1 test\ntest c ... ok\n\n\
            test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        let err = "error: test failed, to rerun pass `--lib`\n\nCaused by:\n  process didn't exit successfully: \
            `target/debug/deps/x-1` (signal: 6, SIGABRT: process abort signal)\nerror: 1 target failed:\n    `--lib`\n";
        let parsed = parse(&finished(out, err, 101));
        assert_eq!(parsed.counts, counts(2, 1, 0));
        assert_eq!(parsed.failures[0].name, "b");
        assert!(parsed.failures[0].message.contains("SIGABRT"));
    }

    #[test]
    fn a_target_without_the_usual_harness_counts_when_it_fails() {
        let out = "\nrunning 1 test\ntest a ... ok\n\n\
            test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        let err = "error: test failed, to rerun pass `--test custom`\n\nerror: 1 target failed:\n    `--test custom`\n";
        let parsed = parse(&finished(out, err, 101));
        assert_eq!(parsed.counts, counts(1, 1, 0));
        assert!(parsed.failures[0].message.contains("--test custom"));
    }

    #[test]
    fn a_run_that_never_began_gives_cargos_error() {
        let err = "warning: x\nerror: no matching package named `rand` found\nlocation searched: registry\n";
        let parsed = parse(&finished("", err, 101));
        assert_eq!(parsed.failures[0].name, "run");
        assert!(parsed.failures[0].message.starts_with("error: no matching package"));
    }
}
