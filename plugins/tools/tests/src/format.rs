//! Runners whose results can be read: how each is asked for them, and how
//! they are read.
//!
//! Where a runner writes a report of its own into a file, that is what is
//! read: tests print to the same streams as their runner, and may print
//! anything.

mod cargo;
mod go;
mod jest;
mod junit;
mod mocha;
mod plain;
mod tap;
mod unittest;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::Parsed;
use crate::run::Run;

/// A runner, or a family of them, by what its results look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// `cargo test`, as text.
    Cargo,
    /// pytest, by its JUnit report.
    Pytest,
    /// `python -m unittest`, as text.
    Unittest,
    /// jest, by its JSON report.
    Jest,
    /// vitest, by its JSON report.
    Vitest,
    /// mocha, by its JSON report.
    Mocha,
    /// `node --test`, as TAP.
    Node,
    /// `go test`, as JSON events.
    Go,
    /// Anything that prints TAP.
    Tap,
    /// Anything else: known summary lines, or the exit status alone.
    Plain,
}

/// A command, ready to run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Prepared {
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// Variables to add to its environment.
    pub(crate) env: Vec<(String, String)>,
    /// Where it writes its report, if it was asked for one.
    pub(crate) report: Option<String>,
    /// Whether the filter reached the runner.
    pub(crate) filtered: bool,
}

/// Set for every runner: no watching, no colours by force, no bytecode in the work tree.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("CI", "true"),
    ("CARGO_TERM_COLOR", "never"),
    ("PYTHONDONTWRITEBYTECODE", "1"),
    ("RUST_BACKTRACE", "0"),
    ("npm_config_fund", "false"),
    ("npm_config_update_notifier", "false"),
];

impl Format {
    /// Adds to a command what makes its results readable, and the filter.
    /// `report` is a path that does not exist yet.
    pub(crate) fn prepare(self, command: &[String], filter: Option<&str>, report: &str) -> Prepared {
        let mut argv = command.to_vec();
        let mut env: Vec<(String, String)> =
            ENVIRONMENT.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (mut wrote, mut filtered) = (false, false);
        match self {
            Self::Pytest => {
                env.push(("PYTEST_ADDOPTS".to_owned(), pytest_options(report, filter)));
                (wrote, filtered) = (true, true);
            }
            Self::Jest | Self::Vitest | Self::Mocha => {
                if append(&mut argv, self.report_arguments(report)) {
                    argv.extend(filter.map(|filter| self.filter_arguments(filter)).unwrap_or_default());
                    (wrote, filtered) = (true, true);
                }
            }
            Self::Node => {
                let mut added = vec!["--test-reporter=tap".to_owned()];
                added.extend(filter.map(|filter| format!("--test-name-pattern={filter}")));
                filtered = insert_after(&mut argv, "--test", added);
            }
            Self::Go => {
                let mut added = Vec::new();
                if !argv.iter().any(|arg| arg == "-json") {
                    added.push("-json".to_owned());
                }
                added.extend(filter.map(|filter| format!("-run={filter}")));
                filtered = program(&argv) == "go" && insert_after(&mut argv, "test", added);
            }
            Self::Cargo if program(&argv) == "cargo" => {
                if let Some(filter) = filter {
                    if !argv.iter().any(|arg| arg == "--") {
                        argv.push("--".to_owned());
                    }
                    argv.push(filter.to_owned());
                }
                filtered = true;
            }
            Self::Unittest if argv.iter().any(|arg| arg == "unittest") => {
                argv.extend(
                    filter.map(|filter| vec!["-k".to_owned(), filter.to_owned()]).unwrap_or_default(),
                );
                filtered = true;
            }
            Self::Cargo | Self::Unittest | Self::Tap | Self::Plain => {}
        }
        Prepared {
            argv,
            env,
            report: wrote.then(|| report.to_owned()),
            filtered: filtered || filter.is_none(),
        }
    }

    /// Reads the results. `report` is what the runner wrote, if it was asked to and did.
    pub(crate) fn parse(self, run: &Run, report: Option<&str>) -> Parsed {
        let parsed = match self {
            Self::Cargo => Some(cargo::parse(run)),
            Self::Pytest => report.and_then(junit::parse),
            Self::Unittest => Some(unittest::parse(run)),
            Self::Jest | Self::Vitest => report.and_then(jest::parse),
            Self::Mocha => report.and_then(mocha::parse).or_else(|| mocha::find(&run.stdout)),
            Self::Node | Self::Tap => Some(tap::parse(&run.stdout)),
            Self::Go => Some(go::parse(run)),
            Self::Plain => Some(plain::parse(run)),
        };
        let parsed = parsed.filter(|parsed| parsed.found);
        parsed.or_else(|| plain::summaries(&run.both)).unwrap_or_default()
    }

    /// Whether its results come over the standard streams, where the host's
    /// bound on output may cut them off.
    pub(crate) fn is_streamed(self) -> bool {
        matches!(self, Self::Cargo | Self::Unittest | Self::Node | Self::Go | Self::Tap | Self::Plain)
    }

    fn report_arguments(self, report: &str) -> Vec<String> {
        match self {
            Self::Jest => {
                vec!["--json".to_owned(), format!("--outputFile={report}"), "--coverage=false".to_owned()]
            }
            Self::Vitest => vec!["--reporter=json".to_owned(), format!("--outputFile={report}")],
            _ => vec!["--reporter=json".to_owned(), format!("--reporter-option=output={report}")],
        }
    }

    fn filter_arguments(self, filter: &str) -> Vec<String> {
        let is_path = [".js", ".ts", ".jsx", ".tsx", ".mjs", ".cjs"].iter().any(|end| filter.ends_with(end));
        match self {
            Self::Jest | Self::Vitest if is_path => vec![filter.to_owned()],
            Self::Mocha => vec![format!("--grep={filter}")],
            _ => vec![format!("--testNamePattern={filter}")],
        }
    }
}

/// Options for pytest, as its variable `PYTEST_ADDOPTS` takes them: they reach
/// it through `make` and scripts as well.
fn pytest_options(report: &str, filter: Option<&str>) -> String {
    let mut options = format!("--junitxml={report} --color=no -o cache_dir={report}.cache");
    if let Some(filter) = filter {
        let is_path = filter.contains("::") || filter.ends_with(".py") || filter.ends_with('/');
        options.push_str(if is_path { " " } else { " -k " });
        options.push_str(&format!("'{}'", filter.replace('\'', r#"'"'"'"#)));
    }
    options
}

/// Name of the program, without its folder.
fn program(argv: &[String]) -> &str {
    argv.first().map_or("", |program| program.rsplit('/').next().unwrap_or(program))
}

/// Appends arguments where they will reach the runner; false if they would not.
fn append(argv: &mut Vec<String>, arguments: Vec<String>) -> bool {
    let known = ["jest", "vitest", "mocha", "_mocha", "react-scripts", "ts-mocha"];
    let names_runner = |arg: &String| {
        let name = arg.rsplit('/').next().unwrap_or(arg);
        known.contains(&name.trim_end_matches(".js").trim_end_matches(".mjs"))
    };
    match program(argv) {
        "npm" if !argv.iter().any(|arg| arg == "--") => argv.push("--".to_owned()),
        "npm" | "yarn" | "pnpm" | "npx" | "bun" => {}
        // A script that takes its arguments, as detection makes them.
        "sh" if argv.get(2).is_some_and(|script| script.contains("\"$@\"")) => {}
        _ if argv.iter().take(6).any(names_runner) => {}
        _ => return false,
    }
    argv.extend(arguments);
    true
}

/// Puts arguments behind the first `word`, or, in a script that takes its
/// arguments, at the end; false if there is no such place.
fn insert_after(argv: &mut Vec<String>, word: &str, arguments: Vec<String>) -> bool {
    if program(argv) == "sh" && argv.get(2).is_some_and(|script| script.contains("\"$@\"")) {
        argv.extend(arguments);
        return true;
    }
    let Some(at) = argv.iter().position(|arg| arg == word) else { return false };
    argv.splice(at + 1..at + 1, arguments);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(format: Format, command: &[&str], filter: Option<&str>) -> (String, bool, bool) {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let prepared = format.prepare(&command, filter, "/tmp/r");
        (prepared.argv.join(" "), prepared.report.is_some(), prepared.filtered)
    }

    #[test]
    fn a_runner_is_asked_for_its_report_wherever_its_arguments_can_reach_it() {
        let script = "PATH=x; tsc && jest \"$@\"";
        let jest = "--json --outputFile=/tmp/r --coverage=false";
        let cases: [(Format, &[&str], &str, bool); 9] = [
            (Format::Jest, &["npx", "jest"], &format!("npx jest {jest}"), true),
            (Format::Jest, &["npm", "test"], &format!("npm test -- {jest}"), true),
            (Format::Jest, &["npm", "test", "--", "-u"], &format!("npm test -- -u {jest}"), true),
            (Format::Jest, &["sh", "-c", script, "sh"], &format!("sh -c {script} sh {jest}"), true),
            (Format::Jest, &["make", "test"], "make test", false),
            (
                Format::Vitest,
                &["node_modules/.bin/vitest"],
                "node_modules/.bin/vitest --reporter=json --outputFile=/tmp/r",
                true,
            ),
            (Format::Node, &["node", "--test", "a.js"], "node --test --test-reporter=tap a.js", false),
            (Format::Go, &["go", "test", "./..."], "go test -json ./...", false),
            (Format::Go, &["go", "test", "-json"], "go test -json", false),
        ];
        for (format, command, argv, report) in cases {
            assert_eq!(prepared(format, command, None), (argv.to_owned(), report, true));
        }
    }

    #[test]
    fn a_filter_reaches_the_runner_or_is_said_not_to() {
        let cases: [(Format, &[&str], &str, bool); 7] = [
            (Format::Cargo, &["cargo", "test"], "cargo test -- some name", true),
            (Format::Cargo, &["cargo", "test", "--", "--quiet"], "cargo test -- --quiet some name", true),
            (Format::Cargo, &["make", "test"], "make test", false),
            (Format::Unittest, &["python3", "-m", "unittest"], "python3 -m unittest -k some name", true),
            (Format::Go, &["go", "test", "./..."], "go test -json -run=some name ./...", true),
            (Format::Plain, &["make", "test"], "make test", false),
            (Format::Node, &["make", "test"], "make test", false),
        ];
        for (format, command, argv, filtered) in cases {
            assert_eq!(prepared(format, command, Some("some name")), (argv.to_owned(), false, filtered));
        }
    }

    #[test]
    fn a_filter_for_pytest_stays_one_word_of_its_options() {
        let options = pytest_options("/tmp/r", Some("a' --co 'b"));
        assert!(options.ends_with(r#" -k 'a'"'"' --co '"'"'b'"#), "{options}");
        assert!(pytest_options("/tmp/r", Some("t/test_a.py::test_b")).ends_with(" 't/test_a.py::test_b'"));
    }
}
