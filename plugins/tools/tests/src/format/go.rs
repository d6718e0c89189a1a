//! `go test -json`: one event a line.
//!
//! A test with subtests is not counted beside them, unless it failed although
//! all of them passed.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use crate::report::Parsed;
use crate::run::Run;
use crate::text::{clean, tail};

/// The most tests whose output is kept until their result is known, in bytes each.
const MAX_OUTPUT: usize = 8_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    action: String,
    #[serde(default)]
    package: String,
    #[serde(default)]
    test: String,
    #[serde(default)]
    output: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// Reads a run of `go test -json`.
pub(crate) fn parse(run: &Run) -> Parsed {
    let mut parsed = Parsed::default();
    let mut outcomes: BTreeMap<(String, String), Outcome> = BTreeMap::new();
    let mut outputs: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut build = String::new();
    for line in run.stdout.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
        parsed.found = true;
        let key = (line.package, line.test);
        match line.action.as_str() {
            "output" => append(outputs.entry(key).or_default(), &line.output),
            // Since Go 1.24; before, the compiler's words are on standard error.
            "build-output" => append(&mut build, &line.output),
            "pass" => drop(outcomes.insert(key, Outcome::Passed)),
            "fail" => drop(outcomes.insert(key, Outcome::Failed)),
            "skip" => drop(outcomes.insert(key, Outcome::Skipped)),
            _ => {}
        }
    }
    build.push_str(&run.stderr);
    // Before Go 1.20 these lines are not events.
    for line in run.stdout.lines().filter(|line| line.starts_with("FAIL\t") && is_unbuilt(line)) {
        parsed.add_failure("build", &format!("{line}\n{}", tail(&build, 1_500)));
    }
    count(&outcomes, &outputs, &build, &mut parsed);
    parsed
}

fn append(output: &mut String, text: &str) {
    if output.len() < MAX_OUTPUT {
        output.push_str(text);
    }
}

fn is_unbuilt(output: &str) -> bool {
    output.contains("[build failed]") || output.contains("[setup failed]")
}

type ByTest<T> = BTreeMap<(String, String), T>;

fn count(outcomes: &ByTest<Outcome>, outputs: &ByTest<String>, build: &str, parsed: &mut Parsed) {
    let mut parents = HashSet::new();
    let mut blamed = HashSet::new();
    for ((package, test), outcome) in outcomes.iter().filter(|((_, test), _)| !test.is_empty()) {
        for (at, _) in test.match_indices('/') {
            parents.insert((package.as_str(), &test[..at]));
            if *outcome == Outcome::Failed {
                blamed.insert((package.as_str(), &test[..at]));
            }
        }
        if *outcome == Outcome::Failed {
            blamed.insert((package.as_str(), ""));
        }
    }
    for (key, outcome) in outcomes {
        let (package, test) = (key.0.as_str(), key.1.as_str());
        let has_children = test.is_empty() || parents.contains(&(package, test));
        let output = outputs.get(key).map_or("", String::as_str);
        match outcome {
            Outcome::Failed if test.is_empty() && !blamed.contains(&(package, "")) => {
                let (name, message) = if is_unbuilt(output) { ("build", build) } else { (package, output) };
                parsed.add_failure(name, tail(&clean(message.as_bytes()), 2_000));
            }
            Outcome::Failed if !test.is_empty() && (!has_children || !blamed.contains(&(package, test))) => {
                parsed.add_failure(&format!("{package}.{test}"), &clean(output.as_bytes()));
            }
            Outcome::Passed if !has_children => parsed.counts.passed += 1,
            Outcome::Skipped if !has_children => parsed.counts.skipped += 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Counts;
    use crate::run::finished;

    #[test]
    fn subtests_are_counted_and_their_parents_are_not() {
        let parsed = parse(&finished(include_str!("../../tests/fixtures/go.jsonl"), "", 1));
        assert_eq!(parsed.counts, Counts { passed: 2, failed: 2, skipped: 1 });
        let names: Vec<_> = parsed.failures.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["example.com/calc.TestAdd/negative", "example.com/calc.TestDiv"]);
        assert!(parsed.failures[0].message.contains("got -3, want -1"), "{parsed:?}");
    }

    #[test]
    fn a_package_that_does_not_build_is_one_failure_with_the_compilers_words() {
        let out = include_str!("../../tests/fixtures/go-build.jsonl");
        let err = include_str!("../../tests/fixtures/go-build.err");
        let parsed = parse(&finished(out, err, 1));
        assert_eq!((parsed.counts.failed, parsed.failures[0].name.as_str()), (1, "build"));
        assert!(parsed.failures[0].message.contains("undefined: nothing"), "{parsed:?}");
    }

    #[test]
    fn lines_that_are_no_events_are_passed_over() {
        let out = "go: downloading x\n{\"Action\":\n{\"Action\":\"pass\",\"Package\":\"p\",\"Test\":\"T\"}\n";
        assert_eq!(parse(&finished(out, "", 0)).counts.passed, 1);
    }
}
