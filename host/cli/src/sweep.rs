//! What a host leaves that is killed, and who removes it: the next command.
//!
//! Everything here has an owner that holds a lock on it for as long as it
//! lives. What nobody holds is removed, and nothing else. Nothing here fails
//! a command.

#![expect(clippy::disallowed_methods, reason = "removes what a killed host left of its own")]

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sortie_lock::{Hold, Lock};
use sortie_orchestrator::TaskFolder;
use sortie_workspace::archive::Archives;
use sortie_workspace::disk::Quota;
use sortie_workspace::remove_tree;
use sortie_workspace::sandbox;
use sortie_workspace::snapshot::Snapshots;

use crate::home::Places;
use crate::reclaim::{self, Reclaimed};

/// How long the compiled code of a component is kept that nobody uses.
const UNUSED: Duration = Duration::from_secs(30 * 86_400);

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Half-written archives.
    archives: usize,
    /// Tasks in whose folders something temporary lay.
    tasks: usize,
    /// Containers, of those that a task's folder tells of.
    containers: usize,
    /// Workspaces that were root's.
    reclaimed: usize,
    /// Scratch folders.
    scratch: usize,
    /// Cgroups.
    cgroups: usize,
    /// Half-written snapshots.
    snapshots: usize,
    /// Quotas of folders that are gone.
    quotas: usize,
    /// Half-written files of the component cache, and code that nobody used.
    components: usize,
}

impl Swept {
    /// By what people call it.
    pub(crate) fn counts(self) -> BTreeMap<&'static str, usize> {
        BTreeMap::from([
            ("half-written archives", self.archives),
            ("task folders with temporary files", self.tasks),
            ("containers of killed hosts", self.containers),
            ("workspaces that were root's", self.reclaimed),
            ("scratch folders", self.scratch),
            ("cgroups", self.cgroups),
            ("half-written snapshots", self.snapshots),
            ("quotas of folders that are gone", self.quotas),
            ("files of the component cache", self.components),
        ])
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// How much there is time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Care {
    /// Before a command of the user's.
    Quick,
    /// When clearing up is what the user wants.
    Whole,
}

impl Care {
    /// Cgroups of each hierarchy that are looked into; a crowded machine has
    /// thousands.
    fn cgroups(self) -> usize {
        match self {
            Self::Quick => 500,
            Self::Whole => 100_000,
        }
    }

    /// How long a container engine has for all that it has to do.
    fn patience(self) -> Duration {
        match self {
            // nothing that the user wants waits for it, but an entry into what is not cleared up
            Self::Quick => Duration::from_secs(10),
            // it may have millions of files to give back
            Self::Whole => Duration::from_secs(900),
        }
    }

    /// For how long a component must not have been used to go.
    fn unused(self) -> Option<Duration> {
        (self == Self::Whole).then_some(UNUSED)
    }
}

/// Removes what killed hosts left.
pub(crate) async fn left_over(places: &Places, care: Care) -> Swept {
    // first, or what is root's cannot be cleared up
    let Reclaimed { containers, workspaces } = reclaim::from_engine(places, care.patience()).await;
    Swept {
        containers,
        reclaimed: workspaces,
        archives: Archives::new(&places.home).sweep(),
        tasks: TaskFolder::sweep(&places.home),
        scratch: Scratch::sweep(&places.home),
        cgroups: sandbox::sweep(care.cgroups()),
        snapshots: Snapshots::new(&places.home, None).sweep(),
        // after the folders of tasks
        quotas: Quota::sweep(&places.home),
        components: sortie_plugin_host::sweep_cache(&places.component_cache, care.unused()),
    }
}

/// A temporary folder in the state folder. Removed when dropped, or by the
/// next command if this process is killed.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    _lock: Lock,
}

impl Scratch {
    /// Makes an empty folder.
    pub(crate) fn make(home: &Path) -> io::Result<Self> {
        let all = home.join("scratch");
        DirBuilder::new().recursive(true).mode(0o700).create(&all)?;
        loop {
            let path = tempfile::Builder::new().prefix("s-").tempdir_in(&all)?.keep();
            // a sweep may come between the two, and then there is nothing to lock, or nothing of this name
            let Ok(folder) = File::open(&path) else { continue };
            if let Some(lock) = Lock::of_new(folder, &path)? {
                return Ok(Self { path, _lock: lock });
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn sweep(home: &Path) -> usize {
        let entries = fs::read_dir(home.join("scratch")).into_iter().flatten().flatten();
        let is_abandoned =
            |path: &PathBuf| Lock::open(path, Hold::Exclusive).is_ok_and(|_lock| remove_tree(path).is_ok());
        entries.map(|entry| entry.path()).filter(is_abandoned).count()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // what stays is found by the next sweep
        drop(remove_tree(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_folder_goes_with_its_owner_however_that_ends() {
        let home = tempfile::tempdir().expect("a folder");
        let alive = Scratch::make(home.path()).expect("is made");
        let dropped = Scratch::make(home.path()).expect("is made");
        let gone = dropped.path().to_owned();
        drop(dropped);
        assert!(!gone.exists());
        let killed = Scratch::make(home.path()).expect("is made");
        fs::write(killed.path().join("file"), "x").expect("is written");
        let left = killed.path().to_owned();
        // as if the process were gone: the lock is, the folder is not
        std::mem::ManuallyDrop::new(killed)._lock.release().expect("is given back");
        assert_eq!(Scratch::sweep(home.path()), 1);
        assert!(!left.exists() && alive.path().exists());
    }
}
