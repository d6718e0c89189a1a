//! What set-up made, kept for later tasks that would make the same.
//!
//! A snapshot holds what commands of set-up added to the work tree, and their home; for containers it names the image
//! that their root file system became. It lies in the state folder under a key that the caller makes of everything
//! that set-up depends on. Taking one up again copies: no file is shared with a workspace.
//!
//! ```text
//! snapshots/KEY/about.json    what it is of, and its image
//! snapshots/KEY/used          locked by who takes it up, touched each time
//! snapshots/KEY/work  home    what set-up made
//! snapshots/.tmp…             one that is being written, locked by who writes it
//! ```
//!
//! What set-up made comes from a hostile repository and is only ever given to tasks on the same one: the caller's key
//! says so. A file of the repository that set-up changed cannot be kept: what later tasks have of it is theirs.

mod half;
mod listing;
mod store;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

pub use listing::Listing;
pub use store::{Snapshot, Snapshots};

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The repository, without credentials.
    pub repository: String,
    /// The environment, as people call it.
    pub environment: String,
    /// The kind of workspace, and what it began with: another system, other users or other path rules are another.
    #[serde(default)]
    pub made_in: String,
    /// The commands that made it.
    pub commands: Vec<String>,
    /// For containers, the image that it goes with, by id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Bytes of its files, without those of the image.
    #[serde(default)]
    pub bytes: u64,
    /// Bytes that the image adds to the one that it was made from.
    #[serde(default)]
    pub image_bytes: u64,
}

/// A snapshot in the list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// What it is of.
    pub about: About,
    /// When a task last took it up, or it was made.
    pub used: SystemTime,
}

/// How long and how many snapshots are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotRules {
    /// One that nobody used for so long goes.
    pub unused: Duration,
    /// Bytes of all of them; those go first that were not used for longest.
    pub total: u64,
    /// Bytes of one, without its image; a larger one is not kept.
    pub one: u64,
}

impl Default for SnapshotRules {
    /// 14 days, 20 GiB, 8 GiB.
    fn default() -> Self {
        Self { unused: Duration::from_secs(14 * 86_400), total: 20 << 30, one: 8 << 30 }
    }
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Set-up changed a file of the repository, or removed it.
    #[error("set-up changed `{0}`, which belongs to the repository")]
    Changed(PathBuf),
    /// It would be larger than the settings want.
    #[error("what set-up made is larger than {0} bytes")]
    TooLarge(u64),
    /// The disk, or what set-up left, does not allow it.
    #[error("{action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// What the system says.
        source: io::Error,
    },
}

pub(crate) fn failed(action: impl Into<String>) -> impl FnOnce(io::Error) -> SnapshotError {
    let action = action.into();
    move |source| SnapshotError::Io { action, source }
}
