//! What is said when something may not happen.

use sortie_core::action::{Action, ActionKind};
use sortie_core::outcome::RefusedAction;
use sortie_core::text::one_line;

/// Why an action may not happen, and what would allow it. It is shown to the
/// model and to the user.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{kind} {target}: refused by {policy}{}: {reason}{}", in_rule(.rule), hint(.remedy))]
pub struct Refusal {
    /// Kind of the action.
    pub kind: ActionKind,
    /// What it acts on, as one bounded line.
    pub target: String,
    /// The policy that refused; `default` where none had a say, `audit` where
    /// the decision could not be recorded.
    pub policy: String,
    /// Its rule, if it named one.
    pub rule: Option<String>,
    /// Why.
    pub reason: String,
    /// What would allow it.
    pub remedy: Option<String>,
    /// Whether the policy failed, instead of deciding.
    pub fault: bool,
}

fn in_rule(rule: &Option<String>) -> String {
    rule.as_ref().map(|rule| format!(" (rule `{rule}`)")).unwrap_or_default()
}

fn hint(remedy: &Option<String>) -> String {
    remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default()
}

impl Refusal {
    pub(crate) fn new(action: &Action, policy: &str, reason: impl Into<String>) -> Self {
        Self {
            kind: action.kind,
            target: one_line(&action.target, 200),
            policy: policy.to_owned(),
            rule: None,
            reason: one_line(&reason.into(), 500),
            remedy: None,
            fault: false,
        }
    }

    /// The refusal as it stands in a task's report.
    pub fn report(&self) -> RefusedAction {
        RefusedAction {
            action: format!("{} {}", self.kind, self.target),
            policy: self.policy.clone(),
            rule: self.rule.clone(),
            reason: self.reason.clone(),
            remedy: self.remedy.clone(),
        }
    }
}
