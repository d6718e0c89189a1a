//! The circumstances of an action.

use serde::Deserialize;
use serde_json::Value;

use crate::{Error, Result};

/// The circumstances of an action. Numbers that an older host does not give are 0.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Facts {
    /// Time of the event, RFC 3339 in UTC. The policy's clock stands at it.
    pub now: String,
    /// Id of the task.
    pub task: String,
    /// The repository, without credentials.
    pub repository: String,
    /// The branch that will be delivered.
    pub branch: String,
    /// `prepare`, `work`, `verify`, `deliver` or `archive`.
    pub phase: String,
    /// Tool calls so far.
    pub tool_calls: u64,
    /// Model turns so far.
    pub turns: u64,
    /// Tokens sent to the model so far.
    pub input_tokens: u64,
    /// Tokens received from the model so far.
    pub output_tokens: u64,
    /// Milliseconds since the task began.
    pub elapsed_ms: u64,
    /// Whether the model has read text from outside of the repository and the task.
    pub untrusted_text: bool,
    /// All of it as it came, with what this version of the SDK does not know.
    #[serde(skip)]
    pub raw: Value,
}

impl Facts {
    pub(super) fn parse(raw: Value) -> Result<Self> {
        let facts: Self = Deserialize::deserialize(&raw)
            .map_err(|error: serde_json::Error| Error::invalid(format!("facts of the event: {error}")))?;
        Ok(Self { raw, ..facts })
    }
}
