//! Settings: flag > environment > repository > user > organisation, resolved
//! once into a plain struct.
//!
//! User and organisation write the same file. A repository is not trusted: it
//! has a smaller file of its own, in which it can say how it is built and
//! tested, and tighten what holds, but grant nothing.

mod environment;
mod file;
mod masked;
mod repository;
mod resolved;

pub(crate) use environment::named;
pub(crate) use file::{
    KeepArchives, PluginSettings, SettingsFile, TestSettings, WorkspaceSettings, read_file,
};
pub(crate) use masked::{masked, shown};
pub(crate) use repository::{PATH as REPOSITORY_PATH, RepositorySettings};
pub(crate) use resolved::{ArchiveRules, Resolved, archive, install, mirrors, plugins, resolve, snapshots};
