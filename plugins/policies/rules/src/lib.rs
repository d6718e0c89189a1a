//! The policy `rules`: rules from its settings, and the ones it is shipped with.
//!
//! ```json
//! {
//!   "default_rules": true,
//!   "disable": ["workflow-files"],
//!   "rule": [{
//!     "name": "no-force",
//!     "action": "exec",
//!     "match": {"argv": ["*git push*--force*", "*git push*-f*"]},
//!     "decision": "deny",
//!     "reason": "history is not rewritten",
//!     "denies": ["git push --force origin x"],
//!     "allows": ["git push origin x"]
//!   }]
//! }
//! ```
//!
//! The strictest rule that matches decides: deny, else ask, else allow; of
//! equals, the first, the operator's before the shipped ones. If none matches,
//! the policy abstains. So a shipped rule is loosened by naming it in
//! `disable`, never by another rule.
//!
//! A rule matches if all its conditions do. A condition's key is `target`,
//! `actor`, `path` (every path that the action concerns), `facts.…`, or a key
//! of the action's details, dotted for what lies deeper; where there are
//! several values, one that matches is enough. Its patterns are globs, or
//! regular expressions after `regex:`; a `!` in front takes out what the
//! others let in. In paths, `*` stays within a part and `**` does not; in
//! other texts `*` matches anything. Deny and ask ignore case, allow does not.
//!
//! `allows` and `denies` are examples of what this rule by itself must leave
//! alone or stop. They are checked when the settings are.

mod check;
mod event;
mod example;
mod fold;
mod path;
mod pattern;
mod rule;
mod shipped;

use sortie_sdk::prelude::*;

use event::Subject;
use rule::Rule;
use shipped::RULES as SHIPPED;

/// What the operator sets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Whether the shipped rules hold too.
    #[serde(default = "yes")]
    default_rules: bool,
    /// Names of shipped rules that do not hold.
    #[serde(default)]
    disable: Vec<String>,
    /// Whether paths that may not be read are dropped from searches and
    /// diffs, rather than the whole refused. The host must let this policy
    /// change actions (`mutates`).
    #[serde(default)]
    filter: bool,
    /// The operator's rules.
    #[serde(default)]
    rule: Vec<Rule>,
}

fn yes() -> bool {
    true
}

/// The policy.
struct Rules(Settings);

impl Policy for Rules {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self(settings))
    }

    fn check(&self) -> Result<()> {
        let shipped = shipped::with_examples()?;
        check::disabled(&self.0.disable, &shipped)?;
        let shipped = shipped.iter().filter(|rule| self.holds(&rule.name));
        check::rules(self.0.rule.iter().chain(shipped))
    }

    fn evaluate(&self, event: &Event) -> Result<Verdict> {
        let subject = Subject::new(event)?;
        let shipped =
            SHIPPED.iter().filter(|rule| self.holds(rule.name) && rule.action.contains(&subject.kind));
        let shipped: Vec<_> = shipped.map(Rule::from).collect();
        let rules: Vec<_> = self.0.rule.iter().chain(&shipped).collect();
        let verdict = decide(&rules, &subject)?;
        match verdict.decision {
            Decision::Deny(_) if self.0.filter && subject.can_be_filtered() => filtered(&rules, &subject),
            _ => Ok(verdict),
        }
    }
}

export_policy!(Rules);

impl Rules {
    /// Whether the shipped rule of this name is on.
    fn holds(&self, name: &str) -> bool {
        self.0.default_rules && !self.0.disable.iter().any(|other| other == name)
    }
}

/// What the strictest rule that matches says.
fn decide(rules: &[&Rule], subject: &Subject<'_>) -> Result<Verdict> {
    let mut strictest: Option<(&Rule, rule::Hit)> = None;
    for rule in rules {
        if strictest.as_ref().is_some_and(|(other, _)| other.decision >= rule.decision) {
            continue;
        }
        if let Some(hit) = rule.matches(subject)? {
            strictest = Some((rule, hit));
        }
    }
    Ok(match strictest {
        Some((rule, hit)) => rule.verdict(&hit),
        None => Verdict::abstain(),
    })
}

/// The same action without the paths that may not be read.
fn filtered(rules: &[&Rule], subject: &Subject<'_>) -> Result<Verdict> {
    let mut kept = Vec::new();
    for (index, path) in subject.paths.iter().enumerate() {
        let alone = subject.with_path(path);
        if !matches!(decide(rules, &alone)?.decision, Decision::Deny(_)) {
            kept.push(subject.details["paths"][index].clone());
        }
    }
    let mut details = subject.details.clone();
    details["paths"] = Value::Array(kept);
    Ok(Verdict::transform(details).rule("filter"))
}

#[cfg(test)]
mod tests;
