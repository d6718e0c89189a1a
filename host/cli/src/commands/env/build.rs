//! `sortie env build`: makes the snapshot that the next task begins from, by a
//! task that ends with its set-up.

#![expect(clippy::disallowed_methods, reason = "writes the script of a model that is not asked")]

use anyhow::Context as _;
use indicatif::ProgressBar;
use sortie_core::Outcome;
use sortie_core::event::Report;
use sortie_orchestrator::{Listener, RunError, Until};
use tokio_util::sync::CancellationToken;

use crate::approver;
use crate::args::{BuildArguments, EnvironmentArguments, TaskArguments};
use crate::assemble::{Request, run_task};
use crate::commands::shell;
use crate::exit::{Exit, of_task};
use crate::home::Places;
use crate::sweep::Scratch;
use crate::{print, signals};

/// How such a task is told apart in `sortie list`.
const PROMPT: &str = "Prepare the environment.";

pub(super) async fn run(places: &Places, arguments: BuildArguments) -> anyhow::Result<Exit> {
    let BuildArguments { of, json } = arguments;
    let (report, error) = prepare(places, of, print::listener(json), false).await?;
    if !json {
        print::give(&report.summary);
        if report.outcome != Outcome::Done {
            let task = &report.task;
            print::tell(format_args!("\n{} logs {task}    every event", crate::commands::program()));
            shell::hint(places, task).into_iter().for_each(print::tell);
        }
    }
    Ok(of_task(report.outcome, error.as_ref()))
}

/// Runs a task to the end of its set-up. With `keep` its workspace's folders
/// stay in place.
pub(super) async fn prepare(
    places: &Places,
    of: EnvironmentArguments,
    (listener, busy): (Listener, Option<ProgressBar>),
    keep: bool,
) -> anyhow::Result<(Report, Option<RunError>)> {
    // the next command removes it if this one is killed
    let scratch = Scratch::make(&places.home).context("no temporary folder can be made")?;
    let script = scratch.path().join("script.json");
    std::fs::write(&script, "{ \"replies\": [] }").context("a temporary file cannot be written")?;
    let cancel = CancellationToken::new();
    signals::watch(cancel.clone())?;
    let request = Request {
        prompt: PROMPT.into(),
        arguments: TaskArguments {
            model: Some(format!("scripted:{}", script.display())),
            deliver: Some("none".into()),
            keep,
            ..of.into_task()
        },
        cwd: std::env::current_dir().context("the current folder cannot be read")?,
        listener,
        approver: approver::for_this_process(busy, cancel.clone()),
        cancel,
        until: Until::SetUp,
    };
    Box::pin(run_task(places, request)).await
}
