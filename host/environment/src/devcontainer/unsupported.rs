//! What the specification has and a workspace has not.

use serde_json::Value;
use sortie_core::text::one_line;

use super::{Keys, WORK_TREE};

/// Keys that would change what commands find, and why they do not.
const UNSUPPORTED: [(&str, &str); 16] = [
    ("features", "not installed; put what they install into the image or into `postCreateCommand`"),
    ("dockerComposeFile", "not read; `[[environment.service]]` in .sortie/config.toml has services"),
    ("runServices", "not started; `[[environment.service]]` in .sortie/config.toml has services"),
    ("mounts", "not mounted; nothing of the host is"),
    ("workspaceMount", "not mounted; the work tree is a clone of its own"),
    ("runArgs", "not passed on; containers are made the same way for everybody"),
    ("forwardPorts", "not forwarded; nothing reaches into a workspace"),
    ("appPort", "not forwarded; nothing reaches into a workspace"),
    ("privileged", "not granted"),
    ("capAdd", "not granted"),
    ("securityOpt", "not granted"),
    ("hostRequirements", "not checked; `[workspace]` in the settings has limits"),
    ("gpu", "not given"),
    ("initializeCommand", "not run; it would run on the host"),
    ("postAttachCommand", "not run; nobody attaches"),
    ("overrideCommand", "the image's own command is never run"),
];

impl Keys {
    /// Names what does not hold.
    pub(super) fn unsupported(&self, notices: &mut Vec<String>) {
        for (key, reason) in UNSUPPORTED {
            // what asks for the image's own command alone is what does not hold
            let says = match (key, self.0.get(key)) {
                ("overrideCommand", value) => value == Some(&Value::Bool(false)),
                (_, value) => value.is_some_and(is_something),
            };
            if says {
                notices.push(format!("`{key}`: {reason}"));
            }
        }
        let build = self.0.get("build").and_then(|build| build.get("options"));
        if build.is_some_and(is_something) {
            notices.push("`build.options`: not passed on".into());
        }
        if let Some(Value::String(folder)) = self.0.get("workspaceFolder")
            && !matches!(folder.trim_end_matches('/'), WORK_TREE | "${containerWorkspaceFolder}")
        {
            notices.push(format!(
                "`workspaceFolder`: the work tree is {WORK_TREE}, not {}",
                one_line(folder, 60)
            ));
        }
    }
}

/// Whether a value asks for something: neither false nor empty.
fn is_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(values) => !values.is_empty(),
        Value::Object(values) => !values.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}
