//! `sortie run`

use std::io::Read as _;

use anyhow::Context as _;
use sortie_core::Outcome;
use sortie_orchestrator::Until;
use tokio_util::sync::CancellationToken;

use super::shell;
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
    // before Ctrl-C is taken over: nothing would end the wait for standard input
    let prompt = prompt(arguments.prompt)?;
    let cancel = CancellationToken::new();
    signals::watch(cancel.clone())?;
    let as_json = arguments.task.json;
    let (listener, busy) = print::listener(as_json);
    let request = Request {
        prompt,
        arguments: arguments.task,
        cwd: std::env::current_dir().context("the current folder cannot be read")?,
        listener,
        approver: approver::for_this_process(busy, cancel.clone()),
        cancel,
        until: Until::Delivered,
    };
    let (report, error) = Box::pin(run_task(places, request)).await?;
    if !as_json {
        print::give(print::report(&report));
        let program = super::program();
        print::tell(format_args!(
            "\n{program} logs {0}    every event\n{program} diff {0}    the change",
            report.task
        ));
        let left = shell::hint(places, &report.task).filter(|_| report.outcome != Outcome::Done);
        left.into_iter().for_each(print::tell);
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
