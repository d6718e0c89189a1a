//! What the first-party plugins are granted and told, unless the settings say
//! otherwise.

use serde_json::{Value, json};
use sortie_bundle::Kind;
use sortie_core::ActionKind;
use sortie_plugin_host::PluginSpec;
use sortie_policy::Layer;

use super::{Wanted, actions, rules_settings};
use crate::exit::Failure;
use crate::settings::{PluginSettings, SettingsFile, TestSettings};

/// Id of the policy of rules.
const RULES: &str = "rules";
/// Id of the tool that runs tests.
const TESTS: &str = "tests";

/// The first-party rules, as the policy `rules` has them.
const DEFAULT_RULES: &str = include_str!("../../../../plugins/policies/rules/default.json");

/// The grants as one would write them under `[[plugin]]`.
fn grants(id: &str) -> &'static str {
    match id {
        "shell" => r#"exec = ["sh *"]"#,
        "files" => r#"files = { read = ["**"], write = ["**"] }"#,
        "git" => "git = true",
        "tests" => {
            r#"exec = ["*"]
            files = { read = ["**"] }"#
        }
        "fetch" => r#"http = ["https://*", "http://*:*", "https://*:*"]"#,
        _ => "",
    }
}

fn spec(id: &str, settings: Value) -> Option<PluginSpec> {
    let component = sortie_bundle::components().iter().find(|component| component.id == id)?;
    let mut spec = PluginSpec::new(id, component.bytes.to_vec(), "first-party");
    spec.grants = toml::from_str(grants(id)).expect("the first-party grants are well-formed");
    spec.settings = settings;
    Some(spec)
}

/// The policy `rules` with these settings, under an id of its own.
pub(crate) fn rules(id: &str, settings: Value) -> PluginSpec {
    let mut spec = spec(RULES, settings).expect("the bundle has the policy `rules`");
    id.clone_into(&mut spec.id);
    spec
}

/// The tool `run_tests` for a given command.
pub(crate) fn tests_plugin(test: &TestSettings) -> PluginSpec {
    let mut settings = json!({ "command": test.command });
    if let Some(format) = &test.format {
        settings["format"] = json!(format);
    }
    spec(TESTS, settings).expect("the bundle has the tool `tests`")
}

/// The first-party plugins. The organisation's rules and the first-party
/// rules are one policy, the user's another.
pub(crate) fn wanted(user: &SettingsFile, organisation: &SettingsFile) -> anyhow::Result<Vec<Wanted>> {
    let with_defaults = organisation.default_rules.or(user.default_rules).unwrap_or(true);
    let policy = |spec: PluginSpec, layer: Layer| Wanted {
        spec,
        layer,
        priority: 0,
        actions: ActionKind::ALL.into(),
        mutates: false,
    };
    let mut all: Vec<_> = sortie_bundle::components()
        .iter()
        .filter(|component| component.kind == Kind::Tool)
        .filter_map(|component| spec(component.id, json!({})))
        .map(|spec| policy(spec, Layer::Organisation))
        .collect();
    let settings = rules_settings(with_defaults, &organisation.rule);
    all.push(policy(rules(RULES, settings), Layer::Organisation));
    if !user.rule.is_empty() {
        all.push(policy(rules("user-rules", rules_settings(false, &user.rule)), Layer::User));
    }
    Ok(all)
}

/// Changes a first-party plugin as the settings say.
pub(crate) fn change(
    all: &mut Vec<Wanted>,
    at: usize,
    settings: &PluginSettings,
    layer: Layer,
) -> anyhow::Result<()> {
    let id = &settings.id;
    if settings.enabled == Some(false) {
        if all[at].spec.id == RULES && layer != Layer::Organisation {
            return Err(Failure::usage(
                "plugin `rules`: it is switched off with `default_rules = false`, not with `enabled`",
            ));
        }
        all.remove(at);
        return Ok(());
    }
    if let Some(path) = &settings.path {
        let hint = "choose another id, and switch the first-party one off with `enabled = false`";
        return Err(Failure::usage(format!(
            "plugin `{id}` is first-party and has no path (`{}`); {hint}",
            path.display()
        )));
    }
    let wanted = &mut all[at];
    if let Some(grants) = &settings.grants {
        wanted.spec.grants = grants.clone();
    }
    if !settings.settings.is_empty() {
        let (Some(own), Value::Object(more)) =
            (wanted.spec.settings.as_object_mut(), json!(settings.settings))
        else {
            return Ok(());
        };
        own.extend(more);
    }
    wanted.spec.digest.clone_from(&settings.sha256);
    wanted.priority = settings.priority;
    wanted.actions = actions(settings);
    wanted.mutates = settings.mutates;
    Ok(())
}

/// The first-party rules, for what is compiled into workspaces.
pub(crate) fn default_rules() -> Vec<Value> {
    let file: Value = serde_json::from_str(DEFAULT_RULES).expect("the first-party rules are well-formed");
    file["rule"].as_array().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_party_plugin_has_well_formed_grants() {
        for component in sortie_bundle::components() {
            assert!(spec(component.id, json!({})).is_some(), "{}", component.id);
        }
    }

    #[test]
    fn the_first_party_rules_are_there() {
        assert!(default_rules().iter().any(|rule| rule["name"] == "protected-branches"));
    }
}
