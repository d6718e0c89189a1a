//! What is kept of the limits of a workspace beside the commands' own: the
//! disk, and what an operator does without.

use std::path::{Path, PathBuf};

use sortie_agent::Journal as _;
use sortie_core::event::Event;
use sortie_orchestrator::TaskJournal;
use sortie_policy::ports::PortError;
use sortie_workspace::Isolated;
use sortie_workspace::disk::{DiskLimits, DiskWatch, Quota};
use sortie_workspace::sandbox::{Accepted, Limits, Reduced};

use super::unavailable;
use crate::settings::WorkspaceSettings;

/// What a workspace may fill of the disk.
pub(crate) fn disk(settings: &WorkspaceSettings) -> DiskLimits {
    let defaults = DiskLimits::default();
    let bytes = |megabytes: Option<u64>, default| megabytes.map_or(default, |mb| mb.saturating_mul(1 << 20));
    DiskLimits {
        bytes: bytes(settings.disk_mb, defaults.bytes),
        free: bytes(settings.disk_free_mb, defaults.free),
    }
}

/// What the settings accept; names that nobody knows were refused as they
/// were read.
pub(crate) fn accepted(settings: &WorkspaceSettings) -> Accepted {
    let named = |reduced: &Reduced| settings.accept.iter().any(|name| name == reduced.name());
    Reduced::ALL.into_iter().filter(named).fold(Accepted::default(), Accepted::and)
}

/// Whether there is room for a workspace in this folder.
pub(super) fn room(folder: &Path, settings: &WorkspaceSettings) -> Result<(), PortError> {
    DiskWatch::check(folder, disk(settings)).map_err(unavailable)
}

/// Has the kernel bound what these new folders can hold, where it can; elsewhere
/// the watcher does so alone.
pub(crate) fn quota(folders: &[PathBuf], settings: &WorkspaceSettings) {
    if let Err(error) = Quota::give(folders, disk(settings).bytes) {
        tracing::warn!(%error, "the workspace's folders get no quota, and are watched instead");
    }
}

/// Gives back the quotas of folders that are gone.
pub(crate) fn give_back(home: &Path) {
    Quota::sweep(home);
}

/// Watches the folders of a workspace; has the journal say when that ended what
/// ran. What a container holds beside them it watches itself.
pub(super) fn watch(
    isolated: &dyn Isolated,
    folders: Vec<PathBuf>,
    settings: &WorkspaceSettings,
    journal: &TaskJournal,
) -> Result<DiskWatch, PortError> {
    let journal = journal.clone();
    let tell = Box::new(move |reached| {
        let text = format!("the workspace's limit {reached} was reached: all of its commands were ended");
        journal.append(Event::Warning { text });
    });
    DiskWatch::start(isolated.client().clone(), folders, isolated.process(), disk(settings), tell)
        .map_err(unavailable)
}

/// Says what is not limited, because that was accepted.
pub(super) fn tell_reduced(isolated: &dyn Isolated, limits: &Limits, journal: &TaskJournal) {
    for reduced in isolated.enforced().reduced(limits) {
        let (limit, name) = (reduced.limit(), reduced.name());
        let text = format!("nobody limits {limit} of this workspace, which `{name}` accepts");
        journal.append(Event::Warning { text });
    }
}
