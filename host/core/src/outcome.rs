//! How a task ends.

use serde::{Deserialize, Serialize};

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The task is done and delivered.
    Done,
    /// Something was delivered, but not all, or the tests are worse than before.
    Partial,
    /// The agent cannot go on without help.
    Blocked,
    /// A part of the platform failed, or the agent got stuck.
    Failed,
    /// A policy refused the task or its delivery.
    Refused,
    /// Somebody cancelled it.
    Cancelled,
    /// A budget was spent.
    Budget,
}

impl Outcome {
    /// The outcome's name, as in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Blocked => "blocked",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::Budget => "budget",
        }
    }
}

/// Numbers of a test run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestCounts {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that were skipped.
    pub skipped: u64,
}

/// What the model cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens sent, cached ones included.
    pub input_tokens: u64,
    /// Tokens received, reasoning included.
    pub output_tokens: u64,
    /// Model replies.
    pub turns: u64,
    /// Tool calls.
    pub tool_calls: u64,
}

/// An action that was refused, for the report of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedAction {
    /// Kind and target, such as `push refs/heads/main`.
    pub action: String,
    /// The policy that refused; `default` where none had a say, `audit` where
    /// the decision could not be recorded.
    pub policy: String,
    /// Its rule, if it named one.
    pub rule: Option<String>,
    /// Why.
    pub reason: String,
    /// What would allow it.
    pub remedy: Option<String>,
}

/// What a task moved over the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkUse {
    /// Bytes sent to servers.
    pub sent: u64,
    /// Bytes received from servers.
    pub received: u64,
    /// The most bytes, sent and received together; none without a bound.
    pub max: Option<u64>,
}

impl NetworkUse {
    /// Whether nothing more may be moved.
    pub fn is_spent(&self) -> bool {
        self.max.is_some_and(|max| self.sent.saturating_add(self.received) >= max)
    }
}
