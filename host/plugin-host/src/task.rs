//! What the tools of a task act on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sortie_policy::Gate;
use sortie_policy::ports::{Background, Commands, ErrorCode, Files, HttpClient, PortError, Repository};

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

/// Detached commands of a task that run at a time.
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

    /// Whether one more command may be detached. Those that ended do not
    /// count, and those that the workspace has forgotten are forgotten here.
    pub(crate) fn check_room(&self) -> Result<(), PortError> {
        // locked before the look, so that one who detaches meanwhile is not forgotten
        let mut owners = self.owners();
        let known = self.context.commands.background();
        let running = known.iter().filter(|command| command.exit.is_none()).count();
        owners.retain(|id, _| known.iter().any(|command| command.id == *id));
        if running < DETACHED {
            return Ok(());
        }
        Err(PortError::new(
            ErrorCode::Unavailable,
            format!(
                "{DETACHED} commands of this task run in the background, which is the most; end one first"
            ),
        ))
    }

    pub(crate) fn detached(&self, id: &str, plugin: &str) {
        self.owners().insert(id.to_owned(), plugin.to_owned());
    }

    /// The detached commands of a plugin, oldest first.
    pub(crate) fn background_of(&self, plugin: &str) -> Vec<Background> {
        let owners = self.owners();
        let known = self.context.commands.background().into_iter();
        known.filter(|command| owners.get(&command.id).is_some_and(|owner| owner == plugin)).collect()
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.detached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A plugin takes up its own commands only: another's were started under
    /// the other's grants.
    pub(crate) fn check_owner(&self, id: &str, plugin: &str) -> Result<(), PortError> {
        match self.owners().get(id) {
            Some(owner) if owner == plugin => Ok(()),
            _ => Err(PortError::new(
                ErrorCode::NotFound,
                format!("no detached command has the id `{}`", sortie_core::text::one_line(id, 80)),
            )),
        }
    }
}
