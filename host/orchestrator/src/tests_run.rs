//! The tests of the repository, run by the platform through the same tool
//! that the model has.

use serde::Deserialize;
use serde_json::{Value, json};
use sortie_core::Actor;
use sortie_core::action::ToolCall;
use sortie_core::event::Event;
use sortie_core::outcome::TestCounts;
use sortie_core::text::one_line;
use sortie_policy::ports::{ErrorCode, Invocation, PortError, Tools};

use crate::run::{RunError, TaskRun, port};

/// The tool that runs tests.
const TOOL: &str = "run_tests";
/// Names of failed tests that are kept.
const FAILURES: usize = 100;

/// A run of the tests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct TestRun {
    /// The command; the same runs again to verify.
    #[serde(default)]
    pub(crate) command: Vec<String>,
    /// How its output is read.
    #[serde(default)]
    pub(crate) format: String,
    /// The numbers; none if there were none to read.
    #[serde(default)]
    pub(crate) counts: Option<TestCounts>,
    #[serde(default)]
    failures: Vec<Failure>,
    /// The status that the command ended with; none if it was killed.
    #[serde(default)]
    exit_code: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Failure {
    #[serde(default)]
    name: String,
}

impl TestRun {
    /// The numbers in words, and the first failures by name.
    pub(crate) fn describe(&self) -> String {
        let Some(counts) = &self.counts else {
            return "no numbers could be read".into();
        };
        let mut text =
            format!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped);
        if !self.failures.is_empty() {
            let names: Vec<_> = self.failures.iter().take(10).map(|f| one_line(&f.name, 200)).collect();
            text.push_str(&format!(" (failed: {})", names.join(", ")));
        }
        text
    }

    /// Whether the tests did not run at all: they do not build, or their
    /// runner does not start. The tool names that failure itself.
    pub(crate) fn did_not_run(&self) -> bool {
        let nothing = self.counts.as_ref().is_none_or(|counts| counts.passed == 0 && counts.failed <= 1);
        nothing && self.failures.iter().any(|failure| matches!(failure.name.as_str(), "build" | "run"))
    }

    /// Why this run is worse than an earlier one, if it is.
    pub(crate) fn worse_than(&self, earlier: &Self) -> Option<String> {
        match (&earlier.counts, &self.counts) {
            (Some(_), None) => Some("the tests gave numbers before and give none now".into()),
            (Some(before), Some(now)) if now.failed > before.failed => {
                Some(format!("{} tests fail, {} did before", now.failed, before.failed))
            }
            (Some(before), Some(now)) if now.passed < before.passed => {
                Some(format!("{} tests pass, {} did before", now.passed, before.passed))
            }
            // a coverage threshold, a warning that counts as an error
            _ if earlier.exit_code == Some(0) && self.exit_code != Some(0) => {
                Some("the test command succeeded before and does not now, whatever its numbers say".into())
            }
            _ => None,
        }
    }
}

impl TaskRun {
    /// Runs the tests: those that are detected, or again those of an earlier
    /// run. None if there are no tests, or no tool for them.
    pub(crate) async fn run_tests(
        &self,
        tools: &dyn Tools,
        fixed: Option<&TestRun>,
        stage: &'static str,
    ) -> Result<Option<TestRun>, RunError> {
        let Ok(call) = tools.check(TOOL, "{}") else {
            self.warn(format!("no plugin offers `{TOOL}`: the tests do not run"));
            return Ok(None);
        };
        let call = ToolCall { call_id: format!("{stage}-tests"), ..call };
        let details = fixed.map_or_else(
            || json!({}),
            |run| json!({ "fixed": { "command": run.command, "format": run.format } }),
        );
        let run = self
            .step(stage, "", TestRun::describe, async {
                let permit = self.gate.permit(&Actor::Host, call).await?;
                let invocation = Invocation {
                    details,
                    timeout: self.plan.limits.call.max(std::time::Duration::from_secs(30 * 60)),
                    cancel: self.cancel.child_token(),
                    by_host: true,
                };
                let output = tools.invoke(permit, invocation).await.map_err(port("run the tests"))?;
                read(output.details).ok_or_else(|| {
                    let text = format!("`{TOOL}` gave no result: {}", one_line(&output.content, 300));
                    port("run the tests")(PortError::new(ErrorCode::Internal, text))
                })
            })
            .await?;
        if run.command.is_empty() {
            return Ok(None);
        }
        self.journal_append(Event::TestsRan {
            stage: stage.into(),
            command: run.command.clone(),
            counts: run.counts.clone(),
            failures: run.failures.iter().map(|f| one_line(&f.name, 300)).collect(),
        });
        Ok(Some(run))
    }
}

/// The tool's result for programs; it comes from a guest, so it is bounded.
fn read(details: Value) -> Option<TestRun> {
    let mut run: TestRun = serde_json::from_value(details).ok()?;
    run.failures.truncate(FAILURES);
    Some(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(counts: Option<(u64, u64)>) -> TestRun {
        let counts = counts.map(|(passed, failed)| TestCounts { passed, failed, skipped: 0 });
        TestRun { counts, ..TestRun::default() }
    }

    #[test]
    fn more_failures_fewer_passes_or_no_numbers_are_worse() {
        assert!(run(Some((9, 2))).worse_than(&run(Some((10, 1)))).is_some());
        assert!(run(Some((8, 1))).worse_than(&run(Some((10, 1)))).is_some());
        assert!(run(None).worse_than(&run(Some((10, 1)))).is_some());
    }

    #[test]
    fn tests_that_cannot_begin_are_told_from_tests_that_fail() {
        let failed =
            |name: &str| TestRun { failures: vec![Failure { name: name.into() }], ..run(Some((0, 1))) };
        assert!(failed("build").did_not_run() && failed("run").did_not_run());
        assert!(!failed("tests::adds").did_not_run() && !run(Some((3, 0))).did_not_run());
    }

    #[test]
    fn a_command_that_no_longer_succeeds_is_worse_whatever_its_numbers_say() {
        let ended = |code| TestRun { exit_code: Some(code), ..run(Some((10, 0))) };
        assert!(ended(1).worse_than(&ended(0)).is_some());
        assert_eq!(ended(1).worse_than(&ended(1)), None);
    }

    #[test]
    fn as_good_or_better_is_not_worse() {
        assert_eq!(run(Some((10, 1))).worse_than(&run(Some((10, 1)))), None);
        assert_eq!(run(Some((11, 0))).worse_than(&run(Some((10, 1)))), None);
        assert_eq!(run(Some((1, 1))).worse_than(&run(None)), None);
    }
}
