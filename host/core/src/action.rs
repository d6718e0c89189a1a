//! Actions: what somebody is about to do.
//!
//! Each kind of effect is a type of its own here. The gate shows it to
//! policies as an [`Action`] (kind, target, details as JSON), and, once it is
//! permitted, hands the typed value back inside a permit.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::text::one_line;

/// An effect whose details are its own serialised form.
macro_rules! plain_effect {
    ($type:ty, $kind:ident, |$this:ident| $target:expr) => {
        impl $crate::action::Effect for $type {
            const KIND: $crate::action::ActionKind = $crate::action::ActionKind::$kind;

            fn target(&self) -> String {
                let $this = self;
                $target
            }

            fn details(&self) -> serde_json::Value {
                serde_json::to_value(self).expect("an action has string keys only")
            }

            fn with_details(&self, details: serde_json::Value) -> Result<Self, serde_json::Error> {
                serde_json::from_value(details)
            }
        }
    };
}

mod exec;
mod file;
mod model;
mod network;
mod repository;
mod task;
mod tool;

pub use exec::{Exec, command_line};
pub use file::{Against, FileRead, FileWrite, IfMatch, ReadOperation, SHOWN, WriteOperation};
pub use model::ModelRequest;
pub use network::{HttpRequest, NetworkConnect};
pub use repository::{Change, ChangeKind, Commit, Push, RepositoryFetch};
pub use task::{ImageBuild, SecretUse, Service, Stage, TaskSubmit, WorkspaceCreate};
pub use tool::{ToolCall, ToolResult};

/// The kinds of actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is described at the type of its name")]
pub enum ActionKind {
    TaskSubmit,
    WorkspaceCreate,
    RepositoryFetch,
    ToolCall,
    ToolResult,
    Exec,
    FileRead,
    FileWrite,
    HttpRequest,
    NetworkConnect,
    SecretUse,
    ModelRequest,
    Commit,
    Push,
    ChangeRequest,
}

impl ActionKind {
    /// All kinds.
    pub const ALL: [Self; 15] = [
        Self::TaskSubmit,
        Self::WorkspaceCreate,
        Self::RepositoryFetch,
        Self::ToolCall,
        Self::ToolResult,
        Self::Exec,
        Self::FileRead,
        Self::FileWrite,
        Self::HttpRequest,
        Self::NetworkConnect,
        Self::SecretUse,
        Self::ModelRequest,
        Self::Commit,
        Self::Push,
        Self::ChangeRequest,
    ];

    /// The kind's name in WIT, settings and events.
    pub fn name(self) -> &'static str {
        match self {
            Self::TaskSubmit => "task-submit",
            Self::WorkspaceCreate => "workspace-create",
            Self::RepositoryFetch => "repository-fetch",
            Self::ToolCall => "tool-call",
            Self::ToolResult => "tool-result",
            Self::Exec => "exec",
            Self::FileRead => "file-read",
            Self::FileWrite => "file-write",
            Self::HttpRequest => "http-request",
            Self::NetworkConnect => "network-connect",
            Self::SecretUse => "secret-use",
            Self::ModelRequest => "model-request",
            Self::Commit => "commit",
            Self::Push => "push",
            Self::ChangeRequest => "change-request",
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An action as policies and the journal see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Its kind.
    pub kind: ActionKind,
    /// What it acts on.
    pub target: String,
    /// The action in full.
    pub details: Value,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, one_line(&self.target, 200))
    }
}

/// A typed action. What a policy may change is what `details` shows.
pub trait Effect: Clone + Send + Sync + 'static {
    /// Its kind.
    const KIND: ActionKind;

    /// What it acts on, in the form usual for its kind.
    fn target(&self) -> String;

    /// The action in full, for policies. Never a secret.
    fn details(&self) -> Value;

    /// The action with these details in place of its own.
    ///
    /// # Errors
    /// If the details do not describe an action of this kind.
    fn with_details(&self, details: Value) -> Result<Self, serde_json::Error>;

    /// The action as policies see it.
    fn action(&self) -> Action {
        Action { kind: Self::KIND, target: self.target(), details: self.details() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kinds_agree_with_their_serialised_form() {
        for kind in ActionKind::ALL {
            assert_eq!(serde_json::to_value(kind).expect("serialises"), kind.name());
        }
    }
}
