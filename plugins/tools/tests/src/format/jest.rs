//! The JSON reports of jest, and of vitest, which writes the same.

use serde::Deserialize;

use crate::report::Parsed;
use crate::text::{clean, without_foreign_frames};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    test_results: Vec<Suite>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Suite {
    #[serde(default)]
    name: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    assertion_results: Vec<Test>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    #[serde(default)]
    full_name: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    failure_messages: Option<Vec<String>>,
}

/// Reads a report. None if it is not one, or is cut off.
pub(crate) fn parse(json: &str) -> Option<Parsed> {
    let report: Report = serde_json::from_str(json).ok()?;
    let mut parsed = Parsed { found: true, ..Parsed::default() };
    for suite in &report.test_results {
        for test in &suite.assertion_results {
            match test.status.as_str() {
                "passed" => parsed.counts.passed += 1,
                "failed" => {
                    let messages = test.failure_messages.as_deref().unwrap_or_default().join("\n\n");
                    parsed.add_failure(&test.full_name, &without_foreign_frames(&clean(messages.as_bytes())));
                }
                _ => parsed.counts.skipped += 1,
            }
        }
        // A file that could not be run has no tests to blame.
        let blamed = suite.assertion_results.iter().any(|test| test.status == "failed");
        if suite.status == "failed" && !blamed {
            let message = suite.message.as_deref().unwrap_or_default();
            parsed.add_failure(&suite.name, &without_foreign_frames(&clean(message.as_bytes())));
        }
    }
    Some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Counts;

    #[test]
    fn tests_that_failed_and_files_that_could_not_run_are_failures() {
        for (json, file) in [
            (include_str!("../../tests/fixtures/jest.json"), "/app/b.test.js"),
            (include_str!("../../tests/fixtures/vitest.json"), "/app/b.test.mjs"),
        ] {
            let parsed = parse(json).expect("a report");
            assert_eq!(parsed.counts, Counts { passed: 1, failed: 2, skipped: 2 });
            let mut failures = parsed.failures;
            failures.sort_by(|a, b| b.name.cmp(&a.name));
            assert_eq!((failures[0].name.as_str(), failures[1].name.as_str()), ("sums breaks", file));
            assert!(failures[0].message.contains("Object.is equality"), "{failures:?}");
            assert!(!failures[0].message.contains("node_modules"), "{failures:?}");
            assert!(failures[1].message.contains("nothing-here"), "{failures:?}");
        }
    }

    #[test]
    fn what_is_cut_off_or_no_report_is_none() {
        let json = include_str!("../../tests/fixtures/jest.json");
        assert!(parse(&json[..json.len() - 5]).is_none());
        assert!(parse("[1]").is_none());
        assert!(parse(&"[".repeat(1_000_000)).is_none());
    }
}
