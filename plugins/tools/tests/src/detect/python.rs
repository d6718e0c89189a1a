//! Python: pytest or unittest, and how each is started.

use sortie_sdk::Result;

use super::tree::{self, folder, name};
use super::{Plan, section};
use crate::format::Format;

/// The most test files whose contents are looked at.
const MAX_LOOKED_AT: usize = 40;

/// What a project's files say.
#[derive(Default)]
struct Evidence {
    /// A file with settings for pytest.
    configured: Option<String>,
    /// A test file that only pytest can run.
    needs_pytest: Option<String>,
    /// A test file with `unittest.TestCase`s, or with unittest's `load_tests`.
    has_cases: Option<String>,
    /// A file that names pytest as something to install.
    mentioned: Option<String>,
}

/// How to run the tests, and whether a manifest of Python lies at the root.
pub(super) fn detect() -> Result<Option<(Plan, bool)>> {
    let sources = tree::glob("**/*.py", usize::MAX)?;
    let tests: Vec<&str> = sources.iter().map(String::as_str).filter(|path| is_test_file(path)).collect();
    let mut evidence = Evidence::default();
    let has_manifest = evidence.read_manifests()?;
    // A conftest.py alone is no test.
    if tests.iter().all(|path| name(path) == "conftest.py") {
        return Ok(None);
    }
    evidence.read_tests(&tests)?;
    if evidence.has_cases.is_some() && evidence.needs_pytest.is_none() && evidence.configured.is_none() {
        evidence.read_requirements()?;
    }
    let python = interpreter()?;
    let plan = if let Some(file) = evidence.configured.or(evidence.needs_pytest) {
        pytest(&python, file)
    } else if let (Some(_), Some(file)) = (&evidence.has_cases, evidence.mentioned) {
        pytest(&python, format!("{file}: pytest"))
    } else if let Some(file) = evidence.has_cases {
        unittest(&python, &tests, file)?
    } else {
        return Ok(None);
    };
    Ok(Some((with_source_path(plan, &sources)?, has_manifest)))
}

impl Evidence {
    /// Reads what is at the root; whether a manifest is among it.
    fn read_manifests(&mut self) -> Result<bool> {
        const SETTINGS: [(&str, &str); 5] = [
            ("pytest.ini", "pytest"),
            (".pytest.ini", "pytest"),
            ("pyproject.toml", "tool.pytest"),
            ("tox.ini", "pytest"),
            ("setup.cfg", "tool:pytest"),
        ];
        let mut any = false;
        for (file, heading) in SETTINGS {
            let Some(text) = tree::read(file)? else { continue };
            any = true;
            if self.configured.is_none() && section::has_section(&text, heading) {
                self.configured = Some(file.to_owned());
            }
            self.look_for_mention(file, &text);
        }
        if let Some(text) = tree::read("setup.py")? {
            any = true;
            self.look_for_mention("setup.py", &text);
        }
        Ok(any)
    }

    /// Looks for pytest where people list what their tests need.
    fn read_requirements(&mut self) -> Result<()> {
        const FILES: [&str; 13] = [
            "requirements.txt",
            "requirements-dev.txt",
            "requirements_dev.txt",
            "requirements-test.txt",
            "requirements-tests.txt",
            "dev-requirements.txt",
            "test-requirements.txt",
            "requirements/dev.txt",
            "requirements/test.txt",
            "requirements/tests.txt",
            "Pipfile",
            "noxfile.py",
            "Makefile",
        ];
        for file in FILES {
            let text = tree::read(file)?.unwrap_or_default();
            self.look_for_mention(file, &text);
        }
        Ok(())
    }

    fn look_for_mention(&mut self, file: &str, text: &str) {
        if self.mentioned.is_none()
            && text.lines().any(|line| !line.trim_start().starts_with('#') && line.contains("pytest"))
        {
            self.mentioned = Some(file.to_owned());
        }
    }

    fn read_tests(&mut self, tests: &[&str]) -> Result<()> {
        for path in tests.iter().take(MAX_LOOKED_AT) {
            let Some(text) = tree::read(path)? else { continue };
            let cases = ["TestCase)", "TestCase,", "TestCase):"].iter().any(|case| text.contains(case));
            // unittest's own hooks, beside which a function called `test…` is a part of them: pytest would
            // ignore the one and run the other as a test
            let loads = defines(&text, "load_tests");
            let hooks = loads || (cases && defines(&text, "test_suite"));
            let plain = !hooks
                && (text
                    .lines()
                    .any(|line| line.starts_with("def test") || line.starts_with("async def test"))
                    || (!cases && text.lines().any(|line| line.starts_with("class Test"))));
            let imports = text.lines().map(str::trim_start).any(|line| {
                line == "import pytest"
                    || line.starts_with("from pytest ")
                    || line.starts_with("import pytest ")
            });
            if (imports || plain || name(path) == "conftest.py") && self.needs_pytest.is_none() {
                self.needs_pytest = Some((*path).to_owned());
            }
            if (cases || loads) && self.has_cases.is_none() {
                self.has_cases = Some((*path).to_owned());
            }
        }
        Ok(())
    }
}

/// Whether a file has a function of this name.
fn defines(text: &str, name: &str) -> bool {
    text.lines()
        .any(|line| line.strip_prefix("def ").is_some_and(|rest| rest.starts_with(&format!("{name}("))))
}

/// Whether a file's name says that it holds tests, or their fixtures.
fn is_test_file(path: &str) -> bool {
    let name = name(path);
    name.starts_with("test") || name.ends_with("_test.py") || name == "conftest.py"
}

/// The interpreter of the project's own environment, if it has one. Its
/// program is a link that leads out of the work tree, so its settings file is
/// what is looked for.
fn interpreter() -> Result<String> {
    for environment in [".venv", "venv"] {
        if tree::exists(&format!("{environment}/pyvenv.cfg"))? {
            return Ok(format!("{environment}/bin/python"));
        }
    }
    Ok("python3".to_owned())
}

fn pytest(python: &str, detected_by: impl Into<String>) -> Plan {
    Plan::new([python, "-m", "pytest"], Format::Pytest, detected_by)
}

/// `python -m unittest discover`, from the folder that holds all tests, with
/// the folder above its packages as the top, so that relative imports work.
fn unittest(python: &str, tests: &[&str], detected_by: String) -> Result<Plan> {
    let tests: Vec<&str> = tests.iter().copied().filter(|path| name(path) != "conftest.py").collect();
    let start = common_folder(&tests);
    let mut top = start.clone();
    while !top.is_empty() && tree::exists(&format!("{top}/__init__.py"))? {
        top = folder(&top).to_owned();
    }
    let mut command = vec![python, "-m", "unittest", "discover", "-v"];
    let pattern =
        if tests.iter().any(|path| name(path).starts_with("test")) { "test*.py" } else { "*_test.py" };
    let here = |folder: &str| if folder.is_empty() { ".".to_owned() } else { folder.to_owned() };
    let (start_arg, top_arg) = (here(&start), here(&top));
    if start_arg != "." {
        command.extend(["-s", &start_arg]);
    }
    if top != start {
        command.extend(["-t", &top_arg]);
    }
    if pattern != "test*.py" {
        command.extend(["-p", pattern]);
    }
    Ok(Plan::new(command, Format::Unittest, detected_by))
}

/// The deepest folder that all paths lie in; empty for the root.
fn common_folder(paths: &[&str]) -> String {
    let mut common = paths.first().map_or("", |path| folder(path));
    for path in paths {
        let holds = |common: &str| {
            common.is_empty() || folder(path) == common || folder(path).starts_with(&format!("{common}/"))
        };
        while !holds(common) {
            common = folder(common);
        }
    }
    common.to_owned()
}

/// Puts `src` on the path where packages lie there: an installed copy would
/// hide what the task changes. Not where the package is compiled: its
/// modules are not beside its sources.
fn with_source_path(mut plan: Plan, sources: &[String]) -> Result<Plan> {
    let importable = |path: &str| match path.strip_prefix("src/") {
        Some(module) => {
            !module.contains('/') || module.matches('/').count() == 1 && name(path) == "__init__.py"
        }
        None => false,
    };
    if !sources.iter().any(|path| importable(path)) || !tree::glob("**/*.{c,cc,cpp,pyx,rs}", 1)?.is_empty() {
        return Ok(plan);
    }
    plan.command.splice(0..0, ["env".to_owned(), "PYTHONPATH=src".to_owned()]);
    Ok(plan)
}
