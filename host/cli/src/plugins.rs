//! The plugins of a task: the first-party ones and those of the settings, all
//! through one loader.

mod first_party;
mod log;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sortie_core::ActionKind;
use sortie_plugin_host::{HostConfig, Limits, LoadedTool, Plugin, PluginHost, PluginSpec, PolicyPlugin};
use sortie_policy::{Layer, Link};

use crate::exit::Failure;
use crate::home::Places;
use crate::settings::{PluginSettings, SettingsFile, plugins};

pub(crate) use first_party::{default_rules, tests_plugin};
pub(crate) use log::Sinks;

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
            first_party::change(&mut all, at, settings, layer)?;
        } else if settings.enabled != Some(false) {
            all.push(third_party(settings, layer)?);
        }
    }
    Ok(all)
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
