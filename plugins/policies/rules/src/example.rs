//! Examples in rules, and the events that they stand for.

use serde::Deserialize;
use serde_json::{Value, json};
use sortie_sdk::event::Event;
use sortie_sdk::{Error, Result};

use crate::rule::Rule;

/// An example: a text for what the rule is about, or an event's parts.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a text, or an object with `action`, `actor`, `target`, `details`, `facts`")]
pub(crate) enum Example {
    /// A path if the rule matches on paths, else the target.
    Text(String),
    /// An event's parts.
    Parts(Parts),
}

/// An event's parts; what is missing is empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Parts {
    action: Option<String>,
    actor: Option<String>,
    target: String,
    details: Option<Value>,
    facts: Option<Value>,
}

impl Example {
    /// The example's name in messages.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Text(text) => format!("`{text}`"),
            Self::Parts(Parts { target, .. }) if !target.is_empty() => format!("`{target}`"),
            Self::Parts(parts) => format!("{parts:?}"),
        }
    }

    /// The events that it stands for: one for each kind of action of its rule.
    ///
    /// # Errors
    /// If its parts make no event of the kind.
    pub(crate) fn events(&self, rule: &Rule) -> Result<Vec<Event>> {
        let about_paths =
            rule.conditions.iter().any(|(key, _)| matches!(&**key, "path" | "paths" | "changes.path"));
        let kinds = rule.action.iter();
        match self {
            Self::Text(text) => kinds
                .map(|kind| match kind {
                    "*" => Err(Error::invalid("an example of a rule for all actions needs `action`")),
                    kind => event(kind, text, about_paths),
                })
                .collect(),
            Self::Parts(parts) => match &parts.action {
                Some(kind) => Ok(vec![parts.event(kind)?]),
                None => kinds.map(|kind| parts.event(kind)).collect(),
            },
        }
    }
}

impl Parts {
    fn event(&self, kind: &str) -> Result<Event> {
        let usual = details(kind, &self.target, false);
        let details = match (&self.details, usual) {
            (Some(Value::Object(given)), Value::Object(mut usual)) => {
                usual.extend(given.clone());
                Value::Object(usual)
            }
            (Some(given), _) => given.clone(),
            (None, usual) => usual,
        };
        let actor = self.actor.clone().unwrap_or_else(|| "agent".into());
        let facts = self.facts.clone().unwrap_or_else(|| json!({}));
        Event::new("example", actor, kind, &self.target, details, facts)
    }
}

fn event(kind: &str, text: &str, about_paths: bool) -> Result<Event> {
    Event::new("example", "agent", kind, text, details(kind, text, about_paths), json!({}))
}

/// The details that an action of this kind on this target usually has.
fn details(kind: &str, text: &str, about_paths: bool) -> Value {
    let change = if about_paths { json!([{"path": text, "kind": "modified"}]) } else { json!([]) };
    let reference = if about_paths { "refs/heads/sortie/example" } else { text };
    match kind {
        "task-submit" => json!({"prompt": "", "repository": text, "model": ""}),
        "workspace-create" => json!({"backend": text, "setup_network": "all", "agent_network": "none"}),
        "repository-fetch" => json!({"url": text, "reference": null}),
        "tool-call" => json!({"call_id": "call", "tool": text, "plugin": "", "arguments": {}}),
        "tool-result" => json!({"call_id": "call", "tool": text, "content": "", "failed": false}),
        "exec" => json!({"argv": ["sh", "-c", text]}),
        "file-read" => json!({"operation": "read", "offset": 0, "max": 1, "paths": [text]}),
        "file-write" => json!({"operation": "remove", "path": text}),
        "http-request" => json!({"method": "GET", "url": text}),
        "network-connect" => {
            let (host, port) = text.rsplit_once(':').unwrap_or((text, "443"));
            json!({"host": host, "port": port.parse().unwrap_or(443_u16), "request": null})
        }
        "model-request" => {
            let (provider, model) = text.split_once('/').unwrap_or((text, ""));
            json!({"provider": provider, "model": model, "endpoint": "", "max_output_tokens": 0})
        }
        "commit" => json!({"branch": reference, "message": "", "changes": change}),
        "push" => json!({"remote": "", "reference": reference, "commit": "", "changes": change}),
        _ => json!({}),
    }
}
