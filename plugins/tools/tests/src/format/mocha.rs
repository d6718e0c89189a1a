//! mocha's JSON report.

use serde::Deserialize;

use crate::report::{Counts, Parsed};
use crate::text::{clean, without_foreign_frames};

#[derive(Deserialize)]
struct Report {
    stats: Stats,
    failures: Vec<Test>,
}

#[derive(Deserialize)]
struct Stats {
    passes: u64,
    failures: u64,
    pending: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    #[serde(default)]
    full_title: String,
    #[serde(default)]
    err: Fault,
}

#[derive(Default, Deserialize)]
struct Fault {
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    stack: Option<String>,
}

/// Reads a report. None if it is not one, or is cut off.
pub(crate) fn parse(json: &str) -> Option<Parsed> {
    let report: Report = serde_json::from_str(json).ok()?;
    Some(read(&report))
}

/// Finds the report in what mocha printed among other things: versions before
/// 9.2 know no report file. Of several, the last one that is whole.
pub(crate) fn find(stdout: &str) -> Option<Parsed> {
    let starts = stdout.rmatch_indices("{\n  \"stats\": {").take(4);
    let mut reports = starts.filter_map(|(at, _)| {
        serde_json::Deserializer::from_str(&stdout[at..]).into_iter::<Report>().next()?.ok()
    });
    reports.next().map(|report| read(&report))
}

fn read(report: &Report) -> Parsed {
    let Stats { passes, failures, pending } = report.stats;
    let counts = Counts { passed: passes, failed: failures, skipped: pending };
    let mut parsed = Parsed { counts, found: true, ..Parsed::default() };
    for test in &report.failures {
        // The stack begins with the message where there is a stack.
        let text = test.err.stack.as_deref().filter(|stack| !stack.is_empty());
        let text = text.or(test.err.message.as_deref()).unwrap_or_default();
        parsed.name_failure(&test.full_title, &without_foreign_frames(&clean(text.as_bytes())));
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = include_str!("../../tests/fixtures/mocha.json");

    #[test]
    fn tests_and_hooks_that_failed_are_failures() {
        let parsed = parse(REPORT).expect("a report");
        assert_eq!(parsed.counts, Counts { passed: 1, failed: 2, skipped: 2 });
        assert_eq!(parsed.failures[0].name, "sums breaks");
        assert!(parsed.failures[0].message.contains("1 !== 2"), "{parsed:?}");
        assert!(parsed.failures[1].name.contains("before all"), "{parsed:?}");
        assert!(!parsed.failures[1].message.contains("node:internal"), "{parsed:?}");
    }

    #[test]
    fn a_report_is_found_among_what_tests_printed() {
        let stdout = format!("{{\n  \"stats\": {{ broken\n{REPORT}\nbye\n");
        assert_eq!(find(&stdout).map(|parsed| parsed.counts.failed), Some(2));
        assert!(find("{\n  \"stats\": {").is_none());
    }
}
