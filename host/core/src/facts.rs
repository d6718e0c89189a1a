//! The circumstances of an action, as policies see them.

use serde::{Deserialize, Serialize};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Workspace up, clone, set-up, baseline tests.
    Prepare,
    /// Agent turns.
    Work,
    /// Tests again, by the host.
    Verify,
    /// Commit, push, change request.
    Deliver,
    /// Log kept, resources released.
    Archive,
}

impl Phase {
    /// The phase's name, as in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Work => "work",
            Self::Verify => "verify",
            Self::Deliver => "deliver",
            Self::Archive => "archive",
        }
    }
}

/// What policies are told about the circumstances. Keys are only ever added.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// Time of the event, RFC 3339 in UTC. The policy's clock stands at it.
    pub now: jiff::Timestamp,
    /// Id of the task.
    pub task: String,
    /// The repository, as the task names it, without credentials.
    pub repository: String,
    /// The branch that will be delivered.
    pub branch: String,
    /// Where the task stands.
    pub phase: Phase,
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
}
