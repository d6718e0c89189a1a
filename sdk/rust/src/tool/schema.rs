//! The JSON Schema of a tool's arguments, without what a model has no use for.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::Tool;

/// The schema of a tool's arguments, and the doc comment of its type.
///
/// Definitions are inlined, `$schema` and titles are gone, and objects take
/// no keys but their own.
pub(super) fn of<T: Tool>() -> (Value, String) {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    let comment = match schema.as_object_mut().and_then(|object| object.remove("description")) {
        Some(Value::String(comment)) => comment,
        _ => String::new(),
    };
    if let Some(object) = schema.as_object_mut() {
        // A tool without arguments: some models refuse an object without this key.
        object.entry("properties").or_insert_with(|| json!({}));
    }
    tidy(&mut schema);
    (schema, comment)
}

fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            tidy_object(object);
            object.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn tidy_object(object: &mut Map<String, Value>) {
    let is_schema = object.get("type").is_some_and(|kind| kind.is_string() || kind.is_array());
    if is_schema {
        object.remove("title");
        object.remove("format");
    }
    // Maps say `additionalProperties` themselves.
    let takes_object = match object.get("type") {
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(kinds)) => kinds.contains(&json!("object")),
        _ => false,
    };
    if takes_object && object.contains_key("properties") {
        object.entry("additionalProperties").or_insert(json!(false));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::*;
    use crate::Result;
    use crate::tool::{Call, Effects, Output};

    /// Does a thing.
    ///
    /// In two paragraphs.
    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema matters")]
    struct Arguments {
        /// A path.
        path: String,
        /// How often.
        count: Option<u32>,
        /// A field that is called as a keyword of schemas is.
        title: Option<Nested>,
        map: BTreeMap<String, u64>,
    }

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema matters")]
    struct Nested {
        inner: bool,
    }

    #[derive(Deserialize, JsonSchema)]
    struct Nothing {}

    macro_rules! tool {
        ($type:ty) => {
            impl Tool for $type {
                const NAME: &'static str = "it";
                const EFFECTS: Effects = Effects::READS;
                fn run(self, _call: &Call) -> Result<Output> {
                    Ok(Output::default())
                }
            }
        };
    }
    tool!(Arguments);
    tool!(Nothing);

    #[test]
    fn a_schema_is_inlined_closed_and_free_of_noise() {
        let (schema, comment) = of::<Arguments>();
        assert_eq!(comment, "Does a thing.\n\nIn two paragraphs.");
        let expected = json!({
            "type": "object",
            "properties": {
                "path": {"description": "A path.", "type": "string"},
                "count": {"description": "How often.", "type": ["integer", "null"], "minimum": 0},
                "title": {
                    "description": "A field that is called as a keyword of schemas is.",
                    "type": ["object", "null"],
                    "properties": {"inner": {"type": "boolean"}},
                    "required": ["inner"],
                    "additionalProperties": false,
                },
                "map": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}},
            },
            "required": ["path", "map"],
            "additionalProperties": false,
        });
        assert_eq!(schema, expected);
    }

    #[test]
    fn a_tool_without_arguments_takes_an_empty_object() {
        let (schema, _) = of::<Nothing>();
        assert_eq!(schema, json!({"type": "object", "properties": {}, "additionalProperties": false}));
    }
}
