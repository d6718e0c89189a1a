//! The effect ports: what can be done, each for a permit.
//!
//! An adapter redeems the permit against the seal of its gate and then does
//! exactly what the permitted action says. Methods without a permit read
//! nothing that leaves the host, and change nothing: they serve to fill an
//! action before it is decided on.

mod files;
mod model;
mod network;
mod process;
mod repository;
mod tools;
mod workspace;

pub use files::{FileContent, Files, LineMatch, SearchQuery, Survey};
pub use model::{Model, ModelError, ReplyObserver};
pub use network::{Body, Dialer, HttpClient, NetworkMeter};
pub use process::{Background, Chunk, CommandLimit, Commands, Ended, Exit, LimitReached, Process};
pub use repository::{BranchState, CommitInfo, Repository};
pub use tools::{Invocation, Tool, ToolEffects, ToolOutput, Tools};
pub use workspace::{Forked, Forks, Identity, Workspace, WorkspaceLimits, WorkspaceSpec, Workspaces};

use sortie_core::outcome::RefusedAction;

use crate::{ForeignPermit, Refusal};

/// Why a port failed; the codes of `sortie:host/types`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "described in wit/host/types.wit")]
pub enum ErrorCode {
    Denied,
    Invalid,
    NotFound,
    Conflict,
    TooLarge,
    Timeout,
    Cancelled,
    Unavailable,
    Internal,
}

/// A failure of a port.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct PortError {
    /// What kind of failure.
    pub code: ErrorCode,
    /// What failed, for the model and the user.
    pub message: String,
    /// For `Denied`: `policy/rule`.
    pub rule: Option<String>,
}

impl PortError {
    /// A failure of this kind.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), rule: None }
    }

    /// The refusal that this is, if it is one of a port's own, for an action
    /// as `kind target`. Its message is a reason and, after `; `, a remedy.
    pub fn refused(&self, action: String) -> Option<RefusedAction> {
        if self.code != ErrorCode::Denied {
            return None;
        }
        let (policy, rule) = self.rule.as_deref()?.split_once('/')?;
        let (reason, remedy) = match self.message.split_once("; ") {
            Some((reason, remedy)) => (reason, Some(remedy.to_owned())),
            None => (self.message.as_str(), None),
        };
        let (policy, rule, reason) = (policy.to_owned(), Some(rule.to_owned()), reason.to_owned());
        Some(RefusedAction { action, policy, rule, reason, remedy })
    }

    /// A fault of the host.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::Internal, error.to_string())
    }
}

impl From<ForeignPermit> for PortError {
    fn from(error: ForeignPermit) -> Self {
        Self::new(ErrorCode::Denied, error.to_string())
    }
}

impl From<Refusal> for PortError {
    fn from(refusal: Refusal) -> Self {
        let rule = refusal.rule.as_deref().unwrap_or(if refusal.fault { "fault" } else { "-" });
        let rule = format!("{}/{rule}", refusal.policy);
        Self { code: ErrorCode::Denied, message: refusal.to_string(), rule: Some(rule) }
    }
}
