//! What an archive says of itself.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sortie_core::TaskId;

/// The form of archives that this program writes.
pub(super) const FORMAT: u32 = 1;

/// The first file in an archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of the archive; 1.
    pub format: u32,
    /// Version of the program that wrote it.
    pub sortie: String,
    /// The task.
    pub task: TaskId,
    /// When it was written, RFC 3339.
    pub archived_at: String,
    /// How the task ended: `done`, `failed` and the like.
    pub outcome: String,
    /// The repository, without credentials.
    pub repository: String,
    /// The commit that the task began from; none if it did not come that far.
    pub base: Option<String>,
    /// The task's branch, delivered or not.
    pub branch: String,
    /// The workspace's backend.
    pub workspace: String,
    /// The container's image as it was named, by digest if it was; none for a sandbox, and for an image that was
    /// built.
    pub image: Option<String>,
    /// The image that the agent's container began from, by id; none for a sandbox.
    #[serde(default)]
    pub image_id: Option<String>,
    /// Tools and policies.
    pub components: Vec<Component>,
    /// The settings that held, secrets masked.
    pub settings: Value,
    /// The task's report.
    pub report: Value,
    /// What of the workspace the archive holds.
    pub contents: Contents,
}

impl Manifest {
    /// The form that [`Manifest::format`] names today.
    pub const FORMAT: u32 = FORMAT;
}

/// A component that was loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Its id in the settings.
    pub id: String,
    /// `tool` or `policy`.
    pub kind: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

/// What of a workspace is in an archive, and what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Regular files.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Files and folders left out because a path rule denies reading them.
    pub masked: u64,
    /// Fifos, sockets and devices, which are left out.
    pub special: u64,
    /// Files left out because they are too large, or all together are.
    pub too_large: u64,
    /// Files and folders left out because they cannot be read, or lie too deep.
    pub unreadable: u64,
    /// Paths of some that were left out, too large or unreadable.
    pub left_out: Vec<String>,
}

impl Contents {
    /// Whether something is missing that nobody wanted to be.
    pub fn is_partial(&self) -> bool {
        self.too_large + self.unreadable > 0
    }
}
