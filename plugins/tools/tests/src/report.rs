//! What a run of tests came to, for the model as text and for the host as JSON.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::text::{clip, head_and_tail};

/// The most failures that are kept with their messages.
pub(crate) const MAX_FAILURES: usize = 100;
/// The most failures whose messages the model is shown at once.
const SHOWN_FAILURES: usize = 20;
/// The longest message kept, in bytes.
const MAX_MESSAGE: usize = 2_000;
/// The longest name kept, in bytes.
const MAX_NAME: usize = 300;

/// Numbers of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed, and whatever kept tests from running.
    pub(crate) failed: u64,
    /// Tests that were not run, or whose failure was expected.
    pub(crate) skipped: u64,
}

impl Counts {
    /// All of them.
    pub(crate) fn total(self) -> u64 {
        self.passed.saturating_add(self.failed).saturating_add(self.skipped)
    }

    /// Adds the numbers of another part of the run.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed = self.passed.saturating_add(other.passed);
        self.failed = self.failed.saturating_add(other.failed);
        self.skipped = self.skipped.saturating_add(other.skipped);
    }
}

/// One test that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Failure {
    /// The test's name as its runner gives it; `build` when the tests did not
    /// compile, `run` when the runner itself failed.
    pub(crate) name: String,
    /// What it said.
    pub(crate) message: String,
}

/// What a parser found in a runner's output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// The numbers.
    pub(crate) counts: Counts,
    /// The failures, bounded in number and length.
    pub(crate) failures: Vec<Failure>,
    /// Whether the output held numbers at all.
    pub(crate) found: bool,
}

impl Parsed {
    /// Keeps a failure's name and message; counts nothing.
    pub(crate) fn name_failure(&mut self, name: &str, message: &str) {
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(Failure {
                name: clip(name.trim(), MAX_NAME),
                message: head_and_tail(message.trim(), MAX_MESSAGE),
            });
        }
    }

    /// Counts and keeps a failure that is not a test's own.
    pub(crate) fn add_failure(&mut self, name: &str, message: &str) {
        self.found = true;
        self.counts.failed = self.counts.failed.saturating_add(1);
        self.name_failure(name, message);
    }
}

/// The result of one call.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// What was run, without what was added to read its results; empty if nothing was.
    pub(crate) command: Vec<String>,
    /// How its results were read; absent if nothing was run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<crate::format::Format>,
    /// The numbers; `null` if there are no tests.
    pub(crate) counts: Option<Counts>,
    /// At most 100 failures.
    pub(crate) failures: Vec<Failure>,
    /// The command's exit status; `null` if it did not exit by itself.
    pub(crate) exit_code: Option<u8>,
    /// What told how to run the tests.
    pub(crate) detected_by: String,
    /// Whether the command was stopped because its time ran out.
    pub(crate) timed_out: bool,
    /// What else should be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

impl Report {
    /// That there is nothing to run, and why.
    pub(crate) fn no_tests(reason: &str) -> Self {
        Self {
            command: Vec::new(),
            format: None,
            counts: None,
            failures: Vec::new(),
            exit_code: None,
            detected_by: "nothing".to_owned(),
            timed_out: false,
            note: Some(format!("no tests found: {reason}")),
        }
    }

    /// The text for the model.
    pub(crate) fn text(&self, output_tail: &str) -> String {
        let mut text = String::new();
        match self.counts {
            Some(Counts { passed, failed, skipped }) => {
                let _ = write!(text, "{passed} passed, {failed} failed, {skipped} skipped");
            }
            None => text.push_str(self.note.as_deref().unwrap_or("no tests found")),
        }
        if !self.command.is_empty() {
            let end = match (self.timed_out, self.exit_code) {
                (true, _) => "stopped: its time ran out".to_owned(),
                (false, Some(code)) => format!("exit status {code}"),
                (false, None) => "ended by a signal".to_owned(),
            };
            let _ = write!(text, "\n$ {} ({end})", shell_words(&self.command));
        }
        if let (Some(_), Some(note)) = (self.counts, &self.note) {
            let _ = write!(text, "\nnote: {note}");
        }
        self.write_failures(&mut text);
        let unexplained = self.failures.is_empty() && (self.counts.is_none() || self.exit_code != Some(0));
        if unexplained && !output_tail.is_empty() {
            let _ = write!(text, "\n\nEnd of the output:\n{output_tail}");
        }
        text
    }

    fn write_failures(&self, text: &mut String) {
        for (index, failure) in self.failures.iter().enumerate() {
            if index == SHOWN_FAILURES {
                text.push_str("\n\nFailed as well:");
            }
            if index < SHOWN_FAILURES {
                let _ = write!(text, "\n\n--- {}", failure.name);
                if !failure.message.is_empty() {
                    let _ = write!(text, "\n{}", failure.message);
                }
            } else {
                let _ = write!(text, "\n{}", failure.name);
            }
        }
        let failed = self.counts.map_or(0, |counts| counts.failed);
        let kept = self.failures.len() as u64;
        if failed > kept && kept > 0 {
            let _ = write!(text, "\n\n{} more failures are not listed.", failed - kept);
        }
    }
}

/// An argument vector as one would type it, at most 400 bytes of it.
fn shell_words(argv: &[String]) -> String {
    let quote = |arg: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@%+,".contains(c);
        if !arg.is_empty() && arg.chars().all(plain) {
            arg.clone()
        } else {
            format!("'{}'", arg.replace('\'', r"'\''"))
        }
    };
    clip(&argv.iter().map(quote).collect::<Vec<_>>().join(" "), 400)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    fn report(failures: usize) -> Report {
        let mut parsed = Parsed::default();
        for n in 0..failures {
            parsed.add_failure(&format!("test {n}"), &"x".repeat(10_000));
        }
        Report {
            command: vec!["make".into(), "my test".into()],
            format: Some(Format::Plain),
            counts: Some(parsed.counts),
            failures: parsed.failures,
            exit_code: Some(2),
            detected_by: "Makefile".into(),
            timed_out: false,
            note: None,
        }
    }

    #[test]
    fn many_long_failures_stay_within_their_bounds() {
        let report = report(5_000);
        assert_eq!((report.counts.map(|c| c.failed), report.failures.len()), (Some(5_000), 100));
        let text = report.text("tail");
        assert!(text.len() < 60_000, "{}", text.len());
        assert!(text.ends_with("4900 more failures are not listed."), "{text}");
        assert!(text.contains("$ make 'my test' (exit status 2)"), "{text}");
    }

    #[test]
    fn the_end_of_the_output_is_shown_when_nothing_else_tells_the_cause() {
        assert!(report(0).text("make: *** Error").ends_with("End of the output:\nmake: *** Error"));
        assert!(!report(1).text("make: *** Error").contains("make: ***"));
    }
}
