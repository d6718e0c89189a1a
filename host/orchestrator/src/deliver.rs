//! Deliver: commit what is left, push the branch.

use sortie_agent::{Ended, Journal as _};
use sortie_core::Actor;
use sortie_core::action::{Against, Commit, command_line};
use sortie_core::text::one_line;

use crate::run::{RunError, TaskRun, port};

impl TaskRun {
    /// Returns the delivered commit; none if nothing changed, or nothing was
    /// to be pushed.
    pub(crate) async fn deliver(&self, ended: &Ended) -> Result<Option<String>, RunError> {
        self.commit(ended).await?;
        let Some(push) = self.repository.planned_push().await.map_err(port("plan the push"))? else {
            self.warn("nothing changed: there is nothing to deliver");
            return Ok(None);
        };
        if !self.plan.push {
            return Ok(None);
        }
        let commit = push.commit.clone();
        let detail = command_line(&[push.remote.clone(), push.reference.clone()]);
        self.step("push", detail, |()| commit.clone(), async {
            let permit = self.gate.permit(&Actor::Host, push).await?;
            self.journal.commit().await?;
            self.repository.push(permit).await.map_err(port("push"))
        })
        .await?;
        Ok(Some(commit))
    }

    async fn commit(&self, ended: &Ended) -> Result<(), RunError> {
        let changes = self.repository.changes(Against::Head).await.map_err(port("read the change"))?;
        if changes.is_empty() {
            return Ok(());
        }
        let title = if ended.title.is_empty() {
            one_line(&self.plan.prompt, 72)
        } else {
            one_line(&ended.title, 100)
        };
        let message = format!("{title}\n\n{}", ended.summary.trim());
        let detail = format!("{} changed files", changes.len());
        let commit = Commit { branch: self.plan.branch.clone(), message, changes };
        self.step("commit", detail, |id: &String| id.clone(), async {
            let permit = self.gate.permit(&Actor::Host, commit).await?;
            self.journal.commit().await?;
            self.repository.commit(permit).await.map_err(port("commit"))
        })
        .await?;
        Ok(())
    }
}
