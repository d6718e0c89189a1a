//! Delivery: fetch, checkout, changes, commit and push, from a repository of
//! the host's own.
//!
//! The workspace is hostile, its `.git` included: a repository's config can
//! name programs to run, redirect a token, and point the work tree elsewhere.
//! So each task has a bare repository outside of the workspace
//! ([`TaskRepository`], which implements the port of `sortie-policy`):
//!
//! - The *network side* is the `git` command in that repository, with argument
//!   arrays and hooks off on both ends: the user's credential helpers, ssh and
//!   proxies just work. Of the task's refs only. What a remote sent before lies
//!   in its mirror ([`Mirrors`]), and is not fetched again.
//! - *Objects* are git2's, built without https and ssh.
//! - The *work tree* is read byte by byte through open folders, a name at a
//!   time, without following links; blobs, trees and commits are made from
//!   that. The `.git` in it serves the model's own commands; the host writes
//!   it once and never reads it.
//!
//! The orchestrator calls this; effects take permits. This crate runs nothing
//! that a repository names, and never forces a push.
//!
//! ```
//! use sortie_delivery::Source;
//!
//! let source = Source::parse("https://user:token@host.example/team/project.git", ".".as_ref())?;
//! assert_eq!(source.masked(), "https://host.example/team/project.git");
//! # Ok::<(), sortie_delivery::SourceError>(())
//! ```

mod blob;
mod branch;
mod check_out;
mod folder;
mod git;
mod history;
mod ignore_rules;
mod message;
mod mirror;
mod names;
mod patch;
mod peek;
mod remote;
mod repository;
mod scan;
mod set_up;
mod source;
mod stat_cache;
mod store;
mod tree;

pub use branch::{branch_name, check_branch_name};
pub use ignore_rules::BUILD_OUTPUT;
pub use message::Identity;
pub use mirror::{MirrorBounds, MirrorInfo, Mirrors};
pub use peek::Peek;
pub use repository::{Config, TaskRepository};
pub use source::{Source, SourceError};
pub use store::branch_diff;
