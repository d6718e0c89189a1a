//! What changes something: fetch, checkout, commit, push.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use sortie_core::action::{Against, Commit, Push, RepositoryFetch};
use sortie_policy::ports::{ErrorCode, PortError};

use super::{Inner, State, TaskRepository};
use crate::blob::{self, LARGEST, Unread};
use crate::check_out::{CheckOut, PlainGit, check_sizes, remember};
use crate::folder::Folder;
use crate::history::{PermittedPaths, changes};
use crate::message::compose;
use crate::mirror::Served;
use crate::names::shown;
use crate::remote::{self, Advertised, FETCHED, Shallow, Wanted};
use crate::scan::{Found, MOST_SEEN};
use crate::set_up::SetUp;
use crate::source::SourceError;
use crate::store::Store;
use crate::tree::{self, Difference, Edits, unreadable, unwritable};

/// Bytes of all files of one commit.
const MOST_BYTES: u64 = 4 * LARGEST;

impl TaskRepository {
    /// Fetches the base and starts the branch there. Once that is done it is
    /// done: a fetch after a restart gives the same base.
    pub(super) async fn fetch_base(&self, action: RepositoryFetch) -> Result<String, PortError> {
        if let Some(standing) = self.blocking(|inner, _| inner.store()?.standing()).await? {
            self.check_url(&action)?;
            return Ok(standing.base.to_string());
        }
        self.begin_at(action).await
    }

    /// Starts the branch at another base.
    pub(super) async fn fetch_other_base(&self, action: RepositoryFetch) -> Result<String, PortError> {
        let standing = self.blocking(|inner, _| inner.store()?.standing()).await?;
        if standing.is_some_and(|standing| standing.head != standing.base) {
            return Err(PortError::new(ErrorCode::Conflict, "there are commits on the base that it has"));
        }
        self.begin_at(action).await
    }

    fn check_url(&self, action: &RepositoryFetch) -> Result<(), PortError> {
        if action.url == self.0.config.source.masked() {
            return Ok(());
        }
        Err(PortError::new(ErrorCode::Invalid, "the permit is for another repository"))
    }

    async fn begin_at(&self, action: RepositoryFetch) -> Result<String, PortError> {
        let config = &self.0.config;
        self.check_url(&action)?;
        let wanted = Wanted::parse(action.reference.as_deref())?;
        let address = config.source.fetch_address();
        let advertised = remote::list(&self.0.git, address, wanted.references()).await?;
        let what = wanted.choose(&advertised, address)?;
        if config.deliver {
            self.check_branch_is_free().await?;
        }
        self.bring(&wanted, &what, advertised).await?;
        self.blocking(|inner, state| {
            let store = inner.store()?;
            let fetched = store.repository.find_reference(FETCHED).and_then(|found| found.peel_to_commit());
            // names are checked before the branch exists
            if let Ok(commit) = fetched {
                state.listings.of(&store.repository, commit.id())?;
            }
            Ok(store.start(FETCHED)?.to_string())
        })
        .await
    }

    /// Fetches to [`FETCHED`], by way of the remote's mirror if there is one.
    async fn bring(&self, wanted: &Wanted, what: &str, advertised: Advertised) -> Result<(), PortError> {
        let (git, address) = (&self.0.git, self.0.config.source.fetch_address());
        if let Some(mirrors) = &self.0.config.mirrors {
            match mirrors.fetch(git, address, (wanted, what), advertised).await? {
                Served::Fetched { was_damaged: false } => return Ok(()),
                Served::Fetched { was_damaged: true } => {
                    let notice =
                        format!("the mirror of {} was damaged, and was made again", address.masked());
                    self.0.state.lock().unwrap_or_else(PoisonError::into_inner).tell(vec![notice]);
                    return Ok(());
                }
                Served::Not => {}
            }
        }
        remote::fetch(git, address, what, FETCHED, Shallow::Taken).await
    }

    /// Says now what a push would say after hours of work.
    async fn check_branch_is_free(&self) -> Result<(), PortError> {
        let reference = self.0.reference();
        let address = self.0.config.source.push_address().map_err(port_error)?;
        let advertised = remote::list(&self.0.git, address, &remote::obstacles(&reference)).await?;
        match advertised.keys().next() {
            Some(name) => Err(remote::taken(address, name)),
            None => Ok(()),
        }
    }

    /// Pushes, unless the remote has the commit already. A remote branch that
    /// holds anything but what this task pushed before is a conflict.
    pub(super) async fn push_branch(&self, action: Push) -> Result<(), PortError> {
        let planned = self.blocking(Inner::planned_push).await?;
        if planned.as_ref() != Some(&action) {
            let message = "the permit is for another push than the branch's head to its remote";
            return Err(PortError::new(ErrorCode::Invalid, message));
        }
        let address = self.0.config.source.push_address().map_err(port_error)?;
        let commit = git2::Oid::from_str(&action.commit).map_err(PortError::internal)?;
        let advertised = remote::list(&self.0.git, address, std::slice::from_ref(&action.reference)).await?;
        let before = self.blocking(|inner, _| inner.store()?.pushed()).await?;
        match advertised.get(&action.reference) {
            Some(there) if *there == commit => {}
            Some(there) if Some(*there) != before => return Err(remote::taken(address, &action.reference)),
            _ => remote::push(&self.0.git, address, commit, &action.reference).await?,
        }
        self.blocking(move |inner, _| inner.store()?.set_pushed(commit)).await
    }
}

impl Inner {
    fn reference(&self) -> String {
        format!("refs/heads/{}", self.config.branch)
    }

    pub(super) fn check_out(&self, state: &mut State) -> Result<(), PortError> {
        let store = self.store()?;
        let commit = store.fetched()?.base;
        // names and sizes are checked before the first file is written
        check_sizes(&store.repository, &*state.listings.of(&store.repository, commit)?)?;
        let tree =
            store.repository.find_commit(commit).and_then(|commit| commit.tree()).map_err(unreadable)?;
        let root = self.root()?;
        let check_out =
            CheckOut { repository: &store.repository, owner: self.owner, cancel: &self.config.cancel };
        let written = check_out.write(&tree, &root)?;
        let author = &self.config.author;
        let git = PlainGit {
            repository: &store.repository,
            branch: &self.config.branch,
            commit,
            author: (author.clean_name(), author.clean_email()),
            exclude: &self.config.build_output,
            owner: self.owner,
        };
        git.write(&root, &written)?;
        remember(&written, &mut state.cache);
        Ok(())
    }

    pub(super) fn mark_set_up(&self, state: &mut State) -> Result<(), PortError> {
        let store = self.store()?;
        let standing = store.fetched()?;
        let snapshot = self.snapshot(state, &store, standing, &SetUp::default(), MOST_SEEN)?;
        let base = state.listings.of(&store.repository, standing.base)?;
        let mut set_up = SetUp::default();
        for (path, found) in &snapshot.found {
            if *found == Found::New {
                set_up.untracked.insert(path.clone());
            }
        }
        for (path, _) in snapshot.differences(&base) {
            if base.contains_key(&path) {
                set_up.touched.insert(path.clone(), snapshot.entry(&path));
            }
        }
        set_up.save(&self.config.host_repository)?;
        state.set_up = Some(set_up);
        Ok(())
    }

    pub(super) fn commit(&self, state: &mut State, action: &Commit) -> Result<String, PortError> {
        if action.branch != self.config.branch {
            return Err(PortError::new(ErrorCode::Invalid, "the permit is for another branch"));
        }
        let message = compose(&action.message, &self.config.trailers)?;
        let store = self.store()?;
        let standing = store.fetched()?;
        let differences = self.differences(state, &store, standing, Against::Head)?;
        let permitted = permitted(&differences, &PermittedPaths::of_changes(&action.changes))?;
        let edits = self.store_content(&store, &permitted)?;
        let head = store.repository.find_commit(standing.head).map_err(unreadable)?;
        let old = head.tree().map_err(unreadable)?;
        let new = tree::edit(&store.repository, &old, &edits)?;
        if new == old.id() {
            return Err(PortError::new(
                ErrorCode::Invalid,
                "there is nothing to commit: no permitted path differs",
            ));
        }
        let tree = store.repository.find_tree(new).map_err(unreadable)?;
        let (author, committer) = (self.config.author.signature()?, self.config.committer.signature()?);
        let commit = store.repository.commit(None, &author, &committer, &message, &tree, &[&head]);
        let commit = commit.map_err(unwritable)?;
        store.advance(standing.head, commit)?;
        Ok(commit.to_string())
    }

    /// Writes what lies at the permitted paths now into the host's repository.
    fn store_content(&self, store: &Store, differences: &[&Difference]) -> Result<Edits, PortError> {
        use sortie_core::action::ChangeKind;
        let odb = store.repository.odb().map_err(unwritable)?;
        let root = self.root()?;
        let mut edits = Edits::new();
        let mut room = MOST_BYTES;
        for (path, kind) in differences {
            if self.config.cancel.is_cancelled() {
                return Err(PortError::new(ErrorCode::Cancelled, "the commit was cancelled"));
            }
            let entry = match kind {
                ChangeKind::Deleted => None,
                ChangeKind::Added | ChangeKind::Modified => Some(store_one(&odb, &root, path, &mut room)?),
            };
            edits.insert(path.clone(), entry);
        }
        Ok(edits)
    }

    pub(super) fn planned_push(&self, state: &mut State) -> Result<Option<Push>, PortError> {
        let store = self.store()?;
        let standing = store.fetched()?;
        if standing.head == standing.base {
            return Ok(None);
        }
        let base = state.listings.of(&store.repository, standing.base)?;
        let head = state.listings.of(&store.repository, standing.head)?;
        Ok(Some(Push {
            remote: self.config.source.delivery().map_err(port_error)?,
            reference: self.reference(),
            commit: standing.head.to_string(),
            changes: changes(&tree::differences(&base, &head)),
        }))
    }
}

fn store_one(
    odb: &git2::Odb<'_>,
    root: &Folder,
    path: &[u8],
    room: &mut u64,
) -> Result<tree::Entry, PortError> {
    let stored = root
        .descend(path)
        .map_err(Unread::from)
        .and_then(|(folder, name)| blob::store(odb, &folder, name, *room));
    match stored {
        Ok((entry, bytes)) => {
            *room = room.saturating_sub(bytes);
            Ok(entry)
        }
        // small enough by itself
        Err(Unread::TooLarge(size)) if size <= LARGEST => {
            Err(tree::too_large(&format!("the change has more than {} GiB", MOST_BYTES >> 30)))
        }
        Err(error) => Err(error.about(path)),
    }
}

/// The differences that a permit names. One that it names with another kind of
/// change has changed since it was decided on.
fn permitted<'a>(
    differences: &'a [Difference],
    permitted: &PermittedPaths,
) -> Result<Vec<&'a Difference>, PortError> {
    let mut taken = Vec::new();
    let mut changed = BTreeSet::new();
    for difference in differences {
        let (path, kind) = difference;
        match permitted.kinds(path) {
            Some(kinds) if kinds.contains(kind) => taken.push(difference),
            Some(_) => drop(changed.insert(shown(path))),
            None => {}
        }
    }
    match changed.first() {
        None => Ok(taken),
        Some(path) => {
            let message = format!("`{path}` changed while the commit was decided on; commit again");
            Err(PortError::new(ErrorCode::Conflict, message))
        }
    }
}

fn port_error(error: SourceError) -> PortError {
    PortError::new(ErrorCode::Invalid, error.to_string())
}
