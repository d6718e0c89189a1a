//! What a person sees of a task, or a program with `--json`.
//!
//! Nothing here fails or panics when its reader goes away, as `head` does: a
//! task must not end for that, least of all in the middle of an event.

mod human;
mod json;

use std::fmt::Display;
use std::io::Write as _;

use indicatif::ProgressBar;
use sortie_core::event::Event;
use sortie_core::text::strip_escapes;
use sortie_orchestrator::Listener;

pub(crate) use human::{describe, report};

/// The listener that prints a task's events as they happen, and the line that
/// tells what is under way, where there is one.
pub(crate) fn listener(as_json: bool) -> (Listener, Option<ProgressBar>) {
    if as_json {
        return (Box::new(json::print), None);
    }
    let screen = human::Screen::new();
    let busy = screen.busy();
    (Box::new(move |event: &Event| screen.show(event)), Some(busy))
}

/// Prints data on stdout, with a line feed behind it.
pub(crate) fn give(data: impl Display) {
    let mut stdout = std::io::stdout().lock();
    drop(writeln!(stdout, "{data}").and_then(|()| stdout.flush()));
}

/// Prints a line for people on stderr.
pub(crate) fn tell(line: impl Display) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

/// A line of a plugin's log.
pub(crate) fn log_line(plugin: &str, level: &str, text: &str) -> String {
    flat(&format!("  {plugin} {level}: {text}"))
}

/// A text from a model, a plugin or a repository as part of one line: it can
/// neither steer the terminal nor begin a line that looks like ours.
fn flat(text: &str) -> String {
    strip_escapes(text).replace(['\r', '\n'], " ")
}
