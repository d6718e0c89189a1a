//! The crate's contract, with real repositories in temporary folders.

mod bounds;
mod hostile_source;
mod hostile_work_tree;
mod journey;
mod mirrors;
mod peeks;
mod raw;
mod redirects;
mod sources;
mod support;
