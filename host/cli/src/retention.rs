//! What is kept of tasks that ended: their archives, and with them their
//! folders.

use std::path::Path;
use std::time::SystemTime;

use sortie_core::TaskId;
use sortie_orchestrator::{FolderError, Stale, Store, TaskFolder, WorkspaceParts};
use sortie_workspace::archive::{ArchiveError, Archives, Listed, Retention};
use sortie_workspace::disk::{Quota, size};

/// What goes, or would.
#[derive(Debug, Default)]
pub(crate) struct Surplus {
    pub(crate) archives: Vec<Listed>,
    pub(crate) folders: Vec<Stale>,
}

/// What the rules do not keep: archives; what the folder of a task that has no
/// workspace holds beside an archive that goes; and folders in which nothing
/// happened for as long as an archive is kept, which only a journal can tell.
///
/// # Errors
/// If the archives cannot be listed.
pub(crate) fn surplus(
    home: &Path,
    store: Option<&Store>,
    rules: Retention,
    now: SystemTime,
) -> Result<Surplus, ArchiveError> {
    let archives = Archives::new(home).superfluous(rules, now)?;
    let mut folders = store.map(|store| TaskFolder::stale(home, store, rules.age, now)).unwrap_or_default();
    for Listed { task, .. } in &archives {
        let folder = TaskFolder::place(home, task);
        let is_new = folders.iter().all(|one| one.task != *task);
        let has_workspace = WorkspaceParts::own(home, task).are_there();
        if is_new && folder.is_dir() && !has_workspace && !TaskFolder::is_taken(home, task) {
            folders.push(Stale { bytes: size(&folder), task: task.clone() });
        }
    }
    Ok(Surplus { archives, folders })
}

/// Removes what the rules do not keep, and returns it. What cannot be removed,
/// or somebody works on, stays and is not returned.
///
/// # Errors
/// As [`surplus`].
pub(crate) fn enforce(
    home: &Path,
    store: Option<&Store>,
    rules: Retention,
    now: SystemTime,
) -> Result<Surplus, ArchiveError> {
    let mut surplus = surplus(home, store, rules, now)?;
    // first: an archive that stays because this is killed goes the next time, and its folder with it
    surplus.folders.retain(|folder| remove_folder(home, &folder.task));
    let archives = Archives::new(home);
    surplus.archives.retain(|archive| archives.remove(&archive.task).is_ok());
    if !surplus.folders.is_empty() {
        Quota::sweep(home);
    }
    Ok(surplus)
}

fn remove_folder(home: &Path, task: &TaskId) -> bool {
    match TaskFolder::remove(home, task) {
        Ok(()) => true,
        // somebody came, or was faster
        Err(FolderError::Taken(_) | FolderError::None(_)) => false,
        Err(error) => {
            tracing::warn!(%task, %error, "its folder cannot be removed");
            false
        }
    }
}
