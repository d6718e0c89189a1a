//! What a person sees of a task, or a program with `--json`.

mod human;
mod json;

use sortie_core::event::Event;
use sortie_orchestrator::Listener;

pub(crate) use human::{describe, report};

/// The listener that prints a task's events as they happen.
pub(crate) fn listener(as_json: bool) -> Listener {
    if as_json {
        Box::new(json::print)
    } else {
        let screen = human::Screen::new();
        Box::new(move |event: &Event| screen.show(event))
    }
}
