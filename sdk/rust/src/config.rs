//! The plugin's settings, as the operator wrote them.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result, backend};

/// The settings of a plugin that has none. Any key is an error.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// Reads the settings of this plugin.
///
/// # Errors
/// [`Invalid`](crate::ErrorCode::Invalid) if they are not a `T`, with the key at fault.
pub fn get<T: DeserializeOwned>() -> Result<T> {
    parse(&backend::config::get())
}

/// Settings from their JSON text; an empty text counts as `{}`.
pub(crate) fn parse<T: DeserializeOwned>(json: &str) -> Result<T> {
    let json = if json.trim().is_empty() { "{}" } else { json };
    serde_json::from_str(json).map_err(|error| Error::invalid(format!("settings: {error}")))
}
