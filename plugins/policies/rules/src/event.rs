//! An event as rules look at it: values by key.

use std::borrow::Cow;

use serde_json::Value;
use sortie_sdk::event::Event;
use sortie_sdk::{Error, Result};

use crate::path;
use crate::pattern::Text;

/// An action and its circumstances.
pub(crate) struct Subject<'a> {
    pub(crate) kind: &'a str,
    pub(crate) actor: String,
    pub(crate) target: &'a str,
    pub(crate) details: &'a Value,
    pub(crate) facts: &'a Value,
    /// Every path that the action concerns, in normal form.
    pub(crate) paths: Cow<'a, [String]>,
}

impl<'a> Subject<'a> {
    /// # Errors
    /// If an action on paths does not say which: it must not be taken for one
    /// on none.
    pub(crate) fn new(event: &'a Event) -> Result<Self> {
        let (list, key) = match event.kind.as_str() {
            "file-write" => ("path", "path"),
            "file-read" => ("paths", "paths"),
            "commit" | "push" => ("changes", "changes.path"),
            _ => ("", ""),
        };
        let paths = strings(&event.details, key);
        let expected = match event.details.get(list) {
            Some(Value::Array(items)) => items.len(),
            Some(Value::String(_)) => 1,
            _ if list.is_empty() => 0,
            _ => usize::MAX,
        };
        if paths.len() != expected {
            return Err(Error::invalid(format!("the {} does not say on which paths it acts", event.kind)));
        }
        Ok(Self {
            kind: &event.kind,
            actor: event.actor.to_string(),
            target: &event.target,
            details: &event.details,
            facts: &event.facts.raw,
            paths: paths.iter().map(|value| path::normal(value)).collect(),
        })
    }

    /// The same action, were it on one path only.
    pub(crate) fn with_path<'b>(&'b self, path: &'b String) -> Subject<'b> {
        let paths = Cow::Borrowed(std::slice::from_ref(path));
        Subject { actor: self.actor.clone(), paths, ..*self }
    }

    /// Whether the action may happen for some of its paths only.
    pub(crate) fn can_be_filtered(&self) -> bool {
        self.kind == "file-read" && self.details["operation"] != "read"
    }

    /// The values of a key, and what kind of text they are.
    pub(crate) fn values(&self, key: &str) -> (Text, Vec<Cow<'_, str>>) {
        let borrowed = |text: &'_ str| -> Vec<Cow<'_, str>> { vec![Cow::Owned(text.to_owned())] };
        match key {
            "path" | "paths" | "changes.path" => {
                (Text::Path, self.paths.iter().map(|path| Cow::Borrowed(path.as_str())).collect())
            }
            "target" if self.target_is_path() => {
                (Text::Path, self.paths.iter().map(|path| Cow::Borrowed(path.as_str())).collect())
            }
            "target" => (Text::Plain, vec![Cow::Borrowed(self.target)]),
            "actor" => (Text::Plain, borrowed(&self.actor)),
            "argv" => (Text::Plain, command_lines(self.details)),
            _ => {
                let found = match key.strip_prefix("facts.") {
                    Some(key) => strings(self.facts, key),
                    None => strings(self.details, key),
                };
                (Text::Plain, found.into_iter().map(Cow::Owned).collect())
            }
        }
    }

    fn target_is_path(&self) -> bool {
        self.kind == "file-write" || (self.kind == "file-read" && self.details["operation"] == "read")
    }
}

/// The arguments one by one, and as one line: so `git push *` finds both
/// `["git", "push", "x"]` and `["sh", "-c", "git push x"]`.
fn command_lines(details: &Value) -> Vec<Cow<'static, str>> {
    let arguments = strings(details, "argv");
    let line = arguments.join(" ");
    arguments.into_iter().chain([line]).map(Cow::Owned).collect()
}

/// The values under a dotted key, through arrays. Numbers and booleans as JSON
/// writes them.
fn strings(value: &Value, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    collect(value, key, &mut found);
    found
}

fn collect(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, key, found)),
        Value::Object(object) if !key.is_empty() => {
            // A key may itself hold dots.
            if let Some(value) = object.get(key) {
                return collect(value, "", found);
            }
            let (first, rest) = key.split_once('.').unwrap_or((key, ""));
            if let Some(value) = object.get(first) {
                collect(value, rest, found);
            }
        }
        Value::String(text) if key.is_empty() => found.push(text.clone()),
        Value::Number(_) | Value::Bool(_) if key.is_empty() => found.push(value.to_string()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::strings;

    #[test]
    fn dotted_keys_lead_through_objects_and_arrays() {
        let value = json!({"changes": [{"path": "a"}, {"path": "b"}], "n": 3, "x.y": true, "none": null});
        assert_eq!(strings(&value, "changes.path"), ["a", "b"]);
        assert_eq!(strings(&value, "n"), ["3"]);
        assert_eq!(strings(&value, "x.y"), ["true"]);
        for absent in ["changes", "changes.path.x", "none", "m", "n.o", ""] {
            assert!(strings(&value, absent).is_empty(), "{absent}");
        }
    }
}
