//! `sortie run`

use std::io::Read as _;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::approver;
use crate::args::RunArguments;
use crate::assemble::{Request, run_task};
use crate::exit::{Exit, Failure, of_task};
use crate::home::Places;
use crate::print;
use crate::signals;

/// Bytes of a prompt.
const PROMPT_MAX: usize = 256 << 10;

pub(crate) async fn run(places: &Places, arguments: RunArguments) -> anyhow::Result<Exit> {
    let cancel = CancellationToken::new();
    signals::watch(cancel.clone())?;
    let as_json = arguments.task.json;
    let request = Request {
        prompt: prompt(arguments.prompt)?,
        arguments: arguments.task,
        cwd: std::env::current_dir().context("the current folder cannot be read")?,
        listener: print::listener(as_json),
        approver: approver::for_this_process(),
        cancel,
    };
    let (report, error) = run_task(places, request).await?;
    if !as_json {
        println!("{}", print::report(&report));
        eprintln!("\n{0} logs {1}    every event\n{0} diff {1}    the change", super::program(), report.task);
    }
    Ok(of_task(report.outcome, error.as_ref()))
}

fn prompt(argument: String) -> anyhow::Result<String> {
    let mut prompt = argument;
    if prompt == "-" {
        prompt.clear();
        let limit = u64::try_from(PROMPT_MAX + 1).unwrap_or(u64::MAX);
        std::io::stdin()
            .lock()
            .take(limit)
            .read_to_string(&mut prompt)
            .context("cannot read the task from standard input")?;
    }
    let trimmed = prompt.trim();
    if trimmed.is_empty() {
        return Err(Failure::usage("the task is empty: say in words what is to be done"));
    }
    if trimmed.len() > PROMPT_MAX {
        return Err(Failure::usage(
            "the task is longer than 256 KiB; put what is long into a file of the repository",
        ));
    }
    Ok(trimmed.to_owned())
}
