//! What the tools of a task act on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sortie_policy::Gate;
use sortie_policy::ports::{Commands, ErrorCode, Files, HttpClient, PortError, Repository};

use crate::log::{PluginLog, ProgressSink};

/// What the tools of a task act on. Nothing here is reached but with a permit
/// of this gate.
pub struct TaskContext {
    /// Decides on each effect.
    pub gate: Arc<Gate>,
    /// Commands in the workspace.
    pub commands: Arc<dyn Commands>,
    /// Files of the work tree.
    pub files: Arc<dyn Files>,
    /// The task's change.
    pub repository: Arc<dyn Repository>,
    /// Outbound HTTP.
    pub http: Arc<dyn HttpClient>,
    /// Where the plugins' words go.
    pub log: Arc<dyn PluginLog>,
    /// Who is told how far a tool has come.
    pub progress: Arc<dyn ProgressSink>,
    /// The longest that one call may take, whatever was asked for.
    pub max_call: Duration,
}

/// Detached commands of a task.
const DETACHED: usize = 256;

/// A task's context, and what its calls leave to one another.
pub(crate) struct Task {
    pub(crate) context: TaskContext,
    /// Detached commands, and the plugins that started them.
    detached: Mutex<HashMap<String, String>>,
}

impl Task {
    pub(crate) fn new(context: TaskContext) -> Self {
        Self { context, detached: Mutex::default() }
    }

    /// Whether one more command may be detached.
    pub(crate) fn may_detach(&self) -> bool {
        self.detached.lock().unwrap_or_else(PoisonError::into_inner).len() < DETACHED
    }

    pub(crate) fn detached(&self, id: &str, plugin: &str) {
        self.detached.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), plugin.to_owned());
    }

    /// A plugin takes up its own commands only: another's were started under
    /// the other's grants.
    pub(crate) fn check_owner(&self, id: &str, plugin: &str) -> Result<(), PortError> {
        match self.detached.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            Some(owner) if owner == plugin => Ok(()),
            _ => Err(PortError::new(
                ErrorCode::NotFound,
                format!("no detached command has the id `{}`", sortie_core::text::one_line(id, 80)),
            )),
        }
    }
}
