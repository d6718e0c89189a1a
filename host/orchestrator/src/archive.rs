//! Archive: the change is kept, the workspace released. Nothing here fails a
//! task: what cannot be done is told.

#![expect(clippy::disallowed_methods, reason = "writes what is kept of a task into its folder")]

use std::sync::Arc;

use sortie_agent::Journal as _;
use sortie_core::Actor;
use sortie_core::action::{Against, FileRead, ReadOperation};
use sortie_policy::ports::Workspace;

use crate::run::TaskRun;

/// Bytes of the change that are kept.
const DIFF_MAX: u32 = 8 << 20;

impl TaskRun {
    pub(crate) async fn archive(&self, workspace: Option<Arc<dyn Workspace>>, delivered: bool) {
        // first: whatever still runs in there must not change what is kept
        if let Some(workspace) = workspace {
            workspace.stop().await;
        }
        if let Err(why) = self.keep_diff().await {
            tracing::debug!(why, "no diff is kept");
        }
        if delivered
            && !self.plan.keep
            && let Err(why) = self.release().await
        {
            self.warn(format!("the workspace is not removed: {why}"));
        }
    }

    /// The journal has to know of the delivery before the work is nowhere else.
    async fn release(&self) -> Result<(), String> {
        self.journal.commit().await.map_err(|error| error.to_string())?;
        self.folder.remove_workspace().map_err(|error| error.to_string())
    }

    async fn keep_diff(&self) -> Result<(), String> {
        let changes = self.repository.changes(Against::Base).await.map_err(|error| error.to_string())?;
        let operation = ReadOperation::Diff { against: Against::Base, max: DIFF_MAX };
        let read = FileRead { operation, paths: changes.into_iter().map(|change| change.path).collect() };
        let permit = self.gate.permit(&Actor::Host, read).await.map_err(|refusal| refusal.to_string())?;
        let diff = self.repository.diff(permit).await.map_err(|error| error.to_string())?;
        std::fs::write(self.folder.diff(), diff).map_err(|error| error.to_string())
    }
}
