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
pub(super) const RULES: &str = "rules";
/// Id under which it holds the user's rules.
const USER_RULES: &str = "user-rules";
/// Id of the tool that runs tests.
const TESTS: &str = "tests";
/// Where the bytes of these plugins come from.
const ORIGIN: &str = "first-party";

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
    let mut spec = PluginSpec::new(id, component.bytes.to_vec(), ORIGIN);
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

/// The tool `run_tests` as the operator wants it; none if it is switched off.
pub(crate) fn tests_of(wanted: &[Wanted]) -> Option<PluginSpec> {
    wanted.iter().map(|wanted| &wanted.spec).find(|spec| spec.id == TESTS).cloned()
}

/// The tool `run_tests` with the command that the user names or, after all of
/// the user's settings, the repository. Grants stay the operator's. None if
/// there is nothing to change.
pub(crate) fn with_command(
    tests: &PluginSpec,
    users: &TestSettings,
    repositorys: Option<&TestSettings>,
) -> Option<PluginSpec> {
    let test = match (users.command.is_empty(), tests.settings.get("command")) {
        (false, _) => users,
        (true, Some(_)) => return None,
        (true, None) => repositorys.filter(|test| !test.command.is_empty())?,
    };
    let mut spec = tests.clone();
    spec.settings["command"] = json!(test.command);
    if let Some(format) = &test.format {
        spec.settings["format"] = json!(format);
    }
    Some(spec)
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
        all.push(policy(rules(USER_RULES, rules_settings(false, &user.rule)), Layer::User));
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

/// The rules that the policies `rules` and `user-rules` hold by their settings,
/// for what is compiled into workspaces.
pub(crate) fn rules_in_force(wanted: &[Wanted]) -> Vec<Value> {
    let specs = wanted.iter().map(|wanted| &wanted.spec);
    specs.filter(|spec| is_rules(spec)).flat_map(|spec| in_force(&spec.settings)).collect()
}

/// Whether this is one of the policies `rules` and `user-rules`.
pub(super) fn is_rules(spec: &PluginSpec) -> bool {
    spec.origin == ORIGIN && [RULES, USER_RULES].contains(&spec.id.as_str())
}

fn in_force(settings: &Value) -> Vec<Value> {
    let mut rules = default_rules_of(settings);
    rules.extend(settings["rule"].as_array().into_iter().flatten().cloned());
    rules
}

/// The first-party rules that hold by these settings.
pub(super) fn default_rules_of(settings: &Value) -> Vec<Value> {
    let mut rules = if settings["default_rules"] == false { Vec::new() } else { default_rules() };
    if let Some(disabled) = settings["disable"].as_array() {
        rules.retain(|rule| !disabled.contains(&rule["name"]));
    }
    rules
}

fn default_rules() -> Vec<Value> {
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
