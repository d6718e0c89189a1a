//! The tool: from a call to a report.

use std::hash::{BuildHasher, RandomState};

use sortie_sdk::exec::{Chunk, Ended, Exit};
use sortie_sdk::prelude::*;

use crate::detect::{self, Plan};
use crate::format::Format;
use crate::report::{Parsed, Report};
use crate::run::{Ending, Run};
use crate::text::tail;

/// The longest filter, in bytes.
const MAX_FILTER: usize = 1_000;
/// Milliseconds of the call that are kept for reading the results.
const RESERVE_MS: u64 = 5_000;
/// How much of the end of the output the model is shown, in bytes.
const SHOWN_TAIL: usize = 3_000;

/// Runs the repository's tests and returns how many passed, failed and were
/// skipped, with the name and message of each failure. It finds out by
/// itself how the tests are run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RunTests {
    /// Only the tests that this matches, in the runner's own terms (a part of a
    /// name for cargo, pytest, jest and the like; a path for pytest and jest).
    filter: Option<String>,
    /// Milliseconds after which the tests are stopped.
    timeout_ms: Option<u64>,
}

/// Settings of the plugin, and what the host passes to run a plan again.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The command that runs the tests, instead of what is found.
    #[serde(default)]
    command: Vec<String>,
    /// How its results are read. Without one, by the summary in its output.
    format: Option<Format>,
}

impl Tool for RunTests {
    const NAME: &'static str = "run_tests";
    const TITLE: &'static str = "Run tests";
    const EFFECTS: Effects = Effects::READS.union(Effects::EXECUTES);

    fn run(self, call: &Call) -> Result<Output> {
        let filter = self.filter.as_deref().map(str::trim).filter(|filter| !filter.is_empty());
        check_filter(filter)?;
        let Some(plan) = plan(call)? else {
            return output(&Report::no_tests(NOT_FOUND), "");
        };
        progress!("{}", plan.command.join(" "));
        let report_path = report_path();
        let prepared = plan.format.prepare(&plan.command, filter, &report_path);
        let run = execute(&prepared.argv, &prepared.env, self.timeout_ms)?;
        let report = match &prepared.report {
            Some(path) => take_report(path)?,
            None => None,
        };
        let parsed = plan.format.parse(&run, report.as_deref());
        let mut notes = Vec::new();
        if !prepared.filtered {
            notes.push(
                "the filter was not applied: this runner is behind a command that takes none".to_owned(),
            );
        }
        let report = conclude(plan, parsed, &run, filter, notes);
        output(&report, tail(&run.both, SHOWN_TAIL))
    }
}

const NOT_FOUND: &str = "neither Cargo.toml, go.mod, package.json with a test script, Python tests, nor a Makefile \
    with a target `test` or `check` at the root of the work tree. If tests are run in another way, use the shell, or \
    name the command in the plugin's settings (`command = [\"…\"]`)";

export_tools!(RunTests; settings = Settings);

/// Filters are text for the runner and never an option of it.
fn check_filter(filter: Option<&str>) -> Result<()> {
    match filter {
        Some(filter) if filter.starts_with('-') => Err(Error::invalid("filter must not begin with `-`")),
        Some(filter) if filter.len() > MAX_FILTER => {
            Err(Error::too_large(format!("filter has {} bytes, more than {MAX_FILTER}", filter.len())))
        }
        Some(filter) if filter.contains(['\0', '\n']) => Err(Error::invalid("filter must be one line")),
        _ => Ok(()),
    }
}

/// What to run: what the host fixed, what the settings name, or what is found.
fn plan(call: &Call) -> Result<Option<Plan>> {
    if let Some(fixed) = call.details.get("fixed").filter(|fixed| !fixed.is_null()) {
        let fixed: Settings = serde_json::from_value(fixed.clone())
            .map_err(|error| Error::invalid(format!("details.fixed: {error}")))?;
        return named(fixed, "fixed").map(Some);
    }
    let settings: Settings = config::get()?;
    if !settings.command.is_empty() {
        return named(settings, "settings").map(Some);
    }
    detect::detect()
}

fn named(settings: Settings, by: &str) -> Result<Plan> {
    if settings.command.first().is_none_or(String::is_empty) {
        return Err(Error::invalid(format!("{by}: the command names no program")));
    }
    let format = settings.format.unwrap_or(Format::Plain);
    Ok(Plan { command: settings.command, format, detected_by: by.to_owned() })
}

/// A path in the workspace's `/tmp` that nothing else has.
fn report_path() -> String {
    format!("/tmp/sortie-tests-{:016x}", RandomState::new().hash_one(0))
}

/// Runs a command to its end and keeps all of its output that the host passes on.
fn execute(argv: &[String], env: &[(String, String)], timeout_ms: Option<u64>) -> Result<Run> {
    let left = u64::try_from(control::remaining().as_millis()).unwrap_or(u64::MAX);
    let most = left.saturating_sub(RESERVE_MS).max(1);
    let timeout = timeout_ms.map_or(most, |wanted| wanted.clamp(1, most));
    let command = exec::Command::new(argv.iter().cloned()).timeout_ms(timeout);
    let command = env.iter().fold(command, |command, (name, value)| command.env(name, value));
    let process = command.spawn().map_err(|error| error.context("starting the tests"))?;
    let mut pieces = Vec::new();
    loop {
        match process.next(250)? {
            Some(Chunk::Stdout(bytes)) => pieces.push((false, bytes)),
            Some(Chunk::Stderr(bytes)) => pieces.push((true, bytes)),
            Some(Chunk::Exit(Ended { exit, dropped, limits })) => {
                let limits = limits.into_iter().filter(|limit| limit.name != "output_bytes");
                let limits = limits.map(|limit| format!("{} = {}", limit.name, limit.value)).collect();
                return Ok(Run { limits, ..Run::new(&pieces, ending(exit), dropped) });
            }
            // of commands in the background alone
            Some(Chunk::Skipped(_)) => {}
            None => control::check()?,
        }
    }
}

fn ending(exit: Exit) -> Ending {
    match exit {
        Exit::Code(code) => Ending::Code(code),
        Exit::Signal(signal) => Ending::Signal(signal),
        Exit::TimedOut => Ending::TimedOut,
    }
}

/// Reads the runner's report and removes it; none if it wrote none.
fn take_report(path: &str) -> Result<Option<String>> {
    const SCRIPT: &str = "cat -- \"$1\" 2>/dev/null; rm -rf -- \"$1\" \"$1.cache\"";
    let run = execute(&["sh", "-c", SCRIPT, "sh", path].map(str::to_owned), &[], None)?;
    Ok(Some(run.stdout).filter(|report| !report.trim().is_empty()))
}

/// Puts the numbers and the way in which the command ended together: a run
/// that did not end well never looks like one whose tests all passed.
fn conclude(
    plan: Plan,
    mut parsed: Parsed,
    run: &Run,
    filter: Option<&str>,
    mut notes: Vec<String>,
) -> Report {
    let total = parsed.counts.total();
    match run.ending {
        Ending::TimedOut => {
            parsed.add_failure("run", "the time ran out; what had not run by then is not counted")
        }
        Ending::Signal(signal) => {
            parsed.add_failure("run", &format!("the test command was ended by signal {signal}"))
        }
        Ending::Code(0) => {}
        Ending::Code(_) if total == 0 && says_no_tests(&run.both) => {}
        Ending::Code(_) if total == 0 => parsed.add_failure("run", tail(&run.both, 1_500)),
        Ending::Code(code) if parsed.counts.failed == 0 => {
            notes.push(format!("the command ended with status {code} although no test failed"));
        }
        Ending::Code(_) => {}
    }
    notes.extend(run.limits.iter().map(|limit| format!("the limit {limit} was reached")));
    if run.dropped > 0 && plan.format.is_streamed() {
        notes.push(format!(
            "{} bytes at the end of the output were dropped; numbers may be missing",
            run.dropped
        ));
        if total == 0 {
            parsed.add_failure("run", "the output exceeded its bound before any result");
        }
    }
    let counts = Some(parsed.counts).filter(|counts| counts.total() > 0);
    if counts.is_none() {
        let which = filter.map_or(String::new(), |filter| format!(" that match `{filter}`"));
        notes.insert(0, format!("no tests found: the command ran none{which}"));
    }
    Report {
        command: plan.command,
        format: Some(plan.format),
        counts,
        failures: parsed.failures,
        exit_code: match run.ending {
            Ending::Code(code) => Some(code),
            Ending::Signal(_) | Ending::TimedOut => None,
        },
        detected_by: plan.detected_by,
        timed_out: run.ending == Ending::TimedOut,
        note: (!notes.is_empty()).then(|| notes.join("; ")),
    }
}

/// Whether a runner that failed says that it had nothing to run.
fn says_no_tests(output: &str) -> bool {
    const WORDS: [&str; 6] = [
        "no tests ran",
        "NO TESTS RAN",
        "No tests found",
        "No test files found",
        "no test files",
        "no tests to run",
    ];
    WORDS.iter().any(|words| output.contains(words))
}

fn output(report: &Report, tail: &str) -> Result<Output> {
    Ok(Output::text(report.text(tail)).details(serde_json::to_value(report)?))
}

#[cfg(test)]
mod tests;
