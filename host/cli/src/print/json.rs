//! One JSON event a line on stdout.

use std::io::Write as _;

use sortie_core::event::Event;

pub(crate) fn print(event: &Event) {
    if let Ok(line) = serde_json::to_string(event) {
        // a reader that went away does not stop a task
        let mut stdout = std::io::stdout().lock();
        drop(writeln!(stdout, "{line}").and_then(|()| stdout.flush()));
    }
}
