//! `sortie env build`: makes the snapshot that the next task begins from, by a
//! task that ends with its set-up.

use std::io::Write as _;

use anyhow::Context as _;
use indicatif::ProgressBar;
use sortie_core::Outcome;
use sortie_core::event::Report;
use sortie_orchestrator::{Listener, RunError, Until};
use tokio_util::sync::CancellationToken;

use crate::approver;
use crate::args::{BuildArguments, EnvironmentArguments, TaskArguments};
use crate::assemble::{Request, run_task};
use crate::exit::{Exit, of_task};
use crate::home::Places;
use crate::{print, signals};

/// How such a task is told apart in `sortie list`.
const PROMPT: &str = "Prepare the environment.";

pub(super) async fn run(places: &Places, arguments: BuildArguments) -> anyhow::Result<Exit> {
    let BuildArguments { of, json } = arguments;
    let (report, error) = prepare(places, of, print::listener(json), false).await?;
    if !json {
        print::give(&report.summary);
        if report.outcome != Outcome::Done {
            let program = crate::commands::program();
            print::tell(format_args!("\n{program} logs {}    every event", report.task));
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
    let mut script = tempfile::NamedTempFile::new().context("no temporary file can be made")?;
    script.write_all(b"{ \"replies\": [] }").context("a temporary file cannot be written")?;
    let cancel = CancellationToken::new();
    signals::watch(cancel.clone())?;
    let request = Request {
        prompt: PROMPT.into(),
        arguments: TaskArguments {
            model: Some(format!("scripted:{}", script.path().display())),
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
