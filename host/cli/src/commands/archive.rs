//! `sortie archive list|show|restore|rm`

use std::path::PathBuf;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::json;
use sortie_core::TaskId;
use sortie_core::text::one_line;
use sortie_orchestrator::{FolderError, TaskFolder};
use sortie_workspace::archive::{ArchiveError, Archives, Manifest, UnpackLimits, What};
use sortie_workspace::disk::Quota;

use crate::archiver::{describe, size};
use crate::args::ArchiveCommand;
use crate::exit::{Exit, Failure};
use crate::home::Places;
use crate::print;

pub(crate) fn run(places: &Places, command: ArchiveCommand) -> anyhow::Result<Exit> {
    let archives = Archives::new(&places.home);
    match command {
        ArchiveCommand::List(arguments) => list(&archives, arguments.json),
        ArchiveCommand::Show { id, json } => show(&archives, &id, json),
        ArchiveCommand::Restore { id, folder } => restore(&archives, &id, folder),
        ArchiveCommand::Rm { ids } => remove(places, &archives, &ids),
    }
}

fn list(archives: &Archives, as_json: bool) -> anyhow::Result<Exit> {
    let listed = archives.list()?;
    if listed.is_empty() && !as_json {
        print::tell("no archives; a task is archived when it ends, see `archive` in docs/settings.md");
    }
    for archive in listed {
        let manifest = archives.manifest(&archive.task);
        let outcome = manifest.as_ref().map_or("damaged", |manifest| &manifest.outcome);
        let at = Timestamp::try_from(archive.at).unwrap_or_default().to_string();
        print::give(if as_json {
            json!({ "task": archive.task, "at": at, "bytes": archive.bytes, "outcome": outcome,
                "path": archives.path(&archive.task).display().to_string() })
            .to_string()
        } else {
            let at = at.get(..16).unwrap_or_default().replace('T', " ");
            let repository = manifest.as_ref().map_or("", |manifest| &manifest.repository);
            let bytes = size(archive.bytes);
            format!(
                "{}  {at}  {:<9}  {bytes:>9}  {}",
                archive.task,
                one_line(outcome, 9),
                one_line(repository, 80)
            )
        });
    }
    Ok(Exit::Done)
}

fn show(archives: &Archives, id: &TaskId, as_json: bool) -> anyhow::Result<Exit> {
    let manifest = archives.manifest(id).map_err(known)?;
    if as_json {
        print::give(json!(manifest));
        return Ok(Exit::Done);
    }
    let path = archives.path(id).display().to_string();
    for (name, value) in lines(&manifest) {
        print::give(format_args!("{name:<11} {}", one_line(&value, 300)));
    }
    print::give(format_args!("{:<11} {path}", "file"));
    Ok(Exit::Done)
}

fn lines(manifest: &Manifest) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("task", manifest.task.to_string()),
        ("outcome", manifest.outcome.clone()),
        ("archived", format!("{} by sortie {}", manifest.archived_at, manifest.sortie)),
        ("repository", manifest.repository.clone()),
        ("base", manifest.base.clone().unwrap_or_else(|| "none: it was not cloned".into())),
        ("branch", manifest.branch.clone()),
        ("workspace", manifest.workspace.clone()),
    ];
    lines.extend(manifest.image.clone().map(|image| ("image", image)));
    lines.extend(manifest.image_id.clone().map(|id| ("image id", id)));
    lines.push(("holds", describe(&manifest.contents)));
    for component in &manifest.components {
        let digest = component.sha256.get(..12).unwrap_or(&component.sha256);
        lines.push(("component", format!("{} ({}) {digest}", component.id, component.kind)));
    }
    lines
}

fn restore(archives: &Archives, id: &TaskId, folder: Option<PathBuf>) -> anyhow::Result<Exit> {
    let folder = std::path::absolute(folder.unwrap_or_else(|| id.as_str().into()))
        .context("the folder's path cannot be understood")?;
    if let Some(parent) = folder.parent() {
        #[expect(clippy::disallowed_methods, reason = "makes what the user named, as asked")]
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make `{}`", parent.display()))?;
    }
    let restored = archives.restore(id, What::All, &folder, None, UnpackLimits::default()).map_err(known)?;
    let (files, bytes) = (restored.files, size(restored.bytes));
    print::tell(format_args!("{files} files, {bytes}; the work tree is in its folder `workspace`"));
    print::give(folder.display());
    Ok(Exit::Done)
}

fn remove(places: &Places, archives: &Archives, ids: &[TaskId]) -> anyhow::Result<Exit> {
    for id in ids {
        // first: if this is killed, there still is an archive to name again
        let folder = TaskFolder::remove(&places.home, id);
        let had_folder = match folder {
            Ok(()) => true,
            Err(FolderError::None(_)) => false,
            Err(error) => return Err(super::shell::known(error)),
        };
        match archives.remove(id) {
            Err(ArchiveError::None(_)) if had_folder => {}
            removed => removed.map_err(known)?,
        }
        print::give(id);
    }
    Quota::sweep(&places.home);
    Ok(Exit::Done)
}

/// What the user can mend is a usage error.
pub(super) fn known(error: ArchiveError) -> anyhow::Error {
    match &error {
        ArchiveError::None(_) => {
            Failure::usage(format!("{error}; `{} archive list` shows those that there are", super::program()))
        }
        ArchiveError::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => {
            Failure::usage(error.to_string())
        }
        _ => error.into(),
    }
}
