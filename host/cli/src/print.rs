//! What a person sees of a task, or a program with `--json`.
//!
//! Nothing here fails or panics when its reader goes away, as `head` does: a
//! task must not end for that, least of all in the middle of an event. Where
//! data cannot be written for another reason, such as a full disk, the command
//! says so at its end ([`lost`]).

mod human;
mod json;

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};
use std::sync::OnceLock;

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

/// Why stdout did not take all of the data.
static LOST: OnceLock<String> = OnceLock::new();

/// Prints data on stdout, with a line feed behind it.
pub(crate) fn give(data: impl Display) {
    give_line(data);
}

/// The same; whether it was taken, and somebody may want more.
pub(crate) fn give_line(data: impl Display) -> bool {
    give_bytes(format!("{data}\n").as_bytes())
}

/// Prints data on stdout as it is; whether it was taken.
pub(crate) fn give_bytes(data: &[u8]) -> bool {
    let mut stdout = std::io::stdout().lock();
    let given = stdout.write_all(data).and_then(|()| stdout.flush());
    if let Some(error) = given.as_ref().err().filter(|error| error.kind() != ErrorKind::BrokenPipe) {
        LOST.get_or_init(|| error.to_string());
    }
    given.is_ok()
}

/// Why some of the data is lost: not for a reader that went away, who wanted
/// no more.
pub(crate) fn lost() -> Option<&'static str> {
    LOST.get().map(String::as_str)
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
