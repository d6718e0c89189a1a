//! What the helper is told to do. The host works it out, so that the helper has nothing to decide.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::identity::Owner;
use super::limits::Limits;
use super::seeds::Seed;

/// The first argument that makes our binary the helper.
pub(super) const HELPER_ARGUMENT: &str = "--sortie-sandbox-helper";

/// The longest report in bytes. Paths that could not be protected are cut beyond.
pub(super) const MAX_REPORT: usize = 128 << 10;

/// The whole of a sandbox, but for init's bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) owner: Owner,
    /// In this order: a later one may lie within an earlier one.
    pub(super) entries: Vec<Entry>,
    /// Paths under the work tree, relative.
    pub(super) masks: Vec<PathBuf>,
    /// Paths under the work tree, relative.
    pub(super) read_only: Vec<PathBuf>,
    pub(super) seeds: Vec<Seed>,
    pub(super) limits: Limits,
    /// No cgroup bounds memory: process limits and init have to.
    pub(super) bound_memory: bool,
}

/// One thing in the new root.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Entry {
    /// A file or folder of the host.
    Bind { source: PathBuf, target: PathBuf, access: Access },
    /// A symbolic link.
    Link { target: PathBuf, to: PathBuf },
    /// A file of our own.
    File { target: PathBuf, text: String },
    /// An empty folder over whatever is there.
    Cover { target: PathBuf },
    /// A file or folder that nobody can read, over what is there.
    Hide { target: PathBuf },
    /// A folder in memory, with this many bytes at most.
    Memory { target: PathBuf, bytes: u64, mode: u32 },
}

/// What can be done with a bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Access {
    ReadOnly,
    ReadWrite,
    /// A device node that may be used as one.
    Device,
}

/// What the helper tells the host, last thing before it becomes init.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    Done { unprotected: Vec<PathBuf>, landlock: Option<u32> },
    Failed(super::error::Failure),
}
