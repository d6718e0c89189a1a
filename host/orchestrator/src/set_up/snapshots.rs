//! What earlier set-ups left, and what this one leaves for later ones.

use std::sync::Arc;
use std::time::Instant;

use sortie_agent::Journal as _;
use sortie_core::Actor;
use sortie_core::action::Stage;
use sortie_core::event::{Event, SetUpState};
use sortie_core::text::one_line;
use sortie_policy::ports::ErrorCode;
use sortie_workspace::snapshot::{About, Listing, Snapshot, SnapshotError};

use super::{SetUp, Site, joined};
use crate::environment::Decided;
use crate::run::{RunError, TaskRun, port};

impl TaskRun {
    /// Copies what an earlier set-up of the same key left.
    pub(super) async fn take_up(&self, site: &Site<'_>) -> Result<Option<SetUp>, RunError> {
        if site.decided.setup.is_empty() || !self.plan.snapshots {
            return Ok(None);
        }
        let Some(snapshot) = self.snapshots.find(&site.key) else { return Ok(None) };
        let image_id = snapshot.about().image.clone();
        if image_id.is_some() && !self.has_image(site.decided, image_id.clone()).await? {
            // somebody removed it from the engine; without it the snapshot is none
            drop(snapshot);
            self.snapshots.remove(&site.key.to_string());
            return Ok(None);
        }
        let commands: Vec<_> = site.decided.setup.iter().map(|command| command.line.clone()).collect();
        let shown = |files: &u64| format!("{files} files");
        let snapshot = Arc::new(snapshot);
        let restore = self.restore(Arc::clone(&snapshot), Vec::new());
        self.step("snapshot", commands.join("; "), shown, restore).await?;
        let mut told = String::new();
        for command in &commands {
            told.push_str(&format!("Set-up ran `{}`.\n", one_line(command, 300)));
        }
        Ok(Some(SetUp {
            image_id: image_id.or_else(|| site.identity.image.clone()),
            state: SetUpState::TakenUp,
            told,
            snapshot: Some(snapshot),
        }))
    }

    /// Copies a snapshot, or these paths of it, and says how many files that were.
    async fn restore(&self, snapshot: Arc<Snapshot>, paths: Vec<String>) -> Result<u64, RunError> {
        let (work_tree, home) = (self.folder.work_tree(), self.folder.home());
        let restored = tokio::task::spawn_blocking(move || match paths.is_empty() {
            true => snapshot.restore(&work_tree, &home),
            false => snapshot.restore_paths(&paths, &work_tree, &home),
        });
        Ok(joined(restored.await).map_err(port("take up what an earlier set-up left"))?.files)
    }

    async fn has_image(&self, decided: &Decided, image_id: Option<String>) -> Result<bool, RunError> {
        let create = self.creation(decided, Stage::SetUp, image_id);
        let permit = self.gate.permit(&Actor::Host, create).await?;
        match self.workspaces.identify(permit, &self.spec(decided)).await {
            Ok(_) => Ok(true),
            Err(error) if error.code == ErrorCode::NotFound => Ok(false),
            Err(error) => Err(port("find what the workspace is made of")(error)),
        }
    }

    /// Puts those paths back that are worth keeping though the key is another:
    /// of a set-up in what this one begins with as well. What another system,
    /// another user or other path rules made would not work here, or tell.
    pub(super) async fn take_up_caches(&self, site: &Site<'_>) -> Result<(), RunError> {
        if site.decided.cache.is_empty() || !self.plan.snapshots {
            return Ok(());
        }
        let about = self.about(site, None);
        let Some(newest) = self.snapshots.newest(&about) else { return Ok(()) };
        let cache = site.decided.cache.clone();
        let shown = |files: &u64| format!("{files} files");
        self.step("cache", cache.join(", "), shown, self.restore(Arc::new(newest), cache)).await?;
        Ok(())
    }

    fn about(&self, site: &Site<'_>, image: Option<String>) -> About {
        About {
            repository: self.plan.repository.clone(),
            environment: site.decided.name.clone(),
            made_in: format!("{} {}", self.plan.backend, site.identity.id),
            commands: site.decided.setup.iter().map(|command| command.line.clone()).collect(),
            image: image.filter(|image| Some(image) != site.identity.image.as_ref()),
            bytes: 0,
            image_bytes: 0,
        }
    }

    /// Keeps what set-up made, if that can be. One that is not kept costs the
    /// next task its time.
    pub(super) async fn keep(
        &self,
        site: &Site<'_>,
        before: Listing,
        image: Option<String>,
    ) -> Result<Option<Snapshot>, RunError> {
        let about = self.about(site, image);
        let (snapshots, key, most) = (self.snapshots.clone(), site.key, self.plan.snapshot_rules.one);
        let (work_tree, home) = (self.folder.work_tree(), self.folder.home());
        self.journal_append(Event::StepStarted { step: "keep".into(), detail: "what set-up made".into() });
        self.journal.commit().await?;
        let started = Instant::now();
        let kept = tokio::task::spawn_blocking(move || {
            snapshots.save(&key, &work_tree, &home, &before, most, about)
        });
        let (kept, ended) = match kept.await {
            Ok(Ok(None)) => (false, Ok("another task has kept the same".into())),
            Ok(Ok(Some(about))) => (true, Ok(format!("{} MiB", about.bytes >> 20))),
            Ok(Err(error @ (SnapshotError::Changed(_) | SnapshotError::TooLarge(_)))) => {
                (false, Ok(format!("nothing for the next task: {error}")))
            }
            Ok(Err(error)) => (false, Err(error.to_string())),
            Err(error) => (false, Err(error.to_string())),
        };
        self.end_step("keep", started, ended);
        // held at once; if it is gone all the same, its image is this task's to look after
        Ok(if kept { self.snapshots.find(&site.key) } else { None })
    }
}
