//! The change that the task has made, as the host sees it. Needs the grant `git`.

use crate::bindings::host::sortie::host::git as wit;
use crate::{Result, backend};

/// What the host's git interface speaks.
pub use wit::{Against, Change, ChangeKind, CommitInfo, State};

/// State of the task's branch.
///
/// # Errors
/// [`Denied`](crate::ErrorCode::Denied), [`Unavailable`](crate::ErrorCode::Unavailable).
pub fn status() -> Result<State> {
    Ok(backend::git::status()?)
}

/// A unified diff of at most `max` bytes, of `paths` or, if none are given, of all.
///
/// # Errors
/// As [`status`].
pub fn diff(against: Against, paths: &[String], max: u32) -> Result<String> {
    Ok(backend::git::diff(against, paths, max)?)
}

/// The newest commits of the branch, at most `max` of them.
///
/// # Errors
/// As [`status`].
pub fn log(max: u32) -> Result<Vec<CommitInfo>> {
    Ok(backend::git::log(max)?)
}

/// One commit and its diff, at most `max` bytes of it.
///
/// # Errors
/// As [`status`]; [`NotFound`](crate::ErrorCode::NotFound) if there is no such revision.
pub fn show(rev: &str, max: u32) -> Result<String> {
    Ok(backend::git::show(rev, max)?)
}

/// Commits the work tree to the task's branch; returns the commit's id.
///
/// # Errors
/// As [`status`]; [`Invalid`](crate::ErrorCode::Invalid) if nothing differs.
pub fn commit(message: &str) -> Result<String> {
    Ok(backend::git::commit(message)?)
}
