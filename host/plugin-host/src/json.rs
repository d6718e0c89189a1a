//! JSON texts from guests.

use serde_json::Value;

use crate::limits::CONTENT;

/// Why a guest's JSON text is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JsonError {
    #[error("{0} bytes of JSON are more than 8 MiB")]
    TooLarge(usize),
    #[error("malformed JSON: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("{0} was expected, not {1}")]
    Kind(&'static str, &'static str),
}

/// Parses a text. Nesting is bounded by the parser, at 127 levels.
pub(crate) fn parse(text: &str) -> Result<Value, JsonError> {
    if text.len() > CONTENT {
        return Err(JsonError::TooLarge(text.len()));
    }
    Ok(serde_json::from_str(text)?)
}

/// Parses a text that must be an object.
pub(crate) fn parse_object(text: &str) -> Result<Value, JsonError> {
    let value = parse(text)?;
    if value.is_object() { Ok(value) } else { Err(JsonError::Kind("an object", kind(&value))) }
}

pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_nesting_is_refused() {
        let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(&deep(127)).is_ok());
        assert!(parse(&deep(129)).is_err());
        assert!(parse(&deep(1_000_000)).is_err());
    }

    #[test]
    fn a_text_beyond_8_mib_is_refused_unparsed() {
        let text = format!("\"{}\"", "x".repeat(CONTENT));
        assert!(matches!(parse(&text), Err(JsonError::TooLarge(_))));
    }
}
