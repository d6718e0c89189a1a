//! `sortie logs ID`

use std::time::Duration;

use sortie_core::TaskId;
use sortie_core::event::Event;
use sortie_core::text::strip_escapes;
use sortie_orchestrator::{Store, StoredEvent, TaskFolder, TaskRecord};

use crate::args::LogsArguments;
use crate::exit::{Exit, Failure};
use crate::home::Places;
use crate::print;

/// Events that are read at a time.
const PAGE: u32 = 500;

pub(crate) async fn run(places: &Places, arguments: &LogsArguments) -> anyhow::Result<Exit> {
    let store = Store::open(&places.home)?;
    known_task(&store, &arguments.id)?;
    let mut after = 0;
    loop {
        // looked at before the events are read: what was written before it ended is then among them
        let running = TaskFolder::is_taken(&places.home, &arguments.id);
        let events = store.events(&arguments.id, after, PAGE)?;
        for event in &events {
            after = event.seq;
            if !print(event, arguments.json) {
                return Ok(Exit::Done);
            }
        }
        if events.is_empty() {
            if !(arguments.follow && running) {
                return Ok(Exit::Done);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}

/// Whether there is somebody who reads on.
fn print(event: &StoredEvent, as_json: bool) -> bool {
    if as_json {
        return print::give_line(&event.body);
    }
    let time = event.at.get(11..19).unwrap_or_default();
    let Ok(parsed) = serde_json::from_str::<Event>(&event.body) else {
        return print::give_line(format_args!("{time}  {}", strip_escapes(&event.body)));
    };
    if let Event::TaskEnded(report) = &parsed {
        return print::give_line(format_args!(
            "{time}  {}",
            print::report(report).replace('\n', "\n          ")
        ));
    }
    // too much for a live screen; here its author looks for it
    if let Event::PluginLog { plugin, level, text } = &parsed {
        return print::give_line(format_args!("{time}  {}", print::log_line(plugin, level, text)));
    }
    print::describe(&parsed).iter().all(|line| print::give_line(format_args!("{time}  {line}")))
}

/// The task, or an error that says how to find one.
pub(crate) fn known_task(store: &Store, id: &TaskId) -> anyhow::Result<TaskRecord> {
    store.task(id)?.ok_or_else(|| {
        Failure::usage(format!("there is no {id}; `{} list` shows the tasks", super::program()))
    })
}
