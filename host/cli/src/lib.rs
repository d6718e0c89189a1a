//! The `sortie` command: arguments, settings, printing, and the assembly of a
//! task from its parts.
//!
//! To learn how a task flows, read `assemble.rs`: it puts the parts together
//! in the order in which a task passes them.

mod adopt;
mod approver;
mod archiver;
mod args;
mod assemble;
mod commands;
mod exit;
mod home;
mod plugins;
mod print;
mod reclaim;
mod retention;
mod secret;
mod settings;
mod signals;
mod snapshots;
mod sweep;
mod tools;
mod workspaces;

pub use exit::main;
