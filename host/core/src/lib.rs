//! The vocabulary that Sortie's crates share: ids, actions, verdicts, facts,
//! conversations, events, secrets.
//!
//! What may enter here: types that at least two crates speak, and pure
//! functions on them. Never I/O, never a trait that an adapter implements
//! (those stand in `sortie-policy`, beside the permits that they take).

pub mod action;
pub mod actor;
pub mod conversation;
pub mod digest;
pub mod event;
pub mod facts;
pub mod id;
pub mod image;
pub mod network;
pub mod outcome;
pub mod secret;
pub mod text;
pub mod verdict;

pub use action::{Action, ActionKind, Effect};
pub use actor::Actor;
pub use facts::{Facts, Phase};
pub use id::TaskId;
pub use outcome::Outcome;
pub use secret::Secret;
pub use verdict::{Decision, Verdict};
