//! Whether a push that is still to come could be allowed at all.

use globset::GlobBuilder;
use serde_json::Value;
use sortie_core::ActionKind;

use super::Policy;
use super::first_party::{default_rules_of, is_rules};

/// Whether one of these policies might allow a push to this reference. False
/// only where that is certain, whatever the push will contain: only rules say
/// anything of pushes, and none that could grant one is about this reference.
/// The repository's own rules grant nothing. Of the shipped rules, those that
/// ask are there to hold up what others allow.
pub(crate) fn may_allow_push(policies: &[Policy], reference: &str) -> bool {
    let policies = policies.iter().map(|policy| &policy.wanted);
    policies.filter(|wanted| wanted.actions.contains(&ActionKind::Push)).any(|wanted| {
        if !is_rules(&wanted.spec) {
            return true;
        }
        let own = wanted.spec.settings["rule"].as_array().into_iter().flatten();
        let shipped = default_rules_of(&wanted.spec.settings);
        own.filter(|rule| rule["decision"] != "deny").any(|rule| is_about(rule, reference))
            || shipped.iter().filter(|rule| rule["decision"] == "allow").any(|rule| is_about(rule, reference))
    })
}

/// Whether a rule could be about a push to this reference: true for what is
/// not understood.
fn is_about(rule: &Value, reference: &str) -> bool {
    let is_push = |action: &str| matches!(action, "*" | "push");
    texts(&rule["action"]).any(is_push) && {
        let targets = &rule["match"]["target"];
        targets.is_null() || texts(targets).any(|pattern| may_match(pattern, reference))
    }
}

/// One text, or several.
fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().chain([value]).filter_map(Value::as_str)
}

fn may_match(pattern: &str, reference: &str) -> bool {
    if pattern.starts_with('!') || pattern.starts_with("regex:") {
        return true;
    }
    let glob = GlobBuilder::new(pattern).case_insensitive(true).build();
    glob.map_or(true, |glob| glob.compile_matcher().is_match(reference))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_could_be_about_a_reference_unless_its_target_says_otherwise() {
        let is_about = |rule: Value| is_about(&rule, "refs/heads/fixed");
        for yes in [
            json!({ "action": "push" }),
            json!({ "action": ["commit", "*"] }),
            json!({ "action": "push", "match": { "path": "docs/**" } }),
            json!({ "action": "push", "match": { "target": "refs/*" } }),
            json!({ "action": "push", "match": { "target": ["x", "refs/heads/FIX*"] } }),
            json!({ "action": "push", "match": { "target": "regex:^refs" } }),
            json!({ "action": "push", "match": { "target": "!refs/heads/main" } }),
            json!({ "action": "push", "match": { "target": "[" } }),
        ] {
            assert!(is_about(yes.clone()), "{yes}");
        }
        for no in [
            json!({ "action": "commit" }),
            json!({ "action": "push", "match": { "target": "refs/heads/sortie/*" } }),
            json!({ "action": ["push"], "match": { "target": ["refs/heads/main"], "path": "**" } }),
        ] {
            assert!(!is_about(no.clone()), "{no}");
        }
    }
}
