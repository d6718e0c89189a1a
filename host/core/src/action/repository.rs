//! What goes in and out of repositories.

use serde::{Deserialize, Serialize};

/// Commits are fetched from a repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositoryFetch {
    /// The repository, without credentials.
    pub url: String,
    /// The reference or commit asked for; none for the remote's HEAD.
    pub reference: Option<String>,
}
plain_effect!(RepositoryFetch, RepositoryFetch, |this| this.url.clone());

/// How a path differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its content or mode differs.
    Modified,
    /// It is gone.
    Deleted,
}

/// One path that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The path; bytes that are not UTF-8 as U+FFFD.
    pub path: String,
    /// How it differs.
    pub kind: ChangeKind,
}

/// The work tree is committed to the task's branch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// The branch, without `refs/heads/`.
    pub branch: String,
    /// The message, without trailers.
    pub message: String,
    /// What changes against the branch's head. What is committed is at most
    /// this: a path that a policy dropped is left out.
    pub changes: Vec<Change>,
}
plain_effect!(Commit, Commit, |this| this.branch.clone());

/// The task's branch is pushed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// Where to, without credentials.
    pub remote: String,
    /// The reference there, such as `refs/heads/sortie/fix-7k2m9q`.
    pub reference: String,
    /// The commit, as 40 hexadecimal digits.
    pub commit: String,
    /// What it changes against the base.
    pub changes: Vec<Change>,
}
plain_effect!(Push, Push, |this| this.reference.clone());
