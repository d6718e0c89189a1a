//! Checks that are made once, when the settings are.

use sortie_sdk::{Error, Result};

use crate::event::Subject;
use crate::example::Example;
use crate::pattern;
use crate::rule::{Choice, Rule};

/// The most rules, and patterns of one condition.
const MAX: usize = 1000;

/// Keys of details, by kind of action. Kinds that are not here take any key.
const KEYS: [(&str, &[&str]); 14] = [
    ("task-submit", &["prompt", "repository", "model"]),
    (
        "workspace-create",
        &[
            "backend",
            "image",
            "image_id",
            "build",
            "stage",
            "root",
            "services",
            "setup_network",
            "agent_network",
        ],
    ),
    ("secret-use", &["name", "environment"]),
    ("repository-fetch", &["url", "reference"]),
    ("tool-call", &["call_id", "tool", "plugin", "arguments"]),
    ("tool-result", &["call_id", "tool", "content", "failed"]),
    (
        "exec",
        &["argv", "cwd", "env", "stdin", "tty", "background", "timeout_ms", "idle_timeout_ms", "max_output"],
    ),
    (
        "file-read",
        &["path", "paths", "operation", "pattern", "against", "rev", "offset", "max", "ignore_case"],
    ),
    ("file-write", &["path", "operation", "text", "size", "sha256", "if_match", "old", "new", "count"]),
    ("http-request", &["method", "url"]),
    ("network-connect", &["host", "port", "request"]),
    ("model-request", &["provider", "model", "endpoint", "max_output_tokens", "messages", "bytes"]),
    ("commit", &["path", "branch", "message", "changes"]),
    ("push", &["path", "remote", "reference", "commit", "changes"]),
];

/// Kinds of which no details are known here.
const OTHER_KINDS: [&str; 1] = ["change-request"];

/// Keys of the facts.
const FACTS: [&str; 11] = [
    "now",
    "task",
    "repository",
    "branch",
    "phase",
    "tool_calls",
    "turns",
    "input_tokens",
    "output_tokens",
    "elapsed_ms",
    "untrusted_text",
];

/// Whether rules are good: kinds, keys, patterns, and their own examples.
///
/// # Errors
/// Names the rule, and what is wrong with it.
pub(crate) fn rules<'a>(rules: impl Iterator<Item = &'a Rule>) -> Result<()> {
    let rules: Vec<_> = rules.collect();
    if rules.len() > MAX {
        return Err(Error::invalid(format!("there are more than {MAX} rules")));
    }
    for (index, rule) in rules.iter().enumerate() {
        if rules[..index].iter().any(|other| other.name == rule.name) {
            return Err(Error::invalid(format!("there are two rules named `{}`", rule.name)));
        }
        one(rule).map_err(|error| error.context(format!("rule `{}`", rule.name)))?;
    }
    Ok(())
}

/// Whether the rules that are switched off exist.
///
/// # Errors
/// Names the one that does not, and those that do.
pub(crate) fn disabled(names: &[String], shipped: &[Rule]) -> Result<()> {
    let known: Vec<_> = shipped.iter().map(|rule| &*rule.name).collect();
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let known = known.join(", ");
            Err(Error::invalid(format!("`disable` names no shipped rule `{name}`; there are {known}")))
        }
    }
}

fn one(rule: &Rule) -> Result<()> {
    let bad = |why: String| Err(Error::invalid(why));
    if rule.name.is_empty() || rule.name.len() > 100 {
        return bad("its name must have 1 to 100 bytes".into());
    }
    if rule.action.iter().next().is_none() {
        return bad("`action` is empty".into());
    }
    for kind in rule.action.iter() {
        let known = || KEYS.iter().map(|(kind, _)| *kind).chain(OTHER_KINDS);
        if kind != "*" && !known().any(|other| other == kind) {
            let known = known().collect::<Vec<_>>().join(", ");
            return bad(format!("there is no action `{kind}`; there are {known} and *"));
        }
        rule.conditions.iter().try_for_each(|(key, _)| check_key(kind, key))?;
    }
    for (key, patterns) in &rule.conditions {
        if !(1..=MAX).contains(&patterns.iter().count()) {
            return bad(format!("`{key}` needs 1 to {MAX} patterns"));
        }
        patterns.iter().try_for_each(pattern::check)?;
    }
    examples(rule)
}

/// A key that no action of the kind has would make a rule that never matches.
fn check_key(kind: &str, key: &str) -> Result<()> {
    let unknown = |known: &[&str]| {
        let known = known.join(", ");
        Err(Error::invalid(format!("{kind} has no key `{key}`; it has target, actor, facts.…, {known}")))
    };
    if let Some(fact) = key.strip_prefix("facts.") {
        return if FACTS.contains(&fact) { Ok(()) } else { unknown(&FACTS.map(|fact| fact)) };
    }
    let first = key.split('.').next().unwrap_or(key);
    if matches!(key, "target" | "actor") || OTHER_KINDS.contains(&kind) {
        return Ok(());
    }
    let known = KEYS.iter().find(|(name, _)| *name == kind).map_or(&[] as &[_], |(_, keys)| keys);
    if known.contains(&first) { Ok(()) } else { unknown(known) }
}

/// Whether the rule, by itself, does to its examples what they say.
fn examples(rule: &Rule) -> Result<()> {
    let stops = rule.decision != Choice::Allow;
    for (examples, matched, what) in [(&rule.denies, stops, "denies"), (&rule.allows, !stops, "allows")] {
        for example in examples {
            check_example(rule, example, matched, what)?;
        }
    }
    Ok(())
}

fn check_example(rule: &Rule, example: &Example, matched: bool, what: &str) -> Result<()> {
    let named = |error: Error| error.context(format!("example {} in `{what}`", example.shown()));
    for event in example.events(rule).map_err(named)? {
        let hit = rule.matches(&Subject::new(&event).map_err(named)?)?;
        if hit.is_some() != matched {
            let does = if matched { "does not match" } else { "matches" };
            let example = example.shown();
            return Err(Error::invalid(format!(
                "`{what}` names {example}, but the rule {does} it as {}",
                event.kind
            )));
        }
    }
    Ok(())
}
