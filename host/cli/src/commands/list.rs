//! `sortie list`

use serde_json::json;
use sortie_core::text::one_line;
use sortie_orchestrator::{Store, TaskFolder, TaskRecord};

use crate::args::ListArguments;
use crate::exit::Exit;
use crate::home::Places;
use crate::print;

pub(crate) fn run(places: &Places, arguments: &ListArguments) -> anyhow::Result<Exit> {
    let tasks = Store::open(&places.home)?.tasks()?;
    if tasks.is_empty() && !arguments.json {
        let program = super::program();
        print::tell(format_args!("no tasks yet; `{program} demo` shows one, `{program} run` runs one"));
    }
    for task in tasks {
        let state = state(places, &task);
        let line = if arguments.json {
            json!({
                "task": task.id, "state": state, "created_at": task.created_at, "prompt": task.prompt,
                "repository": task.repository, "branch": task.branch, "model": task.model,
            })
            .to_string()
        } else {
            let created = task.created_at.get(..16).unwrap_or_default().replace('T', " ");
            format!("{}  {created}  {state:<11}  {}", task.id, one_line(&task.prompt, 80))
        };
        if !print::give_line(line) {
            break;
        }
    }
    Ok(Exit::Done)
}

/// The outcome of a task that ended; else whether somebody works on it.
fn state(places: &Places, task: &TaskRecord) -> String {
    match &task.outcome {
        Some(outcome) => outcome.clone(),
        None if TaskFolder::is_taken(&places.home, &task.id) => "running".into(),
        None => "interrupted".into(),
    }
}
