//! Archive: the change is kept, the workspace archived and released. Nothing
//! here fails a task: what cannot be done is told.

#![expect(clippy::disallowed_methods, reason = "writes what is kept of a task into its folder")]

use std::path::PathBuf;
use std::time::Instant;

use async_trait::async_trait;
use sortie_agent::{Ended, Journal as _};
use sortie_core::action::{Against, FileRead, ReadOperation};
use sortie_core::event::{Event, Report};
use sortie_core::{Actor, Outcome};
use sortie_policy::ports::PortError;

use crate::run::{MadeOf, Progress, RunError, TaskRun, Until};

/// Bytes of the change that are kept.
const DIFF_MAX: u32 = 8 << 20;

/// Keeps what is left of a task once its workspace has stopped.
#[async_trait]
pub trait Archiver: Send + Sync {
    /// Archives a task, if the settings want that of tasks that end like it,
    /// and then removes archives that the settings do not keep any longer.
    ///
    /// # Errors
    /// If it cannot be archived; then there is no half of it either.
    async fn archive(&self, remains: Remains) -> Result<Archived, PortError>;
}

/// What is left of a task.
#[derive(Clone, Debug)]
pub struct Remains {
    /// Root of the work tree. Nothing runs in it any more.
    pub work_tree: PathBuf,
    /// Folder of large outputs.
    pub blobs: PathBuf,
    /// The change as a unified diff; not there if nothing was checked out.
    pub diff: PathBuf,
    /// The commit that the task began from, if it came that far.
    pub base: Option<String>,
    /// The image of its container, as it was named.
    pub image: Option<String>,
    /// The image that the agent's container began from, by id.
    pub image_id: Option<String>,
    /// The report of the task, which its journal will end with.
    pub report: Report,
}

/// What came of an archive. The texts say for people what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Archived {
    /// The settings want none.
    Unwanted,
    /// All of the workspace is in it that should be.
    Whole(String),
    /// Something that should be in it was too large, or could not be read.
    Partial(String),
}

impl TaskRun {
    /// Ends the workspace and keeps what is left of the task.
    pub(crate) async fn archive(&self, ended: Ended, mut progress: Progress) -> Report {
        // first: whatever still runs in there must not change what is kept
        if let Some(workspace) = progress.workspace.take()
            && let Err(error) = workspace.stop().await
        {
            // what may run in it still, or is its root's, is not read and not removed; what ends it clears up as well
            self.warn(format!("the workspace is left as it is, neither archived nor removed: {error}"));
            return self.report(ended, progress);
        }
        // of a set-up that failed nobody would find them
        if !self.plan.keep || !progress.made_of.is_clean {
            for image in progress.made_of.own_images.drain(..).rev() {
                self.workspaces.discard(&image).await;
            }
        }
        if !progress.made_of.is_clean
            && let Err(why) = self.holds_no_secret().await
        {
            return self.purge(&why, ended, progress);
        }
        if let Err(error) = self.folder.check_owned() {
            // half of it cannot be read, and who wrote it may write still
            self.warn(format!("the workspace is not archived: {error}"));
            return self.report(ended, progress);
        }
        if let Err(why) = self.keep_diff().await {
            tracing::debug!(why, "no diff is kept");
        }
        let delivered = progress.delivered.is_some();
        let made_of = progress.made_of.clone();
        let is_cloned = made_of.base.is_some();
        let report = self.report(ended, progress);
        if self.plan.until == Until::SetUp && report.outcome == Outcome::Done {
            // nobody has worked on it
            if !self.plan.keep
                && let Err(why) = self.release(true).await
            {
                self.warn(format!("the workspace is not removed: {why}"));
            }
            return report;
        }
        let archived = self.keep_workspace(&report, made_of).await;
        // what is nowhere else stays
        let is_safe = delivered || matches!(archived, Some(Archived::Whole(_)));
        if is_safe
            && !self.plan.keep
            && let Err(why) = self.release(delivered || self.has_nothing_to_deliver(is_cloned).await).await
        {
            self.warn(format!("the workspace is not removed: {why}"));
        }
        report
    }

    /// Says why what a set-up left that did not come to its end may hold a
    /// secret, for all that can be seen.
    async fn holds_no_secret(&self) -> Result<(), String> {
        if self.plan.secrets.is_empty() {
            return Ok(());
        }
        self.search_folders().await.map_err(|error| match error {
            RunError::LeftSecret { .. } => "set-up left a secret in it".to_owned(),
            error => format!("whether set-up left a secret in it cannot be told: {error}"),
        })
    }

    /// Removes a workspace that nobody may look into, `--keep` or not.
    fn purge(&self, why: &str, ended: Ended, progress: Progress) -> Report {
        let removed = self.folder.remove_workspace();
        match removed.and_then(|()| self.folder.clear_of_suspicion()) {
            Ok(()) => self.warn(format!("the workspace is removed and not archived: {why}")),
            // the mark stays, by which the next command knows that it is to go
            Err(error) => self.warn(format!(
                "the workspace is not archived: {why}; it goes once it can be removed: {error}"
            )),
        }
        self.report(ended, progress)
    }

    /// Whether the task was cancelled does not matter here: somebody may want
    /// to look at what it came to.
    async fn keep_workspace(&self, report: &Report, made_of: MadeOf) -> Option<Archived> {
        let remains = Remains {
            work_tree: self.folder.work_tree(),
            blobs: self.folder.blobs(),
            diff: self.folder.diff(),
            base: made_of.base,
            image: made_of.image,
            image_id: made_of.image_id,
            report: report.clone(),
        };
        self.journal_append(Event::StepStarted { step: "archive".into(), detail: String::new() });
        if let Err(error) = self.journal.commit().await {
            self.warn(format!("the workspace is not archived: {error}"));
            return None;
        }
        let started = Instant::now();
        let archived = self.archiver.archive(remains).await;
        let detail = match &archived {
            Ok(Archived::Unwanted) => Ok("the settings want none".to_owned()),
            Ok(Archived::Whole(what) | Archived::Partial(what)) => Ok(what.clone()),
            Err(error) => Err(error.to_string()),
        };
        if let Ok(Archived::Partial(what)) = &archived {
            self.warn(format!("the archive lacks a part of the workspace: {what}"));
        }
        self.end_step("archive", started, detail);
        archived.ok()
    }

    /// Whether the host's own repository has no commit of the task's.
    async fn has_nothing_to_deliver(&self, is_cloned: bool) -> bool {
        !is_cloned || matches!(self.repository.planned_push().await, Ok(None))
    }

    /// The journal has to know of the delivery, or the archive, before the work is nowhere else.
    async fn release(&self, with_repository: bool) -> Result<(), String> {
        self.journal.commit().await.map_err(|error| error.to_string())?;
        let removed = match with_repository {
            true => self.folder.remove_all_but_records(),
            false => self.folder.remove_workspace(),
        };
        removed.map_err(|error| error.to_string())
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
