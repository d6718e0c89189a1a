//! Write Sortie tools and policies in Rust.
//!
//! A tool is a type for its arguments, and what to do with them:
//!
//! ```
//! use sortie_sdk::prelude::*;
//!
//! /// Counts the lines of a file.
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct CountLines {
//!     /// Path of the file, from the root of the work tree.
//!     path: String,
//! }
//!
//! impl Tool for CountLines {
//!     const NAME: &'static str = "count_lines";
//!     const EFFECTS: Effects = Effects::READS.union(Effects::IDEMPOTENT);
//!
//!     fn run(self, _call: &Call) -> Result<Output> {
//!         let text = files::read_text(&self.path)?;
//!         Ok(format!("{} lines", text.lines().count()).into())
//!     }
//! }
//!
//! export_tools!(CountLines);
//!
//! # fn main() {
//! // In a test, on any machine:
//! let host = testing::Host::new().file("a.txt", "one\ntwo\n");
//! let output = host.call::<CountLines>(json!({"path": "a.txt"})).expect("is there");
//! assert_eq!(output.content, "2 lines");
//! # }
//! ```
//!
//! A policy is a type made from its settings that answers events:
//!
//! ```
//! use sortie_sdk::prelude::*;
//!
//! /// No pushes to `main`.
//! struct NoMain;
//!
//! impl Policy for NoMain {
//!     type Settings = NoSettings;
//!
//!     fn new(_settings: NoSettings) -> Result<Self> {
//!         Ok(Self)
//!     }
//!
//!     fn evaluate(&self, event: &Event) -> Result<Verdict> {
//!         Ok(match event.action()? {
//!             Action::Push(push) if push.reference == "refs/heads/main" => {
//!                 Verdict::deny("nobody pushes to main").rule("no-main").remedy("push to a branch of your own")
//!             }
//!             _ => Verdict::abstain(),
//!         })
//!     }
//! }
//!
//! export_policy!(NoMain);
//! # fn main() {}
//! ```
//!
//! Both live in a crate with `crate-type = ["cdylib"]` that depends on this
//! one, on `serde` and, for a tool, on `schemars` (their derives name them),
//! and are built with `cargo build --release --target wasm32-wasip2`;
//! `docs/plugins.md` goes on from there. What a component imports is
//! what its code calls: a tool that never runs a command does not import
//! `sortie:host/exec` and needs no grant for it.
//!
//! Panics and errors cost one call: the model is told, the next call gets a
//! new instance. A policy that panics or fails is a fault, and a fault denies.

#[doc(hidden)]
pub mod bindings;
mod capture;
pub mod config;
pub mod control;
mod error;
pub mod event;
pub mod exec;
pub mod files;
pub mod git;
#[cfg(feature = "http")]
pub mod http;
pub mod policy;
pub mod telemetry;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod tool;
mod verdict;

#[cfg(target_arch = "wasm32")]
pub(crate) use bindings::host::sortie::host as backend;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use testing::backend;

pub use capture::Captured;
pub use error::{Error, ErrorCode, Result};
pub use verdict::{Decision, Verdict};

/// What most plugins need.
pub mod prelude {
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::{Value, json};

    pub use crate::config::NoSettings;
    pub use crate::event::{Action, Actor, Event, Facts};
    #[cfg(feature = "http")]
    pub use crate::http;
    pub use crate::policy::Policy;
    #[cfg(not(target_arch = "wasm32"))]
    pub use crate::testing;
    pub use crate::tool::{Call, Effects, Output, Tool};
    pub use crate::{Decision, Error, ErrorCode, Result, Verdict};
    pub use crate::{config, control, exec, files, git, telemetry};
    pub use crate::{export_policy, export_tools, log, progress};
}

#[doc(hidden)]
pub mod __private {
    pub use schemars;
    pub use serde_json;
}
