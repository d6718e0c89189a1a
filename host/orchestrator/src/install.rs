//! The usual install command of a toolchain.

use std::collections::BTreeSet;

use sortie_core::Actor;
use sortie_core::action::{FileRead, ReadOperation};
use sortie_policy::ports::{SearchQuery, Workspace};

use crate::run::{RunError, TaskRun, port};

/// Makes a virtual environment and installs the project with the extras that
/// projects keep their test dependencies in; pip only warns of unknown ones.
const PIP_PROJECT: &str = ".venv/bin/python -m pip install --disable-pip-version-check --no-input \
                           -e '.[test,tests,testing,dev]'";
const PIP: &str = ".venv/bin/python -m pip install --disable-pip-version-check --no-input";

/// A command line for `sh -c`, and the file that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Detected {
    pub(crate) command: String,
    pub(crate) because: &'static str,
}

impl TaskRun {
    /// The usual install command for what lies in the work tree.
    pub(crate) async fn detect_install(&self, workspace: &dyn Workspace) -> Result<Option<Detected>, RunError> {
        let files = workspace.files();
        let survey = files.survey_glob("*", 10_000).await.map_err(port("look for manifests"))?;
        let read = FileRead { operation: ReadOperation::Glob { pattern: "*".into() }, paths: survey.paths };
        let permit = self.gate.permit(&Actor::Host, read).await?;
        let names: BTreeSet<_> = files.glob(permit).await.map_err(port("look for manifests"))?.into_iter().collect();
        let uses_pytest = names.iter().any(|name| PYTHON.contains(&name.as_str())) && {
            let query = SearchQuery {
                pattern: r"\bpytest\b|^def test_|^    def test_\w+\(self, \w".into(),
                glob: Some("**/{*test*.py,*.toml,*.cfg,*.ini,*.txt}".into()),
                ignore_case: false,
                max_matches: 1,
            };
            !files.survey_search(&query).await.map_err(port("look for tests"))?.paths.is_empty()
        };
        Ok(detect(&names, uses_pytest))
    }
}

const PYTHON: [&str; 5] = ["pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "uv.lock"];

/// Decides by the names in the root of the work tree. Of several toolchains
/// all are installed, in the order below.
fn detect(names: &BTreeSet<String>, uses_pytest: bool) -> Option<Detected> {
    let has = |name: &str| names.contains(name);
    let mut found: Vec<(String, &'static str)> = Vec::new();
    if has("Cargo.toml") {
        found.push(("cargo fetch".into(), "Cargo.toml"));
    }
    if has("package-lock.json") || has("npm-shrinkwrap.json") {
        found.push(("npm ci --no-audit --no-fund".into(), "package-lock.json"));
    } else if has("package.json") {
        found.push(("npm install --no-audit --no-fund --no-package-lock".into(), "package.json"));
    }
    if let Some((command, because)) = python(&has, uses_pytest) {
        found.push((command, because));
    }
    if has("go.mod") {
        found.push(("go mod download".into(), "go.mod"));
    }
    let because = found.first()?.1;
    let commands: Vec<_> = found.into_iter().map(|(command, _)| command).collect();
    Some(Detected { command: commands.join(" && "), because })
}

fn python(has: &dyn Fn(&str) -> bool, uses_pytest: bool) -> Option<(String, &'static str)> {
    if has("uv.lock") {
        return Some(("uv sync --all-extras --frozen".into(), "uv.lock"));
    }
    let mut steps = vec!["python3 -m venv .venv".to_owned()];
    let because = if has("pyproject.toml") {
        "pyproject.toml"
    } else if has("setup.py") {
        "setup.py"
    } else if has("setup.cfg") {
        "setup.cfg"
    } else if has("requirements.txt") {
        "requirements.txt"
    } else {
        return None;
    };
    for list in ["requirements.txt", "requirements-dev.txt", "requirements-test.txt", "dev-requirements.txt"] {
        if has(list) {
            steps.push(format!("{PIP} -r {list}"));
        }
    }
    if because != "requirements.txt" {
        steps.push(PIP_PROJECT.to_owned());
    }
    if uses_pytest {
        steps.push(format!("{{ .venv/bin/python -c 'import pytest' 2>/dev/null || {PIP} pytest; }}"));
    }
    Some((steps.join(" && "), because))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(names: &[&str], uses_pytest: bool) -> Option<String> {
        detect(&names.iter().map(ToString::to_string).collect(), uses_pytest).map(|detected| detected.command)
    }

    #[test]
    fn each_manifest_leads_to_its_usual_command() {
        assert_eq!(command(&["Cargo.toml", "src/"], false).as_deref(), Some("cargo fetch"));
        assert_eq!(
            command(&["package.json", "package-lock.json"], false).as_deref(),
            Some("npm ci --no-audit --no-fund")
        );
        assert_eq!(command(&["go.mod"], false).as_deref(), Some("go mod download"));
        assert_eq!(command(&["uv.lock", "pyproject.toml"], true).as_deref(), Some("uv sync --all-extras --frozen"));
        assert!(command(&["setup.py"], true).is_some_and(|c| c.contains("-e '.[test") && c.contains("pytest")));
        assert!(command(&["requirements.txt"], false).is_some_and(|c| c.ends_with("-r requirements.txt")));
    }

    #[test]
    fn without_a_manifest_there_is_nothing_to_install() {
        assert_eq!(command(&["README.md"], true), None);
    }
}
