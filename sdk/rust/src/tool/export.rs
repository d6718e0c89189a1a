//! What [`export_tools!`](crate::export_tools) calls.

use serde::de::DeserializeOwned;

use super::{Tool, run, schema, wit};
use crate::bindings::host::sortie::host::types;
use crate::config;

/// A tool, as the model is told of it.
pub fn describe<T: Tool>() -> wit::Spec {
    let (schema, comment) = schema::of::<T>();
    let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
    wit::Spec {
        name: T::NAME.to_owned(),
        title: or(T::TITLE, T::NAME),
        description: or(T::DESCRIPTION, &comment),
        input_schema: schema.to_string(),
        effects: T::EFFECTS,
    }
}

/// Whether settings are an `S`.
pub fn validate_settings<S: DeserializeOwned>(settings: &str) -> Result<(), types::Error> {
    config::parse::<S>(settings).map(drop).map_err(Into::into)
}

/// Runs a tool.
pub fn invoke<T: Tool>(call: wit::Call) -> Result<wit::Output, types::Error> {
    run::<T>(call).map_err(Into::into)
}
