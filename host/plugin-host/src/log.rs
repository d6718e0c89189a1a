//! Where a plugin's words go.

use std::sync::Arc;

use sortie_core::text::{clip, strip_escapes};

/// The log of plugins, for their authors and operators.
pub trait PluginLog: Send + Sync {
    /// One line of at most 8 KiB, without terminal escapes. `level` is
    /// `debug`, `info`, `warn` or `error`.
    fn line(&self, plugin: &str, level: &str, text: &str);

    /// A component is not in the cache and is being compiled, which takes seconds.
    fn compiling(&self) {}
}

/// Who is told how far a tool has come.
pub trait ProgressSink: Send + Sync {
    /// At most 200 characters in one line, without terminal escapes.
    fn progress(&self, plugin: &str, text: &str);
}

/// Drops everything.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl PluginLog for Silent {
    fn line(&self, _: &str, _: &str, _: &str) {}
}

impl ProgressSink for Silent {
    fn progress(&self, _: &str, _: &str) {}
}

/// Bytes of a line in the log.
const LINE: usize = 8 << 10;
/// Lines of one call.
const LINES: u32 = 1000;

/// One call's access to the log: bounded, and every line made safe.
pub(crate) struct Writer {
    sink: Arc<dyn PluginLog>,
    plugin: Arc<str>,
    left: u32,
}

impl Writer {
    pub(crate) fn new(sink: Arc<dyn PluginLog>, plugin: Arc<str>) -> Self {
        Self { sink, plugin, left: LINES }
    }

    /// A writer with lines of its own, for the same plugin.
    pub(crate) fn sibling(&self) -> Self {
        Self::new(Arc::clone(&self.sink), Arc::clone(&self.plugin))
    }

    /// Writes what the guest says, as long as its lines last.
    pub(crate) fn guest(&mut self, level: &str, text: &str) {
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            self.line(level, text);
        }
    }

    /// Writes what the host says about the guest.
    pub(crate) fn line(&self, level: &str, text: &str) {
        let text = strip_escapes(clip(text, LINE).as_ref()).replace(['\r', '\n'], " ");
        self.sink.line(&self.plugin, level, &text);
    }
}
