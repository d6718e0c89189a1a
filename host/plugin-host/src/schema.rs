//! Schemas of tools' arguments.
//!
//! A schema comes from the guest and is then run by the host, outside of every
//! limit on guests. So it must be one that cannot be expensive: no recursion,
//! few steps once its references are followed, and regular expressions that
//! run in linear time.

use std::collections::HashMap;

use jsonschema::{Draft, PatternOptions};
use serde_json::Value;
use sortie_core::text::one_line;

use crate::json;

/// Bytes of a schema.
const LARGEST: usize = 64 << 10;
/// Schema objects, once each reference is followed.
const STEPS: u64 = 20_000;

/// Steps times the bytes of what is checked: about as many operations, on a
/// thread that other tasks wait for.
const WORK: u64 = 1 << 29;

/// A schema that was compiled.
pub(crate) struct Validator {
    compiled: jsonschema::Validator,
    steps: u64,
}

/// Compiles a schema.
pub(crate) fn compile(text: &str) -> Result<(Value, Validator), String> {
    if text.len() > LARGEST {
        return Err(format!("a schema of {} bytes is larger than 64 KiB", text.len()));
    }
    let schema = json::parse_object(text).map_err(|error| error.to_string())?;
    let steps = Walk { root: &schema, known: HashMap::new(), open: Vec::new() }.steps(&schema)?;
    if steps > STEPS {
        return Err(format!("the schema takes more than {STEPS} steps"));
    }
    let compiled = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(PatternOptions::regex().size_limit(1 << 20).dfa_size_limit(1 << 20))
        .build(&schema)
        .map_err(|error| one_line(&error.to_string(), 300))?;
    Ok((schema, Validator { compiled, steps }))
}

/// Checks arguments.
pub(crate) fn check(validator: &Validator, arguments: &Value) -> Result<(), String> {
    if !arguments.is_object() {
        return Err(format!("arguments are an object, not {}", json::kind(arguments)));
    }
    if weight(arguments).saturating_mul(validator.steps) > WORK {
        return Err("they are too large to be checked against this schema".into());
    }
    let problems: Vec<_> = validator
        .compiled
        .iter_errors(arguments)
        .take(5)
        .map(|error| {
            let path = error.instance_path().to_string();
            let place = if path.is_empty() { String::new() } else { format!("{}: ", one_line(&path, 100)) };
            format!("{place}{}", one_line(&error.to_string(), 300))
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

/// About the bytes of a value.
fn weight(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => 8 + text.len() as u64,
        Value::Array(items) => 8 + items.iter().map(weight).sum::<u64>(),
        Value::Object(fields) => {
            8 + fields.iter().map(|(key, field)| key.len() as u64 + weight(field)).sum::<u64>()
        }
    }
}

/// Counts steps, each referenced part once.
struct Walk<'a> {
    root: &'a Value,
    known: HashMap<&'a str, u64>,
    open: Vec<&'a str>,
}

impl<'a> Walk<'a> {
    fn steps(&mut self, value: &'a Value) -> Result<u64, String> {
        let mut steps: u64 = 1;
        match value {
            Value::Array(items) => {
                for item in items {
                    steps = steps.saturating_add(self.steps(item)?);
                }
            }
            Value::Object(fields) => {
                for (key, field) in fields {
                    let inner = match (key.as_str(), field) {
                        ("$ref", Value::String(target)) => self.follow(target)?,
                        (
                            "$id" | "$anchor" | "$dynamicRef" | "$dynamicAnchor" | "$recursiveRef",
                            Value::String(_),
                        ) => {
                            return Err(format!("`{key}` is not supported; refer to `#/$defs/…`"));
                        }
                        // counted where they are referred to; deeper, the key may be a property's name
                        ("$defs" | "definitions", Value::Object(_)) if std::ptr::eq(value, self.root) => 0,
                        _ => self.steps(field)?,
                    };
                    steps = steps.saturating_add(inner);
                }
            }
            _ => {}
        }
        Ok(steps)
    }

    fn follow(&mut self, target: &'a str) -> Result<u64, String> {
        if let Some(steps) = self.known.get(target) {
            return Ok(*steps);
        }
        let shown = || one_line(target, 100);
        if self.open.contains(&target) {
            return Err(format!("`{}` refers to itself, and recursive schemas are not supported", shown()));
        }
        // an encoded pointer could mean another part here than to the validator
        let pointer =
            target.strip_prefix('#').filter(|pointer| pointer.starts_with('/') && !pointer.contains('%'));
        let pointer =
            pointer.ok_or_else(|| format!("`{}` is not within the schema; refer to `#/$defs/…`", shown()))?;
        let found = self.root.pointer(pointer).ok_or_else(|| format!("`{}` refers to nothing", shown()))?;
        if self.open.len() >= 64 {
            return Err("references follow one another more than 64 times".into());
        }
        self.open.push(target);
        let steps = self.steps(found)?;
        self.open.pop();
        self.known.insert(target, steps);
        Ok(steps)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(schema: &Value) -> String {
        compile(&schema.to_string()).map(|_| String::new()).unwrap_or_else(|error| error)
    }

    /// Definitions of which each takes twice the steps of the one before.
    fn chain(levels: u32) -> Value {
        let mut defs = serde_json::Map::new();
        defs.insert("d0".into(), json!({ "type": "integer" }));
        for level in 1..levels {
            let below = format!("#/$defs/d{}", level - 1);
            defs.insert(format!("d{level}"), json!({ "allOf": [{ "$ref": below }, { "$ref": below }] }));
        }
        json!({ "$defs": defs })
    }

    #[test]
    fn arguments_are_checked_and_the_place_is_named() {
        let schema = json!({
            "type": "object",
            "properties": { "a": { "$ref": "#/$defs/number" } },
            "required": ["a"],
            "additionalProperties": false,
            "$defs": { "number": { "type": "integer" } },
        });
        let (_, validator) = compile(&schema.to_string()).expect("a schema");
        assert_eq!(check(&validator, &json!({ "a": 1 })), Ok(()));
        assert!(check(&validator, &json!({ "a": "x" })).expect_err("a string").contains("/a: "));
        assert!(check(&validator, &json!({ "b": 1 })).is_err());
        assert!(check(&validator, &json!([])).expect_err("no object").contains("an array"));
    }

    #[test]
    fn recursion_outside_references_and_nonsense_are_refused() {
        assert!(refused(&json!({ "$ref": "#" })).contains("not within"));
        let looped = json!({ "$defs": { "a": { "allOf": [{ "$ref": "#/$defs/a" }] } }, "$ref": "#/$defs/a" });
        assert!(refused(&looped).contains("refers to itself"));
        assert!(refused(&json!({ "$ref": "https://a.example/s" })).contains("not within"));
        assert!(refused(&json!({ "$ref": "#/$defs/none" })).contains("nothing"));
        assert!(refused(&json!({ "$dynamicRef": "#x" })).contains("not supported"));
        assert!(refused(&json!(["type"])).contains("an object was expected"));
        assert!(!refused(&json!({ "type": "nonsense" })).is_empty());
        assert!(!refused(&json!({ "pattern": "(" })).is_empty());
    }

    #[test]
    fn a_schema_that_multiplies_is_refused() {
        let defs = &chain(40)["$defs"];
        let hidden = json!({ "$defs": defs, "properties": { "$defs": { "$ref": "#/$defs/d39" } } });
        assert!(refused(&hidden).contains("steps"));
        assert!(refused(&json!({ "$defs": defs, "$ref": "#/$defs/d39" })).contains("steps"));
        assert!(refused(&json!({ "$defs": defs, "$ref": "#/$defs/d%339" })).contains("not within"));
    }

    #[test]
    fn many_steps_are_not_taken_for_much_text() {
        let mut schema = chain(12);
        schema["properties"] = json!({ "a": { "items": { "$ref": "#/$defs/d11" } } });
        let (_, validator) = compile(&schema.to_string()).expect("a schema");
        assert_eq!(check(&validator, &json!({ "a": [1, 2, 3] })), Ok(()));
        let refused = check(&validator, &json!({ "a": vec![1; 50_000] })).expect_err("too much");
        assert!(refused.contains("too large"), "{refused}");
        // what the tools at hand take stays far below
        let (_, validator) = compile(r#"{"properties":{"content":{"type":"string"}}}"#).expect("a schema");
        assert_eq!(check(&validator, &json!({ "content": "x".repeat(8 << 20) })), Ok(()));
    }

    #[test]
    fn a_pattern_cannot_backtrack() {
        let (_, validator) =
            compile(r#"{"type":"object","properties":{"a":{"pattern":"^(a+)+$"}}}"#).expect("a schema");
        let text = format!("{}b", "a".repeat(50_000));
        assert!(check(&validator, &json!({ "a": text })).is_err());
        // what only an engine that backtracks could do is no pattern
        for pattern in [r"^(?=a)b", r"(a)\1"] {
            let schema = json!({ "properties": { "a": { "pattern": pattern } } });
            assert!(!refused(&schema).is_empty(), "{pattern}");
        }
    }
}
