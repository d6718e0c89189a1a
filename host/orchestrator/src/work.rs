//! Work and verify: the agent's turns, and the tests again.

use sortie_agent::{Agent, Brief, Ended, Guidance};
use sortie_core::action::{Against, FileRead, ReadOperation};
use sortie_core::{Actor, Outcome};
use sortie_policy::ports::Workspace;

use crate::prepare::Prepared;
use crate::run::{RunError, TaskRun, port};
use crate::tests_run::TestRun;

/// Bytes of one AGENTS.md that are read; the agent's cap over all is 32 KiB.
const GUIDANCE_MAX: u32 = 32 * 1024;
/// AGENTS.md files that are read.
const GUIDANCE_FILES: usize = 16;

impl TaskRun {
    pub(crate) async fn work(&self, agent: &Agent, prepared: &Prepared) -> Result<Ended, RunError> {
        let brief = Brief {
            task: self.plan.prompt.clone(),
            guidance: self.guidance(&*prepared.workspace).await?,
            situation: prepared.situation.clone(),
            network: self.gate.defaults().agent_network.to_string(),
        };
        let ended = agent.work(&brief).await?;
        if ended.outcome == Outcome::Cancelled { Err(RunError::Cancelled) } else { Ok(ended) }
    }

    /// The repository's AGENTS.md files, the root's first.
    async fn guidance(&self, workspace: &dyn Workspace) -> Result<Vec<Guidance>, RunError> {
        let files = workspace.files();
        let survey = files.survey_glob("**/AGENTS.md", 200).await.map_err(port("look for guidance"))?;
        let mut paths = survey.paths;
        paths.sort_by_key(|path| (path.matches('/').count(), path.clone()));
        let mut guidance = Vec::new();
        for path in paths.into_iter().take(GUIDANCE_FILES) {
            let operation = ReadOperation::Read { offset: 0, max: GUIDANCE_MAX };
            let read = FileRead { operation, paths: vec![path.clone()] };
            // guidance that a policy withholds is guidance that is not there
            let Ok(permit) = self.gate.permit(&Actor::Host, read).await else { continue };
            if let Ok(content) = files.read(permit).await {
                guidance.push(Guidance { path, text: String::from_utf8_lossy(&content.data).into_owned() });
            }
        }
        Ok(guidance)
    }

    /// Runs the tests of the baseline again. A result that is worse makes a
    /// done task a partial one.
    pub(crate) async fn verify(
        &self,
        prepared: &Prepared,
        ended: &mut Ended,
    ) -> Result<Option<TestRun>, RunError> {
        let Some(baseline) = &prepared.baseline else {
            self.warn("the repository has no tests that were found: nothing verifies this change");
            return Ok(None);
        };
        self.report_changed_tests().await?;
        let last = self.run_tests(&*prepared.tools, Some(baseline), "final").await?.unwrap_or_default();
        let not_run =
            || last.did_not_run().then(|| "the tests could not run, so that nothing verifies this".into());
        if let Some(why) = last.worse_than(baseline).or_else(not_run) {
            self.warn(format!("not verified: {why}"));
            ended.outcome = Outcome::Partial;
            ended.summary.push_str(&format!("\n\nVerification: {why}."));
        }
        Ok(Some(last))
    }

    /// Says so when the change touches what the tests' numbers rest on.
    async fn report_changed_tests(&self) -> Result<(), RunError> {
        let changes = self.repository.changes(Against::Base).await.map_err(port("read the change"))?;
        let touched: Vec<_> = changes.iter().filter(|change| decides_tests(&change.path)).collect();
        if !touched.is_empty() {
            let paths: Vec<_> = touched.iter().take(20).map(|change| change.path.as_str()).collect();
            self.warn(format!("the change touches tests or manifests: {}", paths.join(", ")));
        }
        Ok(())
    }
}

/// Whether a path is a manifest, or looks like a test.
fn decides_tests(path: &str) -> bool {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let manifests = [
        "Cargo.toml",
        "package.json",
        "pyproject.toml",
        "setup.py",
        "setup.cfg",
        "pytest.ini",
        "tox.ini",
        "go.mod",
        "Makefile",
        "conftest.py",
    ];
    let folder = |part: &str| matches!(part, "test" | "tests" | "__tests__" | "spec");
    let stem = name.split('.').next().unwrap_or(name);
    manifests.contains(&name)
        || folders.split('/').any(folder)
        || stem.starts_with("test_")
        || stem.ends_with("_test")
        || name.contains(".test.")
        || name.contains(".spec.")
}

#[cfg(test)]
mod tests {
    use super::decides_tests;

    #[test]
    fn tests_and_manifests_are_told_from_sources() {
        for path in [
            "Cargo.toml",
            "a/package.json",
            "tests/a.rs",
            "src/__tests__/a.js",
            "test_a.py",
            "a/b_test.go",
            "x.spec.ts",
        ] {
            assert!(decides_tests(path), "{path}");
        }
        for path in ["src/lib.rs", "contest/a.py", "src/latest.js", "README.md"] {
            assert!(!decides_tests(path), "{path}");
        }
    }
}
