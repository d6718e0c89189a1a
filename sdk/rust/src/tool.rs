//! Tools: what a model may call.

mod export;
mod schema;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bindings::tool::exports::sortie::tool::tool as wit;
use crate::{Error, Result};

#[doc(hidden)]
pub use export::{describe, invoke, validate_settings};
/// What a tool may do, as its author declares it: `READS`, `WRITES`,
/// `EXECUTES`, `NETWORK`, `DESTRUCTIVE`, `IDEMPOTENT`. Join them with `union`.
pub use wit::Effects;

/// A tool. The type is its arguments; the schema that the model sees is made
/// from it, doc comments included.
pub trait Tool: DeserializeOwned + JsonSchema {
    /// Its name: 1 to 64 of `a-z`, `0-9`, `_` and `-`.
    const NAME: &'static str;
    /// A short title for people. Empty: its name.
    const TITLE: &'static str = "";
    /// What it does, for the model. Empty: the type's doc comment.
    const DESCRIPTION: &'static str = "";
    /// What it may do.
    const EFFECTS: Effects;

    /// Runs it.
    ///
    /// # Errors
    /// The model reads the message, so that it can do better.
    fn run(self, call: &Call) -> Result<Output>;
}

/// The circumstances of a call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Unique within the task.
    pub id: String,
    /// Name of the tool.
    pub tool: String,
    /// What the host says beyond the model's arguments; an object.
    pub details: Value,
}

/// What a call gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// Text for the model. The host shortens it; the whole is kept.
    pub content: String,
    /// The same for programs: an object, or null.
    pub details: Value,
}

impl Output {
    /// A text for the model.
    pub fn text(content: impl Into<String>) -> Self {
        Self { content: content.into(), details: Value::Null }
    }

    /// Adds the same for programs: an object.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }
}

impl<T: Into<String>> From<T> for Output {
    fn from(content: T) -> Self {
        Self::text(content)
    }
}

/// Reads a tool's arguments and runs it.
fn run<T: Tool>(call: wit::Call) -> Result<wit::Output> {
    let arguments: T = serde_json::from_str(&call.arguments)
        .map_err(|error| Error::invalid(format!("arguments of {}: {error}", T::NAME)))?;
    let details = match call.details.trim() {
        "" => Value::Null,
        details => serde_json::from_str(details)?,
    };
    let output = arguments.run(&Call { id: call.id, tool: call.tool, details })?;
    Ok(wit::Output { content: output.content, details: output.details.to_string() })
}

/// Exports one or several tools from this component.
///
/// ```ignore
/// export_tools!(Status, Log);
/// export_tools!(Shell; settings = Settings);
/// ```
///
/// Settings are checked at load: they must be what the type named takes, or,
/// without one, empty. Read them with [`config::get`](crate::config::get).
#[macro_export]
macro_rules! export_tools {
    ($($tool:ty),+ $(,)?) => {
        $crate::export_tools!($($tool),+; settings = $crate::config::NoSettings);
    };
    ($($tool:ty),+; settings = $settings:ty) => {
        const _: () = {
            use $crate::bindings::tool::exports::sortie::tool::tool as wit;
            use $crate::bindings::host::sortie::host::types::Error;

            struct Component;

            impl wit::Guest for Component {
                fn describe() -> ::std::vec::Vec<wit::Spec> {
                    ::std::vec![$($crate::tool::describe::<$tool>()),+]
                }

                fn validate_settings(settings: ::std::string::String) -> ::std::result::Result<(), Error> {
                    $crate::tool::validate_settings::<$settings>(&settings)
                }

                fn invoke(call: wit::Call) -> ::std::result::Result<wit::Output, Error> {
                    $(if call.tool == <$tool as $crate::tool::Tool>::NAME {
                        return $crate::tool::invoke::<$tool>(call);
                    })+
                    ::std::result::Result::Err(
                        $crate::Error::not_found(::std::format!("no tool named `{}` here", call.tool)).into(),
                    )
                }
            }

            $crate::bindings::tool::export!(Component with_types_in $crate::bindings::tool);
        };
    };
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::ErrorCode;
    use crate::bindings::tool::exports::sortie::tool::tool::Guest;

    /// Says a word, some times.
    #[derive(Deserialize, JsonSchema)]
    struct Say {
        word: String,
        times: u8,
    }

    impl Tool for Say {
        const NAME: &'static str = "say";
        const EFFECTS: Effects = Effects::IDEMPOTENT;

        fn run(self, call: &Call) -> Result<Output> {
            let text = self.word.repeat(self.times.into());
            Ok(Output::text(text).details(json!({"id": call.id, "host": call.details})))
        }
    }

    /// What `export_tools!` makes, under a name.
    struct Component;

    impl Guest for Component {
        fn describe() -> Vec<wit::Spec> {
            vec![describe::<Say>()]
        }

        fn validate_settings(
            settings: String,
        ) -> Result<(), crate::bindings::host::sortie::host::types::Error> {
            validate_settings::<crate::config::NoSettings>(&settings)
        }

        fn invoke(call: wit::Call) -> Result<wit::Output, crate::bindings::host::sortie::host::types::Error> {
            invoke::<Say>(call)
        }
    }

    fn call(arguments: &str, details: &str) -> Result<wit::Output> {
        let call = wit::Call {
            id: "c1".into(),
            tool: "say".into(),
            arguments: arguments.into(),
            details: details.into(),
        };
        Ok(Component::invoke(call)?)
    }

    #[test]
    fn a_description_falls_back_to_name_and_doc_comment() {
        let spec = &Component::describe()[0];
        assert_eq!((spec.name.as_str(), spec.title.as_str()), ("say", "say"));
        assert_eq!(spec.description, "Says a word, some times.");
        assert!(spec.input_schema.starts_with('{'), "{}", spec.input_schema);
    }

    #[test]
    fn arguments_and_details_go_in_and_come_out_as_json() {
        let output = call(r#"{"word": "a", "times": 3}"#, r#"{"turn": 1}"#).expect("runs");
        assert_eq!(
            (output.content.as_str(), output.details.as_str()),
            ("aaa", r#"{"host":{"turn":1},"id":"c1"}"#)
        );
        assert!(call(r#"{"word": "a", "times": 3}"#, "").is_ok());
    }

    #[test]
    fn arguments_that_do_not_fit_name_the_tool_and_the_fault() {
        for (arguments, named) in
            [("{", "EOF"), (r#"{"word": "a"}"#, "times"), (r#"{"word": "a", "times": 300}"#, "300")]
        {
            let error = call(arguments, "{}").expect_err("does not fit");
            assert_eq!(error.code, ErrorCode::Invalid);
            assert!(error.message.contains("say") && error.message.contains(named), "{error}");
        }
    }

    #[test]
    fn a_tool_without_settings_takes_none() {
        assert!(Component::validate_settings(String::new()).is_ok());
        assert!(Component::validate_settings(r#"{"a": 1}"#.into()).is_err());
    }
}
