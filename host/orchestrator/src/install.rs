//! The usual install commands of a toolchain.

use std::collections::BTreeSet;

use sortie_core::Actor;
use sortie_core::action::{FileRead, ReadOperation};
use sortie_policy::ports::{SearchQuery, Workspace};

use crate::run::{RunError, TaskRun, port};

const VENV: &str = "python3 -m venv .venv";
const PIP: &str = ".venv/bin/python -m pip install --disable-pip-version-check --no-input";
/// The extras that projects keep their test dependencies in; pip only warns of unknown ones.
const EXTRAS: &str = "-e '.[test,tests,testing,dev]'";
const NPM: &str = "npm install --no-audit --no-fund --no-package-lock";

/// A command line for `sh -c`, and the file that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Detected {
    pub(crate) command: String,
    pub(crate) because: String,
}

impl Detected {
    fn new(command: impl Into<String>, because: impl Into<String>) -> Self {
        Self { command: command.into(), because: because.into() }
    }
}

impl TaskRun {
    /// The usual install commands for what lies in the work tree, in order.
    /// Each is of use without the others, so that one that fails costs only
    /// what it would have installed.
    pub(crate) async fn detect_install(&self, workspace: &dyn Workspace) -> Result<Vec<Detected>, RunError> {
        let files = workspace.files();
        let names = self.root_names(workspace).await?;
        let is_python = |name: &String| PYTHON.contains(&name.as_str()) || is_requirements(name);
        let uses_pytest = names.iter().any(is_python) && {
            let query = SearchQuery {
                pattern: r"\bpytest\b|^(async )?def test_|^    def test_\w+\(self, \w".into(),
                glob: Some("**/{*test*.py,*.toml,*.cfg,*.ini,*.txt}".into()),
                ignore_case: false,
                max_matches: 1,
            };
            !files.survey_search(&query).await.map_err(port("look for tests"))?.paths.is_empty()
        };
        Ok(detect(&names, uses_pytest))
    }
}

impl TaskRun {
    /// What lies in the root of the work tree.
    pub(crate) async fn root_names(&self, workspace: &dyn Workspace) -> Result<BTreeSet<String>, RunError> {
        let files = workspace.files();
        let survey = files.survey_glob("*", 10_000).await.map_err(port("look for manifests"))?;
        let read = FileRead { operation: ReadOperation::Glob { pattern: "*".into() }, paths: survey.paths };
        let permit = self.gate.permit(&Actor::Host, read).await?;
        Ok(files.glob(permit).await.map_err(port("look for manifests"))?.into_iter().collect())
    }
}

const PYTHON: [&str; 4] = ["pyproject.toml", "setup.py", "setup.cfg", "uv.lock"];

/// Decides by the names in the root of the work tree. Of several toolchains
/// all are installed, in the order below.
fn detect(names: &BTreeSet<String>, uses_pytest: bool) -> Vec<Detected> {
    let has = |name: &str| names.contains(name);
    let mut found = Vec::new();
    if has("Cargo.toml") {
        found.push(Detected::new("cargo fetch", "Cargo.toml"));
    }
    found.extend(node(&has));
    found.extend(python(names, uses_pytest));
    if has("go.mod") {
        found.push(Detected::new("go mod download", "go.mod"));
    }
    found
}

/// With the manager that wrote the lock file, if it is installed.
fn node(has: &dyn Fn(&str) -> bool) -> Option<Detected> {
    if !has("package.json") {
        return None;
    }
    if let Some(lock) = ["package-lock.json", "npm-shrinkwrap.json"].into_iter().find(|lock| has(lock)) {
        return Some(Detected::new("npm ci --no-audit --no-fund", lock));
    }
    for (lock, manager) in [("pnpm-lock.yaml", "pnpm"), ("yarn.lock", "yarn")] {
        if has(lock) {
            let install = format!("{manager} install --frozen-lockfile");
            return Some(Detected::new(if_installed(manager, &install, NPM), lock));
        }
    }
    Some(Detected::new(NPM, "package.json"))
}

fn python(names: &BTreeSet<String>, uses_pytest: bool) -> Vec<Detected> {
    let has = |name: &str| names.contains(name);
    let manifest = ["pyproject.toml", "setup.py", "setup.cfg"].into_iter().find(|manifest| has(manifest));
    let runner = format!(".venv/bin/python -c 'import pytest' 2>/dev/null || {PIP} pytest");
    if has("uv.lock") {
        let mut pip = format!("{VENV} && {PIP} {EXTRAS}");
        if uses_pytest {
            pip.push_str(&format!(" && {{ {runner}; }}"));
        }
        return vec![Detected::new(if_installed("uv", "uv sync --all-extras --frozen", &pip), "uv.lock")];
    }
    let lists: Vec<_> = names.iter().filter(|name| is_requirements(name)).collect();
    let Some(because) = manifest.or_else(|| lists.first().map(|list| list.as_str())) else {
        return Vec::new();
    };
    let mut steps = vec![Detected::new(VENV, because)];
    // the project's own list may pin what its manifest leaves open
    let (own, others): (Vec<_>, Vec<_>) = lists.into_iter().partition(|list| *list == "requirements.txt");
    let list = |list: &String| Detected::new(format!("{PIP} -r {list}"), list);
    steps.extend(own.into_iter().map(list));
    steps.extend(manifest.map(|manifest| Detected::new(format!("{PIP} {EXTRAS}"), manifest)));
    steps.extend(others.into_iter().map(list));
    if uses_pytest {
        steps.push(Detected::new(runner, "tests that use pytest"));
    }
    steps
}

/// `requirements.txt` and the lists of what tests and developers need, however
/// their names are put together; nothing that a shell would take apart.
pub(crate) fn is_requirements(name: &str) -> bool {
    const PARTS: [&str; 6] = ["requirements", "dev", "development", "test", "tests", "testing"];
    let Some(stem) = name.strip_suffix(".txt") else { return false };
    let mut parts = stem.split(['-', '_', '.']);
    parts.clone().any(|part| part == "requirements") && parts.all(|part| PARTS.contains(&part))
}

fn if_installed(program: &str, command: &str, otherwise: &str) -> String {
    format!("if command -v {program} >/dev/null; then {command}; else {otherwise}; fi")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(names: &[&str], uses_pytest: bool) -> Vec<String> {
        let names = names.iter().map(ToString::to_string).collect();
        detect(&names, uses_pytest).into_iter().map(|detected| detected.command).collect()
    }

    #[test]
    fn each_manifest_leads_to_its_usual_commands() {
        let runner = format!(".venv/bin/python -c 'import pytest' 2>/dev/null || {PIP} pytest");
        let project = format!("{PIP} {EXTRAS}");
        let list = |name: &str| format!("{PIP} -r {name}");
        let cases: [(&[&str], bool, Vec<String>); 8] = [
            (&["Cargo.toml", "src/"], false, vec!["cargo fetch".into()]),
            (&["package.json", "package-lock.json"], false, vec!["npm ci --no-audit --no-fund".into()]),
            (&["package.json"], false, vec![NPM.into()]),
            (&["go.mod"], false, vec!["go mod download".into()]),
            (&["setup.py"], true, vec![VENV.into(), project.clone(), runner]),
            (&["requirements.txt"], false, vec![VENV.into(), list("requirements.txt")]),
            (
                &["pyproject.toml", "requirements.txt", "dev_requirements.txt"],
                false,
                vec![VENV.into(), list("requirements.txt"), project, list("dev_requirements.txt")],
            ),
            (&["Cargo.toml", "package.json"], false, vec!["cargo fetch".into(), NPM.into()]),
        ];
        for (names, uses_pytest, expected) in cases {
            assert_eq!(commands(names, uses_pytest), expected, "{names:?}");
        }
    }

    #[test]
    fn a_lock_file_leads_to_its_manager_and_to_another_where_that_is_not_installed() {
        for (names, command, otherwise) in [
            (["uv.lock", "pyproject.toml"], "uv sync --all-extras --frozen", PIP),
            (["yarn.lock", "package.json"], "yarn install --frozen-lockfile", NPM),
            (["pnpm-lock.yaml", "package.json"], "pnpm install --frozen-lockfile", NPM),
        ] {
            let commands = commands(&names, false);
            assert_eq!(commands.len(), 1, "{commands:?}");
            assert!(commands[0].contains(&format!("then {command}; else ")), "{commands:?}");
            assert!(commands[0].contains(otherwise), "{commands:?}");
        }
    }

    #[test]
    fn a_list_with_a_name_that_a_shell_would_take_apart_is_not_installed() {
        for name in
            ["requirements-$(id).txt", "requirements test.txt", "requirements;.txt", "requirements-docs.txt"]
        {
            assert_eq!(commands(&[name], false), Vec::<String>::new(), "{name}");
        }
        for name in ["requirements_dev.txt", "test-requirements.txt", "dev.requirements.txt"] {
            assert_eq!(commands(&[name], false).len(), 2, "{name}");
        }
    }

    #[test]
    fn without_a_manifest_there_is_nothing_to_install() {
        assert_eq!(commands(&["README.md"], true), Vec::<String>::new());
        assert_eq!(commands(&["package-lock.json"], true), Vec::<String>::new());
    }
}
