//! Events: actions and their circumstances, as policies see them.

mod action;
mod facts;

use std::fmt;

use serde_json::Value;

use crate::bindings::policy::exports::sortie::policy::policy as wit;
use crate::{Error, Result};

pub use action::{
    Action, Against, Change, ChangeKind, Commit, Exec, FileRead, FileWrite, HttpRequest, ModelRequest,
    NetworkConnect, Push, RepositoryFetch, TaskSubmit, ToolCall, ToolResult, WorkspaceCreate, WriteOperation,
};
pub use facts::Facts;

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The platform itself.
    Host,
    /// The agent.
    Agent,
    /// A person.
    User,
    /// A tool, by name.
    Tool(String),
    /// Somebody that this version of the SDK does not know.
    Other(String),
}

impl From<String> for Actor {
    fn from(name: String) -> Self {
        match name.as_str() {
            "host" => Self::Host,
            "agent" => Self::Agent,
            "user" => Self::User,
            _ => match name.strip_prefix("tool:") {
                Some(tool) => Self::Tool(tool.to_owned()),
                None => Self::Other(name),
            },
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Agent => f.write_str("agent"),
            Self::User => f.write_str("user"),
            Self::Tool(tool) => write!(f, "tool:{tool}"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// An action and its circumstances.
#[derive(Clone, Debug)]
pub struct Event {
    /// Unique within the task.
    pub id: String,
    /// Who acts.
    pub actor: Actor,
    /// Kind of the action, as in settings.
    pub kind: String,
    /// What it acts on, in the form usual for its kind.
    pub target: String,
    /// The action in full, as it came; [`action`](Self::action) has it typed.
    pub details: Value,
    /// The circumstances.
    pub facts: Facts,
}

impl Event {
    /// Reads an event as it comes from the host.
    pub(crate) fn parse(event: wit::Event) -> Result<Self> {
        let details = json("details", &event.action.details)?;
        let facts = json("facts", &event.facts)?;
        Self::new(event.id, event.actor, event.action.kind, event.action.target, details, facts)
    }

    /// An event from its parts.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorCode::Invalid) if the facts are malformed.
    pub fn new(
        id: impl Into<String>,
        actor: impl Into<String>,
        kind: impl Into<String>,
        target: impl Into<String>,
        details: Value,
        facts: Value,
    ) -> Result<Self> {
        let facts = Facts::parse(facts)?;
        let actor = actor.into().into();
        Ok(Self { id: id.into(), actor, kind: kind.into(), target: target.into(), details, facts })
    }

    /// What is about to happen, typed.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorCode::Invalid) if the details of a known kind
    /// lack what belongs to them. Pass it on: a policy must not take such an
    /// action for one that it has no say in.
    pub fn action(&self) -> Result<Action> {
        Action::parse(&self.kind, &self.details)
    }
}

fn json(what: &str, text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| Error::invalid(format!("{what} of the event: {error}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(kind: &str, details: Value) -> Event {
        Event::new("e1", "tool:shell", kind, "", details, json!({})).expect("has good facts")
    }

    #[test]
    fn a_known_kind_with_malformed_details_is_an_error_and_not_another_kind() {
        let error = event("push", json!({"remote": "r"})).action().expect_err("has no reference");
        assert!(error.message.contains("push"), "{error}");
    }

    #[test]
    fn an_unknown_kind_keeps_its_details() {
        let event = event("teleport", json!({"to": "mars"}));
        assert!(matches!(event.action(), Ok(Action::Other)));
        assert_eq!(event.details["to"], "mars");
    }

    #[test]
    fn unknown_keys_are_ignored() {
        let details = json!({"argv": ["true"], "colour": "red"});
        let event = event("exec", details);
        assert!(matches!(event.action(), Ok(Action::Exec(exec)) if exec.argv == ["true"]));
        assert_eq!(event.actor, Actor::Tool("shell".into()));
    }
}
