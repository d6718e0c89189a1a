//! What manifests in the root of a repository suggest: the usual install
//! commands, and an image with their toolchain.

use std::collections::BTreeSet;

/// Official images, by the short names that engines look up where they are
/// configured to. All of the first six are made on top of the general one.
mod image {
    pub(super) const RUST: &str = "rust:1";
    pub(super) const NODE: &str = "node:22";
    pub(super) const PYTHON: &str = "python:3.13";
    pub(super) const GO: &str = "golang:1";
    pub(super) const RUBY: &str = "ruby:3";
    pub(super) const GRADLE: &str = "gradle:8";
    pub(super) const MAVEN: &str = "maven:3";
    pub(super) const BUN: &str = "oven/bun:1";
    pub(super) const PHP: &str = "composer:2";
    /// Compilers, git and the usual libraries, and no toolchain in particular.
    pub(super) const GENERAL: &str = "buildpack-deps:stable";
}

const VENV: &str = "python3 -m venv .venv";
const PIP: &str = ".venv/bin/python -m pip install --disable-pip-version-check --no-input";
/// The extras that projects keep their test dependencies in; pip only warns of unknown ones.
const EXTRAS: &str = "-e '.[test,tests,testing,dev]'";
const NPM: &str = "npm install --no-audit --no-fund --no-package-lock";

/// The pattern and the files of which a match says that tests use pytest.
pub const PYTEST: (&str, &str) = (
    r"\bpytest\b|^(async )?def test_|^    def test_\w+\(self, \w",
    "**/{*test*.py,*.toml,*.cfg,*.ini,*.txt}",
);

/// What manifests suggest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// Install commands, in order. Each is of use without the others, so that
    /// one that fails costs only what it would have installed.
    pub steps: Vec<Step>,
    /// An image for containers.
    pub image: String,
    /// Why that image, for people.
    pub because: String,
}

/// A command line for `sh -c`, and the file that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The command line.
    pub command: String,
    /// The file, or what else it was.
    pub because: String,
}

impl Step {
    fn new(command: impl Into<String>, because: impl Into<String>) -> Self {
        Self { command: command.into(), because: because.into() }
    }
}

/// A toolchain that is in use: at least one step.
struct Found {
    image: &'static str,
    steps: Vec<Step>,
}

impl Found {
    fn one(image: &'static str, command: impl Into<String>, because: &str) -> Self {
        Self { image, steps: vec![Step::new(command, because)] }
    }
}

/// The names in the root of a work tree.
struct Names<'a>(&'a BTreeSet<String>);

impl<'a> Names<'a> {
    fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// The first of these that is there.
    fn first(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.has(name))
    }

    fn requirements(&self) -> Vec<&'a str> {
        self.0.iter().map(String::as_str).filter(|name| is_requirements(name)).collect()
    }
}

/// Decides by the names in the root of a work tree. Of several toolchains all
/// are installed, in the order below; the image is that of the first.
pub fn detect(names: &BTreeSet<String>, uses_pytest: bool) -> Detected {
    let names = Names(names);
    let found: Vec<Found> = [
        rust(&names),
        node(&names),
        python(&names, uses_pytest),
        go(&names),
        maven(&names),
        gradle(&names),
        ruby(&names),
        php(&names),
    ]
    .into_iter()
    .flatten()
    .collect();
    let (image, because) = match found.as_slice() {
        [] => (image::GENERAL, "no manifest is known".to_owned()),
        [only] => (only.image, only.steps[0].because.clone()),
        [first, others @ ..] => {
            let others: Vec<_> = others.iter().map(|other| other.steps[0].because.as_str()).collect();
            let (first_because, others) = (&first.steps[0].because, others.join(", "));
            (first.image, format!("{first_because}; it may lack what {others} needs"))
        }
    };
    Detected {
        image: image.to_owned(),
        because,
        steps: found.into_iter().flat_map(|found| found.steps).collect(),
    }
}

/// Whether there is Python to be installed, whose tests may use pytest.
pub fn is_python(names: &BTreeSet<String>) -> bool {
    python(&Names(names), false).is_some()
}

fn rust(names: &Names<'_>) -> Option<Found> {
    names.has("Cargo.toml").then(|| Found::one(image::RUST, "cargo fetch", "Cargo.toml"))
}

/// With the manager that wrote the lock file, if it is installed.
fn node(names: &Names<'_>) -> Option<Found> {
    if !names.has("package.json") {
        return None;
    }
    if let Some(lock) = names.first(&["package-lock.json", "npm-shrinkwrap.json"]) {
        return Some(Found::one(image::NODE, "npm ci --no-audit --no-fund", lock));
    }
    for (lock, manager, image) in [
        ("pnpm-lock.yaml", "pnpm", image::NODE),
        ("yarn.lock", "yarn", image::NODE),
        ("bun.lock", "bun", image::BUN),
        ("bun.lockb", "bun", image::BUN),
    ] {
        if names.has(lock) {
            let install = format!("{manager} install --frozen-lockfile");
            return Some(Found::one(image, if_installed(manager, &install, NPM), lock));
        }
    }
    Some(Found::one(image::NODE, NPM, "package.json"))
}

fn python(names: &Names<'_>, uses_pytest: bool) -> Option<Found> {
    let steps = python_steps(names, uses_pytest);
    (!steps.is_empty()).then_some(Found { image: image::PYTHON, steps })
}

fn python_steps(names: &Names<'_>, uses_pytest: bool) -> Vec<Step> {
    let manifest = names.first(&["pyproject.toml", "setup.py", "setup.cfg"]);
    let runner = format!(".venv/bin/python -c 'import pytest' 2>/dev/null || {PIP} pytest");
    let and_runner = |install: String| {
        if uses_pytest { format!("{install} && {{ {runner}; }}") } else { install }
    };
    if names.has("uv.lock") {
        let pip = and_runner(format!("{VENV} && {PIP} {EXTRAS}"));
        return vec![Step::new(if_installed("uv", "uv sync --all-extras --frozen", &pip), "uv.lock")];
    }
    // what these put elsewhere by default, the tests would not find
    if names.has("poetry.lock") {
        let poetry = "POETRY_VIRTUALENVS_IN_PROJECT=true poetry install --no-interaction --all-extras";
        let pip = and_runner(format!("{VENV} && {PIP} {EXTRAS}"));
        return vec![Step::new(if_installed("poetry", poetry, &pip), "poetry.lock")];
    }
    if let Some(lock) = names.first(&["Pipfile.lock", "Pipfile"]) {
        let sync = if lock == "Pipfile.lock" { "sync --dev" } else { "install --dev --skip-lock" };
        let sync = |pipenv: &str| format!("PIPENV_VENV_IN_PROJECT=1 {pipenv} {sync}");
        let own = and_runner(format!("{VENV} && {PIP} pipenv && {}", sync(".venv/bin/python -m pipenv")));
        return vec![Step::new(if_installed("pipenv", &sync("pipenv"), &own), lock)];
    }
    let lists = names.requirements();
    let Some(because) = manifest.or_else(|| lists.first().copied()) else {
        return Vec::new();
    };
    let mut steps = vec![Step::new(VENV, because)];
    // the project's own list may pin what its manifest leaves open
    let (own, others): (Vec<_>, Vec<_>) = lists.into_iter().partition(|list| *list == "requirements.txt");
    let list = |list: &str| Step::new(format!("{PIP} -r {list}"), list);
    steps.extend(own.into_iter().map(list));
    steps.extend(manifest.map(|manifest| Step::new(format!("{PIP} {EXTRAS}"), manifest)));
    steps.extend(others.into_iter().map(list));
    if uses_pytest {
        steps.push(Step::new(runner, "tests that use pytest"));
    }
    steps
}

fn go(names: &Names<'_>) -> Option<Found> {
    names.has("go.mod").then(|| Found::one(image::GO, "go mod download", "go.mod"))
}

/// The wrapper brings its own version; it may not be executable.
fn maven(names: &Names<'_>) -> Option<Found> {
    let program = if names.has("mvnw") { "sh ./mvnw" } else { "mvn" };
    names
        .has("pom.xml")
        .then(|| Found::one(image::MAVEN, format!("{program} -B -q dependency:go-offline"), "pom.xml"))
}

fn gradle(names: &Names<'_>) -> Option<Found> {
    let build =
        names.first(&["build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts"])?;
    let program = if names.has("gradlew") { "sh ./gradlew" } else { "gradle" };
    Some(Found::one(image::GRADLE, format!("{program} --no-daemon -q dependencies"), build))
}

/// Below the home, and told to Bundler there: the image's folders are
/// read-only for the agent, and `.bundle` in the work tree would be a change.
fn ruby(names: &Names<'_>) -> Option<Found> {
    let because = names.first(&["Gemfile.lock", "Gemfile"]).filter(|_| names.has("Gemfile"))?;
    let frozen = if because == "Gemfile.lock" { "BUNDLE_FROZEN=true " } else { "" };
    let command = format!("bundle config set --global path \"$HOME/.bundle/gems\" && {frozen}bundle install");
    Some(Found::one(image::RUBY, command, because))
}

fn php(names: &Names<'_>) -> Option<Found> {
    let because = names.first(&["composer.lock", "composer.json"]).filter(|_| names.has("composer.json"))?;
    Some(Found::one(image::PHP, "composer install --no-interaction --no-progress", because))
}

/// `requirements.txt` and the lists of what tests and developers need, however
/// their names are put together; nothing that a shell would take apart.
pub fn is_requirements(name: &str) -> bool {
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

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn commands(these: &[&str], uses_pytest: bool) -> Vec<String> {
        detect(&names(these), uses_pytest).steps.into_iter().map(|step| step.command).collect()
    }

    #[test]
    fn each_manifest_leads_to_its_usual_commands() {
        let runner = format!(".venv/bin/python -c 'import pytest' 2>/dev/null || {PIP} pytest");
        let project = format!("{PIP} {EXTRAS}");
        let list = |name: &str| format!("{PIP} -r {name}");
        let bundle = "bundle config set --global path \"$HOME/.bundle/gems\" && ";
        let cases: [(&[&str], bool, Vec<String>); 15] = [
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
            (&["pom.xml"], false, vec!["mvn -B -q dependency:go-offline".into()]),
            (&["pom.xml", "mvnw"], false, vec!["sh ./mvnw -B -q dependency:go-offline".into()]),
            (&["build.gradle.kts"], false, vec!["gradle --no-daemon -q dependencies".into()]),
            (&["settings.gradle", "gradlew"], false, vec!["sh ./gradlew --no-daemon -q dependencies".into()]),
            (&["Gemfile"], false, vec![format!("{bundle}bundle install")]),
            (&["Gemfile", "Gemfile.lock"], false, vec![format!("{bundle}BUNDLE_FROZEN=true bundle install")]),
            (&["composer.json"], false, vec!["composer install --no-interaction --no-progress".into()]),
        ];
        for (names, uses_pytest, expected) in cases {
            assert_eq!(commands(names, uses_pytest), expected, "{names:?}");
        }
    }

    #[test]
    fn a_lock_file_leads_to_its_manager_and_to_another_where_that_is_not_installed() {
        for (names, command, otherwise) in [
            (["uv.lock", "pyproject.toml"], "uv sync --all-extras --frozen", PIP),
            (
                ["poetry.lock", "pyproject.toml"],
                "POETRY_VIRTUALENVS_IN_PROJECT=true poetry install --no-interaction --all-extras",
                PIP,
            ),
            (["Pipfile.lock", "Pipfile"], "PIPENV_VENV_IN_PROJECT=1 pipenv sync --dev", PIP),
            (["yarn.lock", "package.json"], "yarn install --frozen-lockfile", NPM),
            (["pnpm-lock.yaml", "package.json"], "pnpm install --frozen-lockfile", NPM),
            (["bun.lock", "package.json"], "bun install --frozen-lockfile", NPM),
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
    fn without_a_manifest_there_is_nothing_to_install_and_a_general_image() {
        for these in [&["README.md"], &["package-lock.json"], &["Gemfile.lock"], &["mvnw"]] {
            let detected = detect(&names(these), true);
            assert_eq!((detected.steps.len(), detected.image.as_str()), (0, image::GENERAL), "{these:?}");
        }
    }

    #[test]
    fn the_image_has_the_toolchain_of_the_manifest_and_of_several_that_of_the_first() {
        for (these, image) in [
            (&["Cargo.toml"][..], "rust:1"),
            (&["package.json", "bun.lock"], "oven/bun:1"),
            (&["requirements.txt"], "python:3.13"),
            (&["pom.xml"], "maven:3"),
        ] {
            let detected = detect(&names(these), false);
            assert_eq!(detected.image, image);
            assert!(these.contains(&detected.because.as_str()), "{detected:?}");
        }
        let both = detect(&names(&["go.mod", "package.json", "pom.xml"]), false);
        assert_eq!(both.image, "node:22");
        assert_eq!(both.because, "package.json; it may lack what go.mod, pom.xml needs");
    }
}
