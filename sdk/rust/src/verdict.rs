//! What a policy answers.

use serde_json::Value;

use crate::bindings::policy::exports::sortie::policy::policy as wit;

/// What a policy wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It has no say in this.
    Abstain,
    /// It may happen.
    Allow,
    /// It may happen with these details instead. Only where the operator set
    /// `mutates`; a fault, which denies, otherwise.
    Transform(Value),
    /// A person must agree first; the text says to what and why.
    Ask(String),
    /// It must not happen; the text says why.
    Deny(String),
}

/// A decision and where it comes from.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Verdict {
    /// What the policy wants.
    pub decision: Decision,
    /// Name of the rule that decided, for people to find it.
    pub rule: Option<String>,
    /// For ask and deny: what would allow this, in one sentence.
    pub remedy: Option<String>,
}

impl Verdict {
    fn of(decision: Decision) -> Self {
        Self { decision, rule: None, remedy: None }
    }

    /// The policy has no say in this.
    pub fn abstain() -> Self {
        Self::of(Decision::Abstain)
    }

    /// It may happen, as far as this policy goes.
    pub fn allow() -> Self {
        Self::of(Decision::Allow)
    }

    /// It may happen with these details instead.
    pub fn transform(details: Value) -> Self {
        Self::of(Decision::Transform(details))
    }

    /// A person must agree first.
    pub fn ask(question: impl Into<String>) -> Self {
        Self::of(Decision::Ask(question.into()))
    }

    /// It must not happen.
    pub fn deny(reason: impl Into<String>) -> Self {
        Self::of(Decision::Deny(reason.into()))
    }

    /// Names the rule that decided.
    pub fn rule(mut self, rule: impl Into<String>) -> Self {
        self.rule = Some(rule.into());
        self
    }

    /// Says what would allow it, in one sentence.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl From<Verdict> for wit::Verdict {
    fn from(verdict: Verdict) -> Self {
        let decision = match verdict.decision {
            Decision::Abstain => wit::Decision::Abstain,
            Decision::Allow => wit::Decision::Allow,
            Decision::Transform(details) => wit::Decision::Transform(details.to_string()),
            Decision::Ask(question) => wit::Decision::Ask(question),
            Decision::Deny(reason) => wit::Decision::Deny(reason),
        };
        Self { decision, rule: verdict.rule, remedy: verdict.remedy }
    }
}
