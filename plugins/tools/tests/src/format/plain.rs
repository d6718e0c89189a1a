//! Output of whatever was run: every summary line that is known is read, and
//! the numbers are added up.
//!
//! A program can print what it likes, so this is the last resort. It is used
//! for Makefiles and scripts whose runner cannot be asked for a report.

use crate::format::{cargo, tap, unittest};
use crate::report::{Counts, Parsed};
use crate::run::Run;
use crate::text::{is_seconds, number_before, tail};

/// Reads any output. Without a known summary, the command itself counts as one test.
pub(crate) fn parse(run: &Run) -> Parsed {
    if let Some(parsed) = summaries(&run.both) {
        return parsed;
    }
    let mut parsed = Parsed { found: true, ..Parsed::default() };
    if run.succeeded() {
        parsed.counts.passed = 1;
    } else {
        parsed.add_failure("run", tail(&run.both, 1_500));
    }
    parsed
}

/// The numbers of all summaries that a text holds. None if it holds none.
pub(crate) fn summaries(text: &str) -> Option<Parsed> {
    let mut sum: Option<Counts> = None;
    let mut add = |counts: Option<Counts>| {
        if let Some(counts) = counts {
            sum.get_or_insert_default().add(counts);
        }
    };
    add(cargo::summaries(text));
    add(unittest::summaries(text));
    for read in [pytest, jest, vitest, ava, jasmine, surefire, dotnet, rspec, minitest, ctest] {
        text.lines().for_each(|line| add(read(line.trim())));
    }
    add(mocha(text));
    add(columns(text, "# ", &AUTOMAKE));
    add(columns(text, "ℹ ", &NODE));
    add(columns(text, "# ", &NODE));
    add(uvu(text));
    // without a plan, `ok` is anybody's word: of `go test` for a package, say
    let is_tap = text.lines().any(|line| line.starts_with("TAP version ") || line.starts_with("1.."));
    let mut parsed = if sum.is_none() && is_tap { tap::parse(text) } else { Parsed::default() };
    if let Some(counts) = sum {
        parsed.found = true;
        parsed.counts = counts;
    }
    parsed.found.then_some(parsed)
}

/// Numbers of the form `3 passed`, by the words that stand behind them. None
/// if a part is of another form or none counts tests.
fn worded<'a>(parts: impl Iterator<Item = &'a str>) -> Option<Counts> {
    let mut counts = Counts::default();
    let mut known = false;
    for part in parts {
        let (number, word) = part.trim().split_once(' ')?;
        let number: u64 = number.parse().ok()?;
        match word.trim() {
            "passed" | "xpassed" => counts.passed = counts.passed.saturating_add(number),
            "failed" | "error" | "errors" => counts.failed = counts.failed.saturating_add(number),
            "skipped" | "xfailed" | "pending" | "todo" => {
                counts.skipped = counts.skipped.saturating_add(number)
            }
            _ => continue,
        }
        known = true;
    }
    known.then_some(counts)
}

/// `=== 1 failed, 3 passed, 1 skipped, 2 warnings in 0.12s (0:00:12) ===`.
fn pytest(line: &str) -> Option<Counts> {
    let line = line.trim_matches('=').trim();
    let (parts, time) = line.rsplit_once(" in ")?;
    time.split_whitespace().next().filter(|time| is_seconds(time))?;
    worded(parts.split(", "))
}

/// `Tests:       1 failed, 2 passed, 3 total`.
fn jest(line: &str) -> Option<Counts> {
    let parts = line.strip_prefix("Tests:")?.trim();
    let (parts, total) = parts.rsplit_once(", ").unwrap_or(("", parts));
    let total = number_before(total, " total")?;
    if total == 0 { Some(Counts::default()) } else { worded(parts.split(", ")) }
}

/// `Tests  1 failed | 2 passed (3)`.
fn vitest(line: &str) -> Option<Counts> {
    let (parts, total) = line.strip_prefix("Tests ")?.rsplit_once(" (")?;
    total.strip_suffix(')')?.parse::<u64>().ok()?;
    worded(parts.split(" | "))
}

/// `3 tests passed`, `1 test failed`, `2 known failures`.
fn ava(line: &str) -> Option<Counts> {
    let (number, words) = line.split_once(' ')?;
    let number: u64 = number.parse().ok()?;
    match words {
        "test passed" | "tests passed" => Some(Counts { passed: number, ..Counts::default() }),
        "test failed" | "tests failed" | "uncaught exception" | "uncaught exceptions" => {
            Some(Counts { failed: number, ..Counts::default() })
        }
        "test skipped" | "tests skipped" | "test todo" | "tests todo" | "known failure"
        | "known failures" => Some(Counts { skipped: number, ..Counts::default() }),
        _ => None,
    }
}

/// `5 specs, 1 failure, 1 pending spec`.
fn jasmine(line: &str) -> Option<Counts> {
    of_total(line, ", ", &["specs", "spec"], &["failures", "failure"], &["pending specs", "pending spec"])
}

/// `5 examples, 1 failure, 1 pending`.
fn rspec(line: &str) -> Option<Counts> {
    let line = line.split(", ").filter(|part| !part.contains(" error")).collect::<Vec<_>>().join(", ");
    of_total(&line, ", ", &["examples", "example"], &["failures", "failure"], &["pending"])
}

/// `5 runs, 9 assertions, 1 failures, 0 errors, 1 skips`.
fn minitest(line: &str) -> Option<Counts> {
    let line = line.split(", ").filter(|part| !part.contains(" assertion")).collect::<Vec<_>>().join(", ");
    of_total(
        &line,
        ", ",
        &["runs", "tests"],
        &["failures", "errors"],
        &["skips", "pendings", "omissions", "notifications"],
    )
}

/// A total first, then parts of it; both must be there.
fn of_total(
    line: &str,
    separator: &str,
    total: &[&str],
    failed: &[&str],
    skipped: &[&str],
) -> Option<Counts> {
    let number =
        |part: &str, words: &[&str]| words.iter().find_map(|word| number_before(part, &format!(" {word}")));
    let mut parts = line.split(separator);
    let total = number(parts.next()?, total)?;
    let (mut failures, mut skips, mut any) = (0_u64, 0_u64, false);
    for part in parts {
        if let Some(n) = number(part, failed) {
            any = true;
            failures = failures.saturating_add(n);
        } else if let Some(n) = number(part, skipped) {
            skips = skips.saturating_add(n);
        } else if !part.contains('%') {
            return None;
        }
    }
    let passed = total.checked_sub(failures.checked_add(skips)?)?;
    any.then_some(Counts { passed, failed: failures, skipped: skips })
}

/// `Tests run: 5, Failures: 1, Errors: 0, Skipped: 1`, the one without a time
/// or a class: those are parts of it.
fn surefire(line: &str) -> Option<Counts> {
    let rest = &line[line.find("Tests run: ")?..];
    if rest.contains("Time elapsed") {
        return None;
    }
    let mut numbers = [0_u64; 4];
    let mut parts = rest.split(", ");
    for (number, key) in numbers.iter_mut().zip(["Tests run: ", "Failures: ", "Errors: ", "Skipped: "]) {
        *number = parts.next()?.trim().strip_prefix(key)?.parse().ok()?;
    }
    let [total, failures, errors, skipped] = numbers;
    let failed = failures.checked_add(errors)?;
    Some(Counts { passed: total.checked_sub(failed.checked_add(skipped)?)?, failed, skipped })
}

/// `Passed!  - Failed:     0, Passed:     5, Skipped:     0, Total:     5, Duration: 3 ms`.
fn dotnet(line: &str) -> Option<Counts> {
    let rest = &line[line.find("- Failed:")? + 2..];
    let mut parts = rest.split(',');
    let mut next = |key| parts.next()?.trim().strip_prefix(key)?.trim().parse::<u64>().ok();
    Some(Counts { failed: next("Failed:")?, passed: next("Passed:")?, skipped: next("Skipped:")? })
}

/// `80% tests passed, 1 tests failed out of 5`.
fn ctest(line: &str) -> Option<Counts> {
    let (passed, rest) = line.split_once("% tests passed, ")?;
    passed.parse::<u64>().ok()?;
    let (failed, total) = rest.split_once(" tests failed out of ")?;
    let (failed, total): (u64, u64) = (failed.parse().ok()?, total.parse().ok()?);
    Some(Counts { passed: total.checked_sub(failed)?, failed, skipped: 0 })
}

/// mocha's `3 passing (5ms)`, `1 pending`, `2 failing`, each on its own line.
fn mocha(text: &str) -> Option<Counts> {
    let mut sum: Option<Counts> = None;
    // What comes before the first `passing` is a test's title.
    for line in text.lines().map(str::trim) {
        let without_time = line.split_once(" (").map_or(line, |(words, _)| words);
        if let Some(passed) = number_before(without_time, " passing").filter(|_| line.ends_with(')')) {
            sum.get_or_insert_default().add(Counts { passed, ..Counts::default() });
        } else if let (Some(failed), Some(sum)) = (number_before(line, " failing"), &mut sum) {
            sum.add(Counts { failed, ..Counts::default() });
        } else if let (Some(skipped), Some(sum)) = (number_before(line, " pending"), &mut sum) {
            sum.add(Counts { skipped, ..Counts::default() });
        }
    }
    sum
}

/// A key of a table of numbers, and what it counts, if that is wanted.
type Key = (&'static str, Option<fn(&mut Counts) -> &mut u64>);

/// automake's `# PASS: 3`.
const AUTOMAKE: [Key; 6] = [
    ("PASS:", Some(|counts| &mut counts.passed)),
    ("SKIP:", Some(|counts| &mut counts.skipped)),
    ("XFAIL:", Some(|counts| &mut counts.skipped)),
    ("FAIL:", Some(|counts| &mut counts.failed)),
    ("XPASS:", Some(|counts| &mut counts.failed)),
    ("ERROR:", Some(|counts| &mut counts.failed)),
];

/// What node and tape write at the end: `ℹ pass 3`, or `# pass 3` in TAP.
const NODE: [Key; 6] = [
    ("tests ", None),
    ("pass ", Some(|counts| &mut counts.passed)),
    ("fail ", Some(|counts| &mut counts.failed)),
    ("cancelled ", Some(|counts| &mut counts.failed)),
    ("skipped ", Some(|counts| &mut counts.skipped)),
    ("todo ", Some(|counts| &mut counts.skipped)),
];

/// A table of which at least two keys must be there.
fn columns(text: &str, bullet: &str, keys: &[Key]) -> Option<Counts> {
    let mut counts = Counts::default();
    let mut rows = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix(bullet)) {
        for (key, field) in keys {
            if let Some(number) = line.strip_prefix(key).and_then(|n| n.trim().parse::<u64>().ok()) {
                rows += 1;
                if let Some(field) = field {
                    let field = field(&mut counts);
                    *field = field.saturating_add(number);
                }
            }
        }
    }
    (rows >= 2).then_some(counts)
}

/// uvu's `Total: 5`, `Passed: 4`, `Skipped: 1` on three lines.
fn uvu(text: &str) -> Option<Counts> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut sum: Option<Counts> = None;
    for window in lines.windows(3) {
        let number = |at: usize, key| window[at].strip_prefix(key)?.trim().parse::<u64>().ok();
        if let (Some(total), Some(passed), Some(skipped)) =
            (number(0, "Total:"), number(1, "Passed:"), number(2, "Skipped:"))
            && let Some(failed) = total.checked_sub(passed)
        {
            // uvu's total leaves the skipped ones out.
            sum.get_or_insert_default().add(Counts { passed, failed, skipped });
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::finished;

    #[test]
    fn known_summaries_are_read() {
        let cases = [
            ("===== 1 failed, 3 passed, 2 skipped, 1 xfailed, 4 warnings in 0.12s =====", (3, 1, 3)),
            ("3 passed, 1 deselected in 61.00s (0:01:01)", (3, 0, 0)),
            (
                "Test Suites: 1 passed, 1 total\nTests:       1 failed, 1 skipped, 1 todo, 2 passed, 5 total",
                (2, 1, 2),
            ),
            (
                " Test Files  1 failed | 1 passed (2)\n      Tests  1 failed | 2 passed | 1 skipped (4)",
                (2, 1, 1),
            ),
            ("  12 passing (31ms)\n  1 pending\n  2 failing\n\n  1) sums:\n", (12, 2, 1)),
            ("  3 tests passed\n  1 test failed\n  1 test skipped", (3, 1, 1)),
            ("5 specs, 1 failure, 1 pending spec", (3, 1, 1)),
            ("9 examples, 0 failures", (9, 0, 0)),
            ("12 runs, 30 assertions, 1 failures, 1 errors, 2 skips", (8, 2, 2)),
            (
                "[INFO] Tests run: 3, Failures: 0, Errors: 0, Skipped: 0, Time elapsed: 0.1 s - in A\n\
              [ERROR] Tests run: 5, Failures: 1, Errors: 1, Skipped: 1",
                (2, 2, 1),
            ),
            (
                "Failed!  - Failed:     1, Passed:     4, Skipped:     2, Total:     7, Duration: 3 ms",
                (4, 1, 2),
            ),
            ("80% tests passed, 1 tests failed out of 5", (4, 1, 0)),
            ("# TOTAL: 5\n# PASS:  2\n# SKIP:  1\n# XFAIL: 1\n# FAIL:  1\n# XPASS: 0\n# ERROR: 0", (2, 1, 2)),
            ("ℹ tests 7\nℹ suites 1\nℹ pass 3\nℹ fail 2\nℹ cancelled 0\nℹ skipped 1\nℹ todo 1", (3, 2, 2)),
            ("Tests:       2 passed, 2 total\nTAP version 13\nok 1 - a\n# tests 1\n# pass  1\n", (3, 0, 0)),
            ("  Total:     5\n  Passed:    4\n  Skipped:   1\n  Duration:  3ms", (4, 1, 1)),
            ("Ran 3 tests in 0.001s\n\nFAILED (failures=1)\nRan 2 tests in 0.001s\n\nOK", (4, 1, 0)),
            ("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out", (3, 0, 1)),
            ("ok 1 - a\nnot ok 2 - b\n1..2", (1, 1, 0)),
        ];
        for (text, (passed, failed, skipped)) in cases {
            let parsed = summaries(text).unwrap_or_else(|| panic!("nothing found in {text}"));
            assert_eq!(parsed.counts, Counts { passed, failed, skipped }, "{text}");
        }
    }

    #[test]
    fn words_that_look_like_a_summary_are_not_one() {
        for text in [
            "it passed in 3s",
            "Tests: none",
            "18446744073709551616 passed in 1s",
            "3 failing conditions",
            "1 spec, x failures",
            "Tests run: 1, Failures: 5, Errors: 0, Skipped: 0",
            "# PASS: 3",
            "ok  \texample.com/a\t0.01s\nFAIL\texample.com/b\t0.02s",
        ] {
            assert_eq!(summaries(text), None, "{text}");
        }
    }

    #[test]
    fn without_numbers_the_command_is_one_test() {
        assert_eq!(parse(&finished("fine\n", "", 0)).counts, Counts { passed: 1, failed: 0, skipped: 0 });
        let parsed = parse(&finished("", "boom\n", 2));
        assert_eq!((parsed.counts.failed, parsed.failures[0].message.as_str()), (1, "boom"));
    }
}
