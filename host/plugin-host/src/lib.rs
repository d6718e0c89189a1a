//! Loads WebAssembly components and runs each call in a fresh, limited
//! instance. Tools become [`Tools`](sortie_policy::ports::Tools), policies
//! become [`Evaluator`](sortie_policy::Evaluator)s.
//!
//! The path of a plugin: [`PluginHost::load`] checks the bytes, compares what
//! the component imports with its [`Grants`], takes the machine code from the
//! artefact cache or compiles it, and asks the component what it offers. Then
//! a [`Toolbox`] serves the tools of a task: each call gets a store of its
//! own, with a limit on time, memory, tables, handles and output, and nothing
//! of one call is there in the next.
//!
//! An effect that a tool asks for goes through three doors, in this order:
//! the plugin's grants (`denied`, naming the grant), the task's gate, which
//! mints the permit, and the port that takes it. This crate opens no file of
//! a task, no socket and no process; the artefact cache is the one folder that
//! it writes.
//!
//! A guest is hostile: it costs no more than its own call whatever it does,
//! and what it says is bounded and stripped of terminal escapes before anyone
//! reads it. The model is told in a few words what went wrong; the panic text
//! goes to the plugin's log, for its author.

mod bindings;
mod cache;
mod call;
mod capture;
mod deterministic;
mod engine;
mod error;
mod failure;
mod grants;
mod host;
mod imports;
mod interfaces;
mod json;
mod limits;
mod linker;
mod log;
mod policy;
mod schema;
mod spec;
mod state;
mod task;
mod tool;
mod toolbox;

pub use cache::{CacheError, sweep_cache};
pub use error::{LoadError, Problem};
pub use grants::{GitGrant, GrantError, Grants};
pub use host::{HostConfig, HostError, Plugin, PluginHost};
pub use limits::Limits;
pub use log::{PluginLog, ProgressSink, Silent};
pub use policy::PolicyPlugin;
pub use spec::{PluginKind, PluginSpec};
pub use task::TaskContext;
pub use tool::LoadedTool;
pub use toolbox::{Toolbox, TwiceOffered};
