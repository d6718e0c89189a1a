//! Archives tasks as the settings want it.

#![expect(
    clippy::disallowed_methods,
    reason = "keeps the journal's lines for the archive in a file without a name"
)]

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use async_trait::async_trait;
use serde_json::{Value, json};
use sortie_core::{Outcome, TaskId};
use sortie_orchestrator::{Archived, Archiver, Remains, Store};
use sortie_policy::ports::PortError;
use sortie_workspace::archive::{Archives, Component, Contents, Manifest, Parts};
use sortie_workspace::snapshot::SnapshotRules;

use crate::plugins::Loaded;
use crate::retention;
use crate::settings::{ArchiveRules, KeepArchives, masked};
use crate::snapshots;
use crate::workspaces::PathRulesOf;

/// Events that are read at a time.
const PAGE: u32 = 500;

/// Archives one task.
#[derive(Clone)]
pub(crate) struct TaskArchiver {
    pub(crate) rules: ArchiveRules,
    pub(crate) snapshots: SnapshotRules,
    pub(crate) home: PathBuf,
    pub(crate) store: Arc<Store>,
    pub(crate) path_rules: PathRulesOf,
    pub(crate) task: TaskId,
    pub(crate) repository: String,
    pub(crate) branch: String,
    pub(crate) workspace: String,
    pub(crate) components: Vec<Component>,
    /// The settings that held, masked.
    pub(crate) settings: Value,
}

#[async_trait]
impl Archiver for TaskArchiver {
    async fn archive(&self, remains: Remains) -> Result<Archived, PortError> {
        // other tasks' set-ups age as well
        snapshots::enforce(&self.home, self.snapshots).await;
        let archiver = self.clone();
        let archived = tokio::task::spawn_blocking(move || {
            let archived = archiver.wanted(remains.report.outcome).then(|| archiver.write(&remains));
            // other tasks' archives and folders age, whatever comes of this one's
            let rules = archiver.rules.retention;
            let removed = retention::enforce(&archiver.home, Some(&archiver.store), rules, SystemTime::now());
            let removed = removed.unwrap_or_else(|error| {
                tracing::warn!(%error, "archives that are to go cannot be removed");
                retention::Surplus::default()
            });
            // what is in it may be nowhere else
            if archived.is_some() && removed.archives.iter().any(|archive| archive.task == archiver.task) {
                anyhow::bail!("`archive.keep_days` and `archive.max_mb` keep no archive of it");
            }
            archived.transpose()
        });
        let contents = archived
            .await
            .map_err(PortError::internal)?
            .map_err(|error| PortError::internal(crate::exit::told(&error)))?;
        Ok(match contents {
            None => Archived::Unwanted,
            Some(contents) if contents.is_partial() => Archived::Partial(describe(&contents)),
            Some(contents) => Archived::Whole(describe(&contents)),
        })
    }
}

impl TaskArchiver {
    fn wanted(&self, outcome: Outcome) -> bool {
        match self.rules.keep {
            KeepArchives::All => true,
            KeepArchives::Failed => outcome != Outcome::Done,
            KeepArchives::None => false,
        }
    }

    fn write(&self, remains: &Remains) -> anyhow::Result<Contents> {
        let journal = self.journal().context("cannot write the journal for the archive")?;
        let rules = self.path_rules.rules();
        let parts = Parts {
            work_tree: &remains.work_tree,
            masked: &|path: &Path| rules.denies_reading(path),
            journal: &journal,
            diff: &remains.diff,
            blobs: &remains.blobs,
        };
        let manifest = |contents: Contents| Manifest {
            format: Manifest::FORMAT,
            sortie: env!("CARGO_PKG_VERSION").into(),
            task: self.task.clone(),
            archived_at: jiff::Timestamp::now().to_string(),
            outcome: remains.report.outcome.name().into(),
            repository: self.repository.clone(),
            base: remains.base.clone(),
            branch: self.branch.clone(),
            workspace: self.workspace.clone(),
            image: remains.image.clone(),
            image_id: remains.image_id.clone(),
            components: self.components.clone(),
            settings: self.settings.clone(),
            report: masked(json!(remains.report)),
            contents,
        };
        let archives = Archives::new(&self.home);
        Ok(archives.write(&self.task, &parts, self.rules.limits, manifest)?.contents)
    }

    /// The events as lines, in a file without a name: it goes with this process.
    fn journal(&self) -> anyhow::Result<File> {
        let mut out = BufWriter::new(tempfile::tempfile_in(&self.home)?);
        let mut after = 0;
        loop {
            let events = self.store.events(&self.task, after, PAGE)?;
            let Some(last) = events.last() else { break };
            after = last.seq;
            for event in &events {
                writeln!(
                    out,
                    "{{\"seq\":{},\"at\":{},\"event\":{}}}",
                    event.seq,
                    json!(event.at),
                    event.body
                )?;
            }
        }
        Ok(out.into_inner()?)
    }
}

/// What was loaded, for a manifest.
pub(crate) fn components(loaded: &Loaded) -> Vec<Component> {
    let component =
        |id: &str, kind: &str, sha256: String| Component { id: id.into(), kind: kind.into(), sha256 };
    let tools = loaded.tools.iter().map(|tool| component(tool.id(), "tool", tool.digest().to_string()));
    let policies = loaded.policies.iter().map(|policy| &policy.plugin);
    tools
        .chain(policies.map(|policy| component(policy.id(), "policy", policy.digest().to_string())))
        .collect()
}

/// What an archive holds of a workspace, and what not, in one line.
pub(crate) fn describe(contents: &Contents) -> String {
    let mut text = format!("{} files, {}", contents.files, size(contents.bytes));
    for (count, what) in [
        (contents.masked, "masked by path rules"),
        (contents.special, "neither file, folder nor link"),
        (contents.too_large, "too large (`archive.file_mb`, `archive.task_mb`)"),
        (contents.unreadable, "unreadable"),
    ] {
        if count > 0 {
            text.push_str(&format!("; left out: {count} {what}"));
        }
    }
    if !contents.left_out.is_empty() {
        text.push_str(&format!(": {}", contents.left_out.join(", ")));
    }
    text
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}
