//! `sortie demo`: a whole task on a small repository, with a scripted model.
//!
//! Everything but the model is what a real task uses: clone, sandbox,
//! components, gate, journal, push. Needs nothing but git and sh.

#![expect(clippy::disallowed_methods, reason = "makes the demo's folder; there is no task yet")]

mod repository;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sortie_core::Outcome;
use sortie_orchestrator::Until;
use sortie_policy::Nobody;
use tokio_util::sync::CancellationToken;

use crate::args::{DemoArguments, TaskArguments};
use crate::assemble::{Request, run_task};
use crate::exit::{Exit, of_task};
use crate::home::Places;
use crate::{print, signals};

const PROMPT: &str = "The test `collapses runs of separators` fails. Fix slug.sh.";

/// What the model says, turn by turn.
const SCRIPT: &str = include_str!("demo/script.json");

pub(crate) async fn run(places: &Places, arguments: DemoArguments) -> anyhow::Result<Exit> {
    let folder = folder(arguments.at)?;
    let (origin, clone) = repository::make(&folder)?;
    let script = folder.join("script.json");
    std::fs::write(&script, SCRIPT).with_context(|| format!("cannot write `{}`", script.display()))?;
    let cancel = CancellationToken::new();
    signals::watch(cancel.clone())?;
    let request = Request {
        prompt: PROMPT.into(),
        arguments: TaskArguments {
            repo: Some(clone.display().to_string()),
            model: Some(format!("scripted:{}", script.display())),
            workspace: arguments.workspace,
            image: arguments.image,
            ..TaskArguments::default()
        },
        cwd: folder.clone(),
        listener: print::listener(arguments.json).0,
        approver: std::sync::Arc::new(Nobody),
        cancel,
        until: Until::Delivered,
    };
    let (report, error) = Box::pin(run_task(places, request)).await?;
    if !arguments.json {
        print::give(print::report(&report));
        if report.outcome == Outcome::Done {
            let branch = report.branch.as_deref().unwrap_or_default();
            print::give(what_next(&folder, &origin, &report.task, branch));
        }
    }
    Ok(of_task(report.outcome, error.as_ref()))
}

fn folder(at: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let folder = match at {
        Some(folder) => {
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make `{}`", folder.display()))?;
            folder
        }
        // kept: the point of a demo is to look at what it did
        None => tempfile::Builder::new()
            .prefix("sortie-demo-")
            .tempdir()
            .context("cannot make a temporary folder")?
            .keep(),
    };
    folder.canonicalize().with_context(|| format!("cannot find `{}`", folder.display()))
}

fn what_next(folder: &Path, origin: &Path, task: &str, branch: &str) -> String {
    let program = super::program();
    format!(
        "\n\
         The demo's repository is {folder}, its origin {origin}.\n\
         Look at what was pushed:   git -C {origin} log --stat {branch} -1\n\
         Look at every event:       {program} logs {task}\n\
         Look at the change:        {program} diff {task}\n\
         \n\
         With a model:              export ANTHROPIC_API_KEY=… (or OPENAI_API_KEY, or OPENAI_BASE_URL for a local one)\n\
         \x20                          {program} run \"…\" --repo PATH-OR-URL --model anthropic/NAME\n\
         What this machine enforces: {program} doctor",
        folder = folder.display(),
        origin = origin.display(),
    )
}
