//! Where plugins' words go: into the task's journal, once there is one.

use std::sync::{Arc, OnceLock};

use sortie_agent::Journal as _;
use sortie_core::event::Event;
use sortie_orchestrator::TaskJournal;
use sortie_plugin_host::{PluginLog, ProgressSink};

use crate::print;

/// The log and the progress of all plugins of a process.
#[derive(Clone, Default)]
pub(crate) struct Sinks(Arc<Shared>);

#[derive(Default)]
struct Shared {
    journal: OnceLock<TaskJournal>,
    told_of_compiling: OnceLock<()>,
}

impl Sinks {
    /// From now on everything goes into this journal.
    pub(crate) fn attach(&self, journal: TaskJournal) {
        // one task a process: a second journal would be a mistake of this crate
        drop(self.0.journal.set(journal));
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
        match self.0.journal.get() {
            Some(journal) => journal.append(Event::PluginLog {
                plugin: plugin.to_owned(),
                level: level.to_owned(),
                text: text.to_owned(),
            }),
            None => tracing::warn!(plugin, level, text, "a plugin says, while it is loaded"),
        }
    }

    fn compiling(&self) {
        if self.0.told_of_compiling.set(()).is_ok() {
            print::tell("compiling the components, once");
        }
    }
}

impl ProgressSink for Sinks {
    fn progress(&self, _: &str, text: &str) {
        if let Some(journal) = self.0.journal.get() {
            journal.append(Event::Progress { text: text.to_owned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use sortie_plugin_host::{HostConfig, Limits, PluginHost, PluginSpec};

    #[derive(Default)]
    struct Counts(AtomicUsize);

    impl PluginLog for Counts {
        fn line(&self, _: &str, _: &str, _: &str) {}

        fn compiling(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_component_that_is_kept_is_not_said_to_be_compiled() {
        // the smallest component: it compiles, and is then refused since it exports nothing
        let empty = b"\0asm\x0d\0\x01\0";
        let cache = tempfile::tempdir().expect("a folder");
        let counts = Arc::new(Counts::default());
        for _ in 0..2 {
            let log = Arc::clone(&counts) as Arc<dyn PluginLog>;
            let config = HostConfig { cache_dir: cache.path().join("cache"), limits: Limits::default(), log };
            let host = PluginHost::new(config).expect("a host");
            assert!(host.load(PluginSpec::new("x", empty.to_vec(), "test")).await.is_err());
            assert!(host.load(PluginSpec::new("x", b"no component".to_vec(), "test")).await.is_err());
        }
        assert_eq!(counts.0.load(Ordering::Relaxed), 1);
    }
}
