//! The host's bare repository of a task.

#![expect(clippy::disallowed_methods, reason = "keeps the host's own repository")]

use std::path::Path;

use git2::{ErrorCode as GitCode, Oid, Repository, RepositoryInitOptions};
use sortie_policy::ports::{ErrorCode, PortError};

use crate::history::tree_diff;
use crate::tree::{Listings, unreadable, unwritable};

/// The commit that the task started from. It is written last: where it is,
/// the branch is, too.
const BASE: &str = "refs/sortie/base";
/// What was pushed last.
const PUSHED: &str = "refs/sortie/pushed";

/// The host's repository, opened for one operation.
pub(crate) struct Store {
    pub(crate) repository: Repository,
    /// The branch as a full reference.
    reference: String,
}

/// Where the branch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) base: Oid,
    pub(crate) head: Oid,
}

impl Store {
    /// Makes the repository if it is not there yet: no templates, no hooks.
    pub(crate) fn create(path: &Path) -> Result<(), PortError> {
        if path.join("HEAD").exists() {
            return remove_locks(path);
        }
        let mut options = RepositoryInitOptions::new();
        options
            .bare(true)
            .no_reinit(true)
            .external_template(false)
            .mkpath(true)
            .mode(git2::RepositoryInitMode::from_bits_retain(0o700));
        Repository::init_opts(path, &options).map(drop).map_err(unwritable)
    }

    /// Opens it.
    pub(crate) fn open(path: &Path, branch: &str) -> Result<Self, PortError> {
        let repository = Repository::open_bare(path).map_err(unreadable)?;
        Ok(Self { repository, reference: format!("refs/heads/{branch}") })
    }

    /// Base and head; none before the fetch.
    pub(crate) fn standing(&self) -> Result<Option<Standing>, PortError> {
        let (base, head) = (self.id(BASE)?, self.id(&self.reference)?);
        Ok(base.zip(head).map(|(base, head)| Standing { base, head }))
    }

    /// Base and head, where they have to be there.
    pub(crate) fn fetched(&self) -> Result<Standing, PortError> {
        self.standing()?
            .ok_or_else(|| PortError::new(ErrorCode::Unavailable, "the repository is not fetched yet"))
    }

    /// Starts the branch at a fetched reference, which must be a commit or a
    /// tag of one.
    pub(crate) fn start(&self, fetched: &str) -> Result<Oid, PortError> {
        let found = self.repository.find_reference(fetched).map_err(unreadable)?;
        let commit = found.peel_to_commit().map_err(|_| {
            PortError::new(ErrorCode::NotFound, "the base is no commit: it names a file or a folder")
        })?;
        let set = |name: &str, why: &str| self.repository.reference(name, commit.id(), true, why).map(drop);
        set(&self.reference, "the task's branch starts").map_err(unwritable)?;
        self.repository.set_head(&self.reference).map_err(unwritable)?;
        set(BASE, "the task's base").map_err(unwritable)?;
        Ok(commit.id())
    }

    /// Moves the branch on from `head`, if it is still there.
    pub(crate) fn advance(&self, head: Oid, commit: Oid) -> Result<(), PortError> {
        let moved = self.repository.reference_matching(&self.reference, commit, true, head, "commit");
        moved.map(drop).map_err(unwritable)
    }

    /// What was pushed last.
    pub(crate) fn pushed(&self) -> Result<Option<Oid>, PortError> {
        self.id(PUSHED)
    }

    /// Remembers what was pushed.
    pub(crate) fn set_pushed(&self, commit: Oid) -> Result<(), PortError> {
        self.repository.reference(PUSHED, commit, true, "push").map(drop).map_err(unwritable)
    }

    fn id(&self, name: &str) -> Result<Option<Oid>, PortError> {
        match self.repository.refname_to_id(name) {
            Ok(id) => Ok(Some(id)),
            Err(error) if error.code() == GitCode::NotFound => Ok(None),
            Err(error) => Err(unreadable(error)),
        }
    }
}

/// What a task's branch changes against its base, as a unified diff of at most
/// `max` bytes: from the host's repository alone, whether the work tree is
/// still there or not.
///
/// # Errors
/// `Unavailable` if nothing was fetched into it, `Internal` if it cannot be read.
pub fn branch_diff(host_repository: &Path, branch: &str, max: u32) -> Result<String, PortError> {
    let store = Store::open(host_repository, branch)?;
    let standing = store.fetched()?;
    let mut listings = Listings::default();
    let old = listings.of(&store.repository, standing.base)?;
    let new = listings.of(&store.repository, standing.head)?;
    tree_diff(&store.repository, &old, &new, |_| true, max)
}

/// Lock files of a Git that was killed. The task's owner holds the lock of the
/// task's folder, so nobody else is at work here.
fn remove_locks(path: &Path) -> Result<(), PortError> {
    let failed = |error: std::io::Error| {
        PortError::internal(format!("the task's repository cannot be opened: {error}"))
    };
    let mut folders = vec![path.to_owned(), path.join("refs")];
    while let Some(folder) = folders.pop() {
        let within_refs = folder.starts_with(path.join("refs"));
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_dir() {
                if within_refs {
                    folders.push(entry.path());
                }
            } else if entry.path().extension().is_some_and(|kind| kind == "lock") {
                std::fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
    }
    Ok(())
}
