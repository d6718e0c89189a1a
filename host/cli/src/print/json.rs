//! One JSON event a line on stdout.

use sortie_core::event::Event;

pub(crate) fn print(event: &Event) {
    if let Ok(line) = serde_json::to_string(event) {
        super::give(line);
    }
}
