//! The gate: the one place where it is decided whether something may happen.
//!
//! Who wants an effect hands the typed action to [`Gate::permit`]. The gate
//! shows it to the chain of policies, writes the decision to the audit log,
//! and mints a [`Permit`] or answers with a [`Refusal`]. The effect ports in
//! [`ports`] take permits and nothing else, so an effect without a decision
//! does not compile; and a permit owns the action as it was permitted, so a
//! permit for one command cannot run another.
//!
//! Permits, ports and gate share this crate because Rust's privacy is per
//! crate: only this one can make a `Permit`. This crate causes no effect
//! itself; `plugin-host` brings the policies ([`Evaluator`]), `orchestrator`
//! the audit log ([`Audit`]), `cli` the person who approves ([`Approver`]).

mod approval;
mod audit;
mod chain;
mod defaults;
mod gate;
mod permit;
pub mod ports;
mod refusal;
mod registries;

pub use approval::{Answer, Approver, Nobody, Question};
pub use audit::{Audit, AuditError};
pub use chain::{Chain, Evaluator, Fault, Layer, Link, PolicyEvent};
pub use defaults::{Defaults, contact};
pub use gate::{FactsSource, Gate};
pub use permit::{ForeignPermit, Permit, Seal};
pub use refusal::Refusal;
pub use registries::Registries;
