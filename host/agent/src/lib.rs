//! The turn loop: what stands between a model and its tools.
//!
//! [`Agent::work`] asks the model for a reply, runs the tool calls in it one
//! after the other, each through the gate, and goes on until the model
//! finishes, a budget is spent, the agent is stuck, or somebody cancels.
//! `orchestrator` calls it in the work phase. It causes no effect itself:
//! model and tools are ports that take permits, and what happened is in the
//! journal before the next effect begins.

mod agent;
mod builtin;
mod journal;
mod limits;
mod loops;
mod meter;
mod prompt;
mod shorten;

pub use agent::{Agent, AgentError, Ended};
pub use journal::{Journal, JournalError};
pub use limits::Limits;
pub use meter::{Meter, TaskFacts};
pub use prompt::{Brief, Guidance};
pub use shorten::{DEFAULT_SHOWN, Shortened, shorten};
