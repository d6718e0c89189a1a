//! The record of every decision.

use sortie_core::event::Event;

/// The record could not be written. The gate then refuses.
#[derive(Debug, thiserror::Error)]
#[error("the audit record could not be written: {0}")]
pub struct AuditError(pub String);

/// Where decisions are recorded; the task's journal.
pub trait Audit: Send + Sync {
    /// Records a decision. It need not be durable when this returns, but it
    /// must become durable before, or together with, the effect's own intent.
    ///
    /// # Errors
    /// If it is known that it cannot be recorded.
    fn record(&self, decision: Event) -> Result<(), AuditError>;
}
