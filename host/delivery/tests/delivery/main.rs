//! The crate's contract, with real repositories in temporary folders.

mod bounds;
mod hostile_source;
mod hostile_work_tree;
mod journey;
mod mirrors;
mod sources;
mod support;
