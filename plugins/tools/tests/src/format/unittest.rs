//! `python -m unittest -v`: the text runner.

use crate::report::{Counts, Parsed};
use crate::run::Run;
use crate::text::{is_seconds, number_before};

/// The rule above each failure.
const DOUBLE: &str = "======================================================================";
/// The rule below its name, and below the last failure.
const SINGLE: &str = "----------------------------------------------------------------------";

/// Reads a run of unittest.
pub(crate) fn parse(run: &Run) -> Parsed {
    let mut parsed = Parsed::default();
    // The runner writes its result last: of several, the last is its own.
    let lines: Vec<&str> = run.stderr.lines().collect();
    let Some((end, ran)) = lines.iter().enumerate().rev().find_map(|(at, line)| Some((at, ran(line)?)))
    else {
        return parsed;
    };
    let failures = failures(&lines[..end]);
    let outside = failures.iter().filter(|(name, _)| is_fixture(name)).count() as u64;
    parsed.found = true;
    let status = lines[end..].iter().find_map(|line| status(line));
    parsed.counts = status.map_or_else(Counts::default, |status| status.counts(ran, outside));
    for (name, message) in failures {
        parsed.name_failure(name, &message);
    }
    parsed
}

/// The numbers of each result in a text, for output that others made from unittest's.
pub(crate) fn summaries(text: &str) -> Option<Counts> {
    let lines: Vec<&str> = text.lines().collect();
    let mut sum = None;
    for (at, ran) in lines.iter().enumerate().filter_map(|(at, line)| Some((at, ran(line)?))) {
        let status = lines[at + 1..].iter().take(3).find_map(|line| status(line));
        if let Some(status) = status {
            sum.get_or_insert_with(Counts::default).add(status.counts(ran, 0));
        }
    }
    sum
}

/// `Ran 12 tests in 0.003s`.
fn ran(line: &str) -> Option<u64> {
    let (count, time) = line.strip_prefix("Ran ")?.split_once(" in ")?;
    let number = number_before(count, "tests").or_else(|| number_before(count, "test"));
    number.filter(|_| is_seconds(time))
}

/// What stands in the brackets behind `OK` or `FAILED`.
#[derive(Default)]
struct Status {
    failures: u64,
    errors: u64,
    skipped: u64,
    expected_failures: u64,
    unexpected_successes: u64,
}

impl Status {
    /// The numbers, of `ran` tests, where `outside` errors are no test's own:
    /// those of `setUpClass` and the like, which `Ran` does not count.
    fn counts(&self, ran: u64, outside: u64) -> Counts {
        let failed = self.failures.saturating_add(self.errors).saturating_add(self.unexpected_successes);
        let skipped = self.skipped.saturating_add(self.expected_failures);
        let passed = ran.saturating_add(outside).saturating_sub(failed).saturating_sub(skipped);
        Counts { passed, failed, skipped }
    }
}

/// `OK`, `FAILED (failures=1, errors=2, skipped=3)`, `NO TESTS RAN`.
fn status(line: &str) -> Option<Status> {
    let rest = ["OK", "FAILED", "NO TESTS RAN"].iter().find_map(|word| line.strip_prefix(word))?.trim();
    let mut status = Status::default();
    if rest.is_empty() {
        return Some(status);
    }
    for part in rest.strip_prefix('(')?.strip_suffix(')')?.split(", ") {
        let (key, value) = part.split_once('=')?;
        let field = match key {
            "failures" => &mut status.failures,
            "errors" => &mut status.errors,
            "skipped" => &mut status.skipped,
            "expected failures" => &mut status.expected_failures,
            "unexpected successes" => &mut status.unexpected_successes,
            _ => return None,
        };
        *field = value.parse().ok()?;
    }
    Some(status)
}

/// Whether a failure is of a fixture and not of a test.
fn is_fixture(name: &str) -> bool {
    ["setUpClass (", "tearDownClass (", "setUpModule (", "tearDownModule ("]
        .iter()
        .any(|fixture| name.starts_with(fixture))
}

/// Names and tracebacks of the failures.
fn failures<'a>(lines: &[&'a str]) -> Vec<(&'a str, String)> {
    let mut failures: Vec<(&str, String)> = Vec::new();
    let mut rest = lines;
    while let Some(at) = rest.iter().position(|line| *line == DOUBLE) {
        rest = &rest[at + 1..];
        let Some(heading) = rest.first() else { break };
        let name =
            ["FAIL: ", "ERROR: ", "UNEXPECTED SUCCESS: "].iter().find_map(|kind| heading.strip_prefix(kind));
        let Some(name) = name else { continue };
        // Between the name and the traceback stand the first line of the
        // docstring, if there is one, and a rule.
        let from = rest.iter().take(4).position(|line| *line == SINGLE).map_or(1, |at| at + 1);
        let to = rest[from..].iter().position(|line| *line == DOUBLE || *line == SINGLE);
        let to = to.map_or(rest.len(), |to| from + to);
        failures.push((name, rest[from..to].join("\n")));
        rest = &rest[to..];
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::finished;

    #[test]
    fn failures_errors_skips_and_expected_failures_are_told_apart() {
        let parsed = parse(&finished("", include_str!("../../tests/fixtures/unittest.err"), 1));
        assert_eq!(parsed.counts, Counts { passed: 3, failed: 5, skipped: 2 });
        let names: Vec<_> = parsed.failures.iter().map(|f| f.name.as_str()).collect();
        assert!(names.iter().any(|name| name.contains("test_equal")), "{names:?}");
        assert!(parsed.failures.iter().any(|f| f.message.contains("AssertionError: 1 != 2")), "{parsed:?}");
    }

    #[test]
    fn a_result_that_a_test_printed_is_not_the_runners() {
        let err = "Ran 900 tests in 0.1s\n\nOK\n.\n----\nRan 1 test in 0.000s\n\nOK\n";
        assert_eq!(parse(&finished("", err, 0)).counts.passed, 1);
    }

    #[test]
    fn output_without_a_result_has_no_numbers() {
        assert!(!parse(&finished("Ran 3 tests in 1s\nOK", "Traceback", 1)).found);
        assert!(!parse(&finished("", "Ran x tests in 1s", 1)).found);
    }
}
