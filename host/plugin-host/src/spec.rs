//! What is to be loaded.

use std::fmt;

use serde_json::Value;

use crate::grants::Grants;

/// What a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginKind {
    /// It offers tools.
    Tool,
    /// It decides on actions.
    Policy,
}

impl fmt::Display for PluginKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tool => "tool",
            Self::Policy => "policy",
        })
    }
}

/// A plugin, as the operator set it up. Its kind is what the component exports.
#[derive(Clone, Debug)]
pub struct PluginSpec {
    /// Its id: 1 to 64 of `a-z`, `0-9`, `-`, `_` and `.`.
    pub id: String,
    /// The component's bytes, at most 64 MiB.
    pub bytes: Vec<u8>,
    /// Where the bytes come from, for messages.
    pub origin: String,
    /// What it may ask for.
    pub grants: Grants,
    /// Its settings, an object.
    pub settings: Value,
    /// The SHA-256 that the bytes must have, as 64 hexadecimal digits.
    pub digest: Option<String>,
}

impl PluginSpec {
    /// A plugin without grants, settings and pinned digest.
    pub fn new(id: impl Into<String>, bytes: Vec<u8>, origin: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            bytes,
            origin: origin.into(),
            grants: Grants::default(),
            settings: Value::Object(serde_json::Map::new()),
            digest: None,
        }
    }
}

/// Whether a text is a good name: 1 to 64 of what `allowed` lets through.
pub(crate) fn is_name(name: &str, allowed: impl Fn(u8) -> bool) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

pub(crate) fn is_plugin_id(id: &str) -> bool {
    is_name(id, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
        && !id.starts_with('.')
}
