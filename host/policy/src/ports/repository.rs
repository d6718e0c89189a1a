//! The task's repository.

use async_trait::async_trait;
use sortie_core::action::{Against, Change, Commit, FileRead, Push, RepositoryFetch};

use super::PortError;
use crate::Permit;

/// The host's own repository of a task, and the work tree that it reads.
/// Nothing of the workspace's `.git` is ever read.
#[async_trait]
pub trait Repository: Send + Sync {
    /// Fetches the base commit and returns it, as 40 hexadecimal digits. A
    /// task that has one keeps it.
    ///
    /// # Errors
    /// `NotFound` if repository or reference do not exist or it is empty,
    /// `Unavailable` if the remote does not answer, `Denied` if it wants
    /// credentials that are not there.
    async fn fetch(&self, permit: Permit<RepositoryFetch>) -> Result<String, PortError>;

    /// As [`Repository::fetch`], for a task that has a base and begins from
    /// another one instead. Its work tree has to be empty again.
    ///
    /// # Errors
    /// Also `Conflict` if there are commits on the base that it has.
    async fn fetch_other(&self, permit: Permit<RepositoryFetch>) -> Result<String, PortError>;

    /// Writes the base commit into the empty work tree, with a plain `.git` of
    /// the work tree's own. Before any command runs there.
    ///
    /// # Errors
    /// `Internal` if the disk or the commit's tree does not allow it.
    async fn check_out(&self) -> Result<(), PortError>;

    /// Takes what lies untracked in the work tree now as made by set-up: it
    /// is left out of every change from here on.
    ///
    /// # Errors
    /// `Internal` if the work tree cannot be read.
    async fn mark_set_up(&self) -> Result<(), PortError>;

    /// What differs between the work tree and the branch's head or the base.
    ///
    /// # Errors
    /// `Internal` if the work tree cannot be read.
    async fn changes(&self, against: Against) -> Result<Vec<Change>, PortError>;

    /// What the user should know about what was read so far, such as files
    /// that are left out; each is told once.
    fn take_notices(&self) -> Vec<String> {
        Vec::new()
    }

    /// Branch, base and head.
    ///
    /// # Errors
    /// `Unavailable` before the fetch.
    async fn state(&self) -> Result<BranchState, PortError>;

    /// A permitted `Status`: the changes against the head, in permitted paths.
    ///
    /// # Errors
    /// `Invalid` if the permit is for something else.
    async fn status(&self, permit: Permit<FileRead>) -> Result<Vec<Change>, PortError>;

    /// A permitted `Diff`: unified, of the permitted paths.
    ///
    /// # Errors
    /// `Invalid` if the permit is for something else.
    async fn diff(&self, permit: Permit<FileRead>) -> Result<String, PortError>;

    /// A permitted `Log`.
    ///
    /// # Errors
    /// `Invalid` if the permit is for something else.
    async fn log(&self, permit: Permit<FileRead>) -> Result<Vec<CommitInfo>, PortError>;

    /// Paths that a commit changes: to fill a [`FileRead`] of operation `Show`.
    ///
    /// # Errors
    /// `NotFound` if there is no such revision.
    async fn survey_show(&self, rev: &str) -> Result<Vec<String>, PortError>;

    /// A permitted `Show`: message and diff of the permitted paths.
    ///
    /// # Errors
    /// `NotFound` if there is no such revision.
    async fn show(&self, permit: Permit<FileRead>) -> Result<String, PortError>;

    /// Commits the permitted paths to the branch; returns the commit.
    ///
    /// # Errors
    /// `Invalid` if nothing differs.
    async fn commit(&self, permit: Permit<Commit>) -> Result<String, PortError>;

    /// The push that would deliver the branch's head, to be decided on. None
    /// if the head is the base.
    ///
    /// # Errors
    /// `Internal` if the host's repository cannot be read.
    async fn planned_push(&self) -> Result<Option<Push>, PortError>;

    /// Pushes the branch. Never forces; the same commit again is no error.
    ///
    /// # Errors
    /// `Conflict` if the branch exists with other commits, `Unavailable` if
    /// the remote does not answer, `Denied` if it refuses.
    async fn push(&self, permit: Permit<Push>) -> Result<(), PortError>;
}

/// State of the task's branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchState {
    /// Its name, without `refs/heads/`.
    pub branch: String,
    /// The commit that the task started from.
    pub base: String,
    /// Its newest commit.
    pub head: String,
}

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its id.
    pub id: String,
    /// Name and address of its author.
    pub author: String,
    /// Time of its author, seconds since 1970-01-01 UTC.
    pub time: i64,
    /// Its message.
    pub message: String,
}
