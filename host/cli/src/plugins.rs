//! The plugins of a task: the first-party ones and those of the settings, all
//! through one loader.

mod first_party;
mod log;
mod push;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sortie_core::ActionKind;
use sortie_plugin_host::{HostConfig, Limits, LoadedTool, Plugin, PluginHost, PluginSpec, PolicyPlugin};
use sortie_policy::{Layer, Link};

use crate::exit::Failure;
use crate::home::Places;
use crate::settings::{PluginSettings, SettingsFile, plugins};

pub(crate) use first_party::{rules_in_force, tests_of, with_command};
pub(crate) use log::Sinks;
pub(crate) use push::may_allow_push;

/// A plugin as it will be loaded.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) spec: PluginSpec,
    pub(crate) layer: Layer,
    pub(crate) priority: i32,
    pub(crate) actions: BTreeSet<ActionKind>,
    pub(crate) mutates: bool,
}

/// A policy and its place in the chain.
pub(crate) struct Policy {
    pub(crate) plugin: PolicyPlugin,
    pub(crate) wanted: Wanted,
}

impl Policy {
    /// Its place in the chain.
    pub(crate) fn link(self, sinks: &Sinks) -> Link {
        let Wanted { spec, layer, priority, actions, mutates } = self.wanted;
        let evaluator = self.plugin.into_evaluator(sinks.log());
        Link { id: spec.id, layer, priority, subscribes: actions, mutates, evaluator }
    }
}

/// What was loaded.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) tools: Vec<LoadedTool>,
    pub(crate) policies: Vec<Policy>,
}

/// The engine and its cache.
pub(crate) fn host(places: &Places, sinks: &Sinks) -> anyhow::Result<PluginHost> {
    let config =
        HostConfig { cache_dir: places.component_cache.clone(), limits: Limits::default(), log: sinks.log() };
    Ok(PluginHost::new(config)?)
}

/// All plugins that the settings ask for, the first-party ones included.
pub(crate) fn wanted(user: &SettingsFile, organisation: &SettingsFile) -> anyhow::Result<Vec<Wanted>> {
    let set = plugins(user, organisation);
    let mut ids = BTreeSet::new();
    if let Some((twice, _)) = set.iter().find(|(plugin, _)| !ids.insert(plugin.id.as_str())) {
        return Err(Failure::usage(format!("two plugins have the id `{}`", twice.id)));
    }
    let mut all = first_party::wanted(user, organisation)?;
    for (settings, layer) in set {
        if let Some(at) = all.iter().position(|wanted| wanted.spec.id == settings.id) {
            if layer != Layer::Organisation && settings.id == first_party::RULES && has_rules(organisation) {
                return Err(Failure::usage(
                    "plugin `rules` holds the organisation's rules: its own settings alone change it; put \
                     yours under `[[rule]]`",
                ));
            }
            first_party::change(&mut all, at, settings, layer)?;
        } else if settings.enabled != Some(false) {
            all.push(third_party(settings, layer)?);
        }
    }
    Ok(all)
}

/// Whether the organisation has a say in what the policy `rules` holds.
fn has_rules(organisation: &SettingsFile) -> bool {
    organisation.default_rules.is_some() || !organisation.rule.is_empty()
}

fn third_party(settings: &PluginSettings, layer: Layer) -> anyhow::Result<Wanted> {
    let path = settings.path.as_ref().ok_or_else(|| {
        Failure::usage(format!(
            "plugin `{}`: no first-party plugin has this id, and `path` is not set",
            settings.id
        ))
    })?;
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::usage(format!("plugin `{}`: cannot read `{}`: {error}", settings.id, path.display()))
    })?;
    let mut spec = PluginSpec::new(&settings.id, bytes, path.display().to_string());
    spec.grants = settings.grants.clone().unwrap_or_default();
    spec.settings = json!(settings.settings);
    spec.digest.clone_from(&settings.sha256);
    Ok(Wanted {
        spec,
        layer,
        priority: settings.priority,
        actions: actions(settings),
        mutates: settings.mutates,
    })
}

fn actions(settings: &PluginSettings) -> BTreeSet<ActionKind> {
    settings
        .actions
        .as_ref()
        .map_or_else(|| ActionKind::ALL.into(), |actions| actions.iter().copied().collect())
}

/// Loads all of them. A plugin that cannot be loaded ends it: a tool that is
/// missing without a word would be a puzzle, a policy that is missing a hole.
pub(crate) async fn load(host: &PluginHost, wanted: Vec<Wanted>) -> anyhow::Result<Loaded> {
    let mut loading = tokio::task::JoinSet::new();
    for (at, wanted) in wanted.into_iter().enumerate() {
        let host = host.clone();
        loading.spawn(async move { (at, host.load(wanted.spec.clone()).await, wanted) });
    }
    let mut all = loading.join_all().await;
    all.sort_by_key(|(at, ..)| *at);
    let mut loaded = Loaded::default();
    for (_, plugin, wanted) in all {
        match plugin.map_err(|error| Failure::usage(error.to_string()))? {
            Plugin::Tool(tool) => loaded.tools.push(tool),
            Plugin::Policy(plugin) => loaded.policies.push(Policy { plugin, wanted }),
        }
    }
    Ok(loaded)
}

/// The policy `rules` for the rules of a repository.
pub(crate) fn repository_rules(rules: &[toml::Table]) -> PluginSpec {
    first_party::rules("repository-rules", rules_settings(false, rules))
}

/// The settings of the policy `rules` for these rules.
fn rules_settings(default_rules: bool, rules: &[toml::Table]) -> Value {
    json!({ "default_rules": default_rules, "rule": rules })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::TestSettings;

    fn file(text: &str) -> SettingsFile {
        toml::from_str(text).expect("settings")
    }

    const RULE: &str = "[[rule]]\nname = \"r\"\naction = \"file-read\"\nmatch = { path = \"secret/**\" }\n\
         decision = \"deny\"\nreason = \"no\"\n";

    #[test]
    fn a_user_changes_the_policy_rules_unless_it_holds_the_organisations() {
        for change in ["enabled = false", "settings = { rule = [] }", "actions = [\"push\"]"] {
            let user = file(&format!("[[plugin]]\nid = \"rules\"\n{change}\n"));
            for organisation in [RULE, "default_rules = true\n"] {
                assert!(wanted(&user, &file(organisation)).is_err(), "{change} {organisation}");
            }
        }
        // those that are shipped go by a word of their own, where there are no others as well
        let off = file("[[plugin]]\nid = \"rules\"\nenabled = false\n");
        let error = wanted(&off, &SettingsFile::default()).err().expect("all of them would go").to_string();
        assert!(error.contains("`default_rules = false`"), "{error}");
        let user = file("[[plugin]]\nid = \"rules\"\nsettings = { filter = true }\nmutates = true\n");
        let all = wanted(&user, &SettingsFile::default()).expect("nobody else's");
        let rules = all.iter().find(|wanted| wanted.spec.id == "rules").expect("it is there");
        assert!(rules.mutates && rules.spec.settings["filter"] == true);
    }

    #[test]
    fn a_plugin_of_the_organisations_is_not_the_users_to_change_and_an_id_stands_once() {
        let organisation = file("[[plugin]]\nid = \"tests\"\ngrants = { exec = [\"make test\"] }\n");
        let grants = |user: &str| {
            let all = wanted(&file(user), &organisation).expect("the organisation's holds");
            format!("{:?}", tests_of(&all).expect("it is there").grants)
        };
        assert_eq!(grants("[[plugin]]\nid = \"tests\"\ngrants = { exec = [\"*\"] }\n"), grants(""));
        let twice = wanted(&file("[[plugin]]\nid = \"fetch\"\n[[plugin]]\nid = \"fetch\"\n"), &file(""));
        let error = twice.err().expect("one of them would go unseen").to_string();
        assert!(error.contains("two plugins have the id `fetch`"), "{error}");
    }

    #[test]
    fn what_is_built_into_workspaces_is_what_the_policies_hold() {
        let names = |user: &str, organisation: &str| {
            let all = wanted(&file(user), &file(organisation)).expect("good");
            let rules = rules_in_force(&all);
            rules.iter().filter_map(|rule| Some(rule["name"].as_str()?.to_owned())).collect::<Vec<_>>()
        };
        let shipped = names("", "");
        assert!(shipped.contains(&"credential-reads".to_owned()));
        assert_eq!(names("default_rules = false", ""), [""; 0]);
        assert_eq!(names(RULE, "default_rules = false"), ["r"]);
        assert_eq!(names("default_rules = false", "default_rules = true"), shipped);
        assert!(names("", RULE).contains(&"r".to_owned()));
        let off = "[[plugin]]\nid = \"rules\"\nsettings = { disable = [\"credential-reads\"] }\n";
        assert_eq!(names(off, "").len(), shipped.len() - 1);
    }

    #[test]
    fn the_tests_command_of_a_repository_keeps_to_what_the_operator_set() {
        let narrow = "[[plugin]]\nid = \"tests\"\ngrants = { exec = [\"make test\"] }\n";
        let tests =
            |user: &str| tests_of(&wanted(&file(user), &file("")).expect("good")).expect("it is there");
        let named = |command: &str| TestSettings { command: vec![command.into()], format: None };
        let spec = with_command(&tests(narrow), &TestSettings::default(), Some(&named("theirs")));
        let spec = spec.expect("a command is named");
        assert_eq!(spec.settings["command"], json!(["theirs"]));
        assert_eq!(format!("{:?}", spec.grants), format!("{:?}", tests(narrow).grants));
        assert_ne!(format!("{:?}", spec.grants), format!("{:?}", tests("").grants));
        // the user's word comes first, wherever it stands
        let spec = with_command(&tests(""), &named("mine"), Some(&named("theirs"))).expect("named");
        assert_eq!(spec.settings["command"], json!(["mine"]));
        let set = "[[plugin]]\nid = \"tests\"\nsettings = { command = [\"mine\"] }\n";
        assert!(with_command(&tests(set), &TestSettings::default(), Some(&named("theirs"))).is_none());
        assert!(with_command(&tests(""), &TestSettings::default(), None).is_none());
    }
}
