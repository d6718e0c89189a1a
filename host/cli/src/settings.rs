//! Settings: flag > environment > repository > user > organisation, resolved
//! once into a plain struct.
//!
//! User and organisation write the same file. A repository is not trusted: it
//! has a smaller file of its own, in which it can say how it is built and
//! tested, and tighten what holds, but grant nothing.

mod file;
mod repository;
mod resolved;

pub(crate) use file::{PluginSettings, SettingsFile, TestSettings, WorkspaceSettings, read_file};
pub(crate) use repository::{PATH as REPOSITORY_PATH, RepositorySettings};
pub(crate) use resolved::{install, plugins, resolve};
