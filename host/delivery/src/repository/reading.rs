//! What only reads: changes, diffs, history.

use sortie_core::action::{Against, Change};
use sortie_policy::ports::{CommitInfo, PortError};

use super::{Inner, State};
use crate::blob::{self, Unread};
use crate::folder::{Folder, is_gone};
use crate::history::{self, PermittedPaths, changes, side_of};
use crate::ignore_rules::IgnoreRules;
use crate::patch::{COMPARED, Content, Diff, Side};
use crate::scan::{MOST_NEW, Reader, Snapshot};
use crate::set_up::SetUp;
use crate::store::{Standing, Store};
use crate::tree::{Difference, unreadable};

impl Inner {
    pub(super) fn store(&self) -> Result<Store, PortError> {
        Store::open(&self.config.host_repository, &self.config.branch)
    }

    pub(super) fn root(&self) -> Result<Folder, PortError> {
        Folder::open(&self.config.work_tree)
            .map_err(|error| PortError::internal(format!("the work tree cannot be opened: {error}")))
    }

    /// Reads the work tree. Set-up's untracked files are in it only if
    /// `set_up` does not name them.
    pub(super) fn snapshot(
        &self,
        state: &mut State,
        store: &Store,
        standing: Standing,
        set_up: &SetUp,
        most_new: usize,
    ) -> Result<Snapshot, PortError> {
        let base = state.listings.of(&store.repository, standing.base)?;
        let head = state.listings.of(&store.repository, standing.head)?;
        let reader = Reader {
            repository: &store.repository,
            base: &base,
            head: &head,
            set_up,
            rules: IgnoreRules::new(std::sync::Arc::clone(&self.build_output)),
            compiled: &mut state.compiled,
            cache: &mut state.cache,
            most_new,
            cancel: &self.config.cancel,
        };
        let mut snapshot = Snapshot::read(&self.root()?, reader)?;
        state.tell(std::mem::take(&mut snapshot.notices));
        Ok(snapshot)
    }

    /// How the work tree differs, without what set-up left there.
    pub(super) fn differences(
        &self,
        state: &mut State,
        store: &Store,
        standing: Standing,
        against: Against,
    ) -> Result<Vec<Difference>, PortError> {
        let set_up = match state.set_up.take() {
            Some(set_up) => set_up,
            None => SetUp::load(&self.config.host_repository)?,
        };
        let snapshot = self.snapshot(state, store, standing, &set_up, MOST_NEW);
        let base = state.listings.of(&store.repository, standing.base)?;
        let head = state.listings.of(&store.repository, standing.head)?;
        let differences = snapshot.map(|snapshot| {
            let mut found = snapshot.differences(if against == Against::Base { &base } else { &head });
            // where the branch has moved on, its own commit is what counts
            let by_set_up =
                |path: &[u8]| base.get(path) == head.get(path) && set_up.explains(path, snapshot.entry(path));
            found.retain(|(path, _)| !by_set_up(path));
            found
        });
        state.set_up = Some(set_up);
        differences
    }

    pub(super) fn changes(&self, state: &mut State, against: Against) -> Result<Vec<Change>, PortError> {
        let store = self.store()?;
        let standing = store.fetched()?;
        Ok(changes(&self.differences(state, &store, standing, against)?))
    }

    pub(super) fn status(&self, state: &mut State, paths: &[String]) -> Result<Vec<Change>, PortError> {
        let permitted = PermittedPaths::of_paths(paths);
        let mut changes = self.changes(state, Against::Head)?;
        changes.retain(|change| permitted.names(change.path.as_bytes()));
        Ok(changes)
    }

    pub(super) fn diff(
        &self,
        state: &mut State,
        against: Against,
        paths: &[String],
        max: u32,
    ) -> Result<String, PortError> {
        let store = self.store()?;
        let standing = store.fetched()?;
        let permitted = PermittedPaths::of_paths(paths);
        let differences = self.differences(state, &store, standing, against)?;
        let from = if against == Against::Base { standing.base } else { standing.head };
        let listing = state.listings.of(&store.repository, from)?;
        let root = self.root()?;
        let mut diff = Diff::new(max);
        for (path, _) in differences.iter().filter(|(path, _)| permitted.names(path)) {
            if diff.is_full() {
                diff.skip();
                continue;
            }
            let old = side_of(&store.repository, listing.get(path))?;
            diff.file(path, old.as_ref(), work_tree_side(&root, path)?.as_ref())?;
        }
        Ok(diff.finish())
    }

    pub(super) fn log(&self, max: u32) -> Result<Vec<CommitInfo>, PortError> {
        let store = self.store()?;
        history::log(&store.repository, store.fetched()?.head, max)
    }

    pub(super) fn survey_show(&self, rev: &str) -> Result<Vec<String>, PortError> {
        let store = self.store()?;
        let commit = history::find(&store.repository, rev)?;
        let (old, new) = history::sides(&store.repository, &commit)?;
        Ok(changes(&crate::tree::differences(&old, &new)).into_iter().map(|change| change.path).collect())
    }

    pub(super) fn show(&self, rev: &str, paths: &[String], max: u32) -> Result<String, PortError> {
        let store = self.store()?;
        let commit = history::find(&store.repository, rev)?;
        let permitted = PermittedPaths::of_paths(paths);
        history::show(&store.repository, &commit, |path| permitted.names(path), max)
    }

    pub(super) fn base_file(
        &self,
        state: &mut State,
        path: &[u8],
        max: u64,
    ) -> Result<Option<Vec<u8>>, PortError> {
        let store = self.store()?;
        let listing = state.listings.of(&store.repository, store.fetched()?.base)?;
        let odb = store.repository.odb().map_err(unreadable)?;
        let Some(entry) = listing.get(path).filter(|entry| is_file(entry.mode)) else { return Ok(None) };
        let (size, _) = odb.read_header(entry.id).map_err(unreadable)?;
        if size as u64 > max {
            return Ok(None);
        }
        Ok(Some(odb.read(entry.id).map_err(unreadable)?.data().to_vec()))
    }
}

fn is_file(mode: crate::tree::Mode) -> bool {
    matches!(mode, crate::tree::Mode::File | crate::tree::Mode::Executable)
}

/// One path of the work tree, to be compared; none if it is gone.
fn work_tree_side(root: &Folder, path: &[u8]) -> Result<Option<Side>, PortError> {
    let read = || -> Result<Option<Side>, Unread> {
        let (folder, name) = root.descend(path)?;
        let Some(mode) = blob::mode_of(&folder.stat(name)?) else { return Ok(None) };
        let content = match blob::read(&folder, name, COMPARED) {
            Ok(bytes) => Content::Bytes(bytes),
            Err(Unread::TooLarge(size)) => Content::Large(size),
            Err(error) => return Err(error),
        };
        Ok(Some(Side { mode, content }))
    };
    match read() {
        Err(Unread::System(error)) if is_gone(error) => Ok(None),
        other => other.map_err(|error| error.about(path)),
    }
}
