//! Where plugins' words go: into the task's journal, once there is one.

use std::sync::{Arc, OnceLock};

use sortie_agent::Journal as _;
use sortie_core::event::Event;
use sortie_orchestrator::TaskJournal;
use sortie_plugin_host::{PluginLog, ProgressSink};

/// The log and the progress of all plugins of a process.
#[derive(Clone, Default)]
pub(crate) struct Sinks(Arc<OnceLock<TaskJournal>>);

impl Sinks {
    /// From now on everything goes into this journal.
    pub(crate) fn attach(&self, journal: TaskJournal) {
        // one task a process: a second journal would be a mistake of this crate
        drop(self.0.set(journal));
    }

    pub(crate) fn log(&self) -> Arc<dyn PluginLog> {
        Arc::new(self.clone())
    }

    pub(crate) fn progress(&self) -> Arc<dyn ProgressSink> {
        Arc::new(self.clone())
    }
}

impl PluginLog for Sinks {
    fn line(&self, plugin: &str, level: &str, text: &str) {
        match self.0.get() {
            Some(journal) => journal.append(Event::PluginLog {
                plugin: plugin.to_owned(),
                level: level.to_owned(),
                text: text.to_owned(),
            }),
            None => tracing::warn!(plugin, level, text, "a plugin says, while it is loaded"),
        }
    }
}

impl ProgressSink for Sinks {
    fn progress(&self, _: &str, text: &str) {
        if let Some(journal) = self.0.get() {
            journal.append(Event::Progress { text: text.to_owned() });
        }
    }
}
