//! What policies answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a policy wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It has no say in it.
    Abstain,
    /// It may happen.
    Allow,
    /// It may happen with these details instead.
    Transform(Value),
    /// A person must agree first.
    Ask(String),
    /// It must not happen.
    Deny(String),
}

/// A decision and where it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What the policy wants.
    pub decision: Decision,
    /// The rule that decided.
    pub rule: Option<String>,
    /// What would allow it.
    pub remedy: Option<String>,
}

impl Verdict {
    /// A verdict without a rule.
    pub fn of(decision: Decision) -> Self {
        Self { decision, rule: None, remedy: None }
    }
}
