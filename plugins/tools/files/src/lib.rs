//! The tools `read_file`, `write_file`, `edit_file`, `apply_patch`,
//! `list_files` and `search`.
//!
//! All of them work through the host's file interface: every file they touch
//! is an action that policies decide on, and nothing outside of the work tree
//! can be named.

mod edit;
mod list;
mod nearest;
mod patch;
mod read;

use sortie_sdk::export_tools;

use edit::{EditFile, WriteFile};
use list::{ListFiles, Search};
use patch::ApplyPatch;
use read::ReadFile;

export_tools!(ReadFile, WriteFile, EditFile, ApplyPatch, ListFiles, Search);
