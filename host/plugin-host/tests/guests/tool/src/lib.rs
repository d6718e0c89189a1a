//! Tools that misbehave. Each tool's name is what it does.

mod effects;
mod faults;

wit_bindgen::generate!({
    path: [
        "../../../../../wit/deps/io.wit",
        "../../../../../wit/deps/clocks.wit",
        "../../../../../wit/deps/random.wit",
        "../../../../../wit/deps/filesystem.wit",
        "../../../../../wit/deps/sockets.wit",
        "../../../../../wit/deps/cli.wit",
        "../../../../../wit/deps/http.wit",
        "../../../../../wit/host",
        "../../../../../wit/tool",
    ],
    inline: "
        package sortie:fixture;
        interface held {
            resource thing {
                constructor();
            }
        }
        world fixture {
            include sortie:tool/plugin-http@0.1.0;
            import wasi:clocks/monotonic-clock@0.2.12;
            import wasi:filesystem/preopens@0.2.12;
            import wasi:random/random@0.2.12;
            export held;
        }
    ",
    world: "sortie:fixture/fixture",
    generate_all,
});

use exports::sortie::fixture::held;
use exports::sortie::tool::tool::{Call, Effects, Guest, Output, Spec};
use sortie::host::types::{Error, ErrorCode};

/// What a tool does with its call.
type Behaviour = fn(&Call) -> Result<String, Error>;

struct Fixture;

impl Guest for Fixture {
    fn describe() -> Vec<Spec> {
        let schema = match settings_name("schema") {
            Some("malformed") => "{",
            Some("recursive") => r##"{"$defs":{"a":{"allOf":[{"$ref":"#/$defs/a"}]}},"$ref":"#/$defs/a"}"##,
            _ => r#"{"type":"object","properties":{"text":{"type":"string"}}}"#,
        };
        match settings_name("describe") {
            Some("loop") => faults::run_for_ever(),
            Some("panic") => panic!("describe panicked"),
            Some("none") => return Vec::new(),
            Some("name") => return vec![spec("Not A Name", schema)],
            Some("twice") => return vec![spec("one", schema), spec("one", schema)],
            Some("spawn") => {
                let error = effects::spawn(&["true"]).err().expect("there is no workspace");
                return vec![spec(
                    if error.code == ErrorCode::Unavailable { "unavailable" } else { "other" },
                    schema,
                )];
            }
            _ => {}
        }
        let tools = if settings_name("tools") == Some("effects") { effects::TOOLS } else { faults::TOOLS };
        tools.iter().map(|(name, _)| spec(name, schema)).collect()
    }

    fn validate_settings(settings: String) -> Result<(), Error> {
        if settings.contains("\"refused\"") {
            return Err(error(ErrorCode::Invalid, "there is no such \u{1b}[31msetting"));
        }
        Ok(())
    }

    fn invoke(call: Call) -> Result<Output, Error> {
        let mut tools = faults::TOOLS.iter().chain(effects::TOOLS);
        let (_, behaviour) = tools.find(|(name, _)| *name == call.tool).expect("a tool of ours");
        let content = behaviour(&call)?;
        let details = match call.tool.as_str() {
            "malformed-details" => "{\"a\":".into(),
            "array-details" => "[]".into(),
            "deep-details" => format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
            _ => "null".into(),
        };
        Ok(Output { content, details })
    }
}

/// Something whose handles cost the host and not the guest.
struct Thing;

impl held::Guest for Fixture {
    type Thing = Thing;
}

impl held::GuestThing for Thing {
    fn new() -> Self {
        Self
    }
}

/// The value of a setting, of the few forms that tests use.
fn settings_name(key: &str) -> Option<&'static str> {
    let settings: &'static str = sortie::host::config::get().leak();
    let (_, rest) = settings.split_once(&format!("\"{key}\":\""))?;
    rest.split('"').next()
}

fn spec(name: &str, schema: &str) -> Spec {
    Spec {
        name: name.into(),
        title: "A fixture".into(),
        description: "Does what its name says.\u{1b}[2J".into(),
        input_schema: schema.into(),
        effects: Effects::EXECUTES | Effects::IDEMPOTENT,
    }
}

fn error(code: ErrorCode, message: impl Into<String>) -> Error {
    Error { code, message: message.into(), rule: None }
}

export!(Fixture);
