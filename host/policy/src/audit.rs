//! The record of every decision.

use sortie_core::event::Event;

/// The record could not be written. The gate then refuses.
#[derive(Debug, thiserror::Error)]
#[error("the audit record could not be written: {0}")]
pub struct AuditError(pub String);

/// Where decisions are recorded; the task's journal.
pub trait Audit: Send + Sync {
    /// Records a decision. For effects that leave the workspace
    /// (`http-request`, `network-connect`, `push`, `change-request`) it is
    /// durable when this returns. For those inside it becomes durable with the
    /// outcome of the call that they belong to, whose intent already is.
    ///
    /// # Errors
    /// If it is known that it cannot be recorded.
    fn record(&self, decision: Event) -> Result<(), AuditError>;
}
