//! Commands that the agent's tools left running in the background.

use sortie_core::event::LeftRunning;

use crate::run::{Progress, TaskRun};

impl TaskRun {
    /// Ends what runs in the background, and notes what did. After the work,
    /// so that nothing of the agent's changes the tests' result or what is
    /// committed.
    pub(crate) async fn end_background(&self, progress: &mut Progress) {
        let Some(workspace) = &progress.workspace else { return };
        let left = workspace.commands().end_background().await.into_iter();
        progress.background.extend(left.map(|command| LeftRunning {
            ms: u64::try_from(command.age.as_millis()).unwrap_or(u64::MAX),
            id: command.id,
            command: command.command,
        }));
    }
}
