//! The tools `git_status`, `git_diff`, `git_log` and `git_commit`.
//!
//! What they show is the host's own view of the work tree. The workspace's
//! `.git`, which commands in it can write, plays no part.

use sortie_sdk::export_tools;

mod commit;
mod diff;
mod log;
mod status;

use commit::GitCommit;
use diff::GitDiff;
use log::GitLog;
use status::GitStatus;

export_tools!(GitStatus, GitDiff, GitLog, GitCommit);

/// The first digits of a commit's id, enough for people.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
