//! What every workspace stands on, whoever works in it: settings, plugins, and
//! what a repository adds to them once it was read.

use std::sync::Arc;

use serde_json::Value;
use sortie_agent::Meter;
use sortie_core::Phase;
use sortie_orchestrator::TaskJournal;
use sortie_plugin_host::{PluginHost, PluginSpec};
use sortie_policy::ports::{Files, NetworkMeter};
use sortie_policy::{Approver, Chain, Defaults, Gate, Link, Registries};

use crate::adopt::{Adopter, Repository};
use crate::args::TaskArguments;
use crate::home::Places;
use crate::plugins::{self, Loaded, Sinks};
use crate::settings::{Resolved, read_file, resolve, shown};
use crate::workspaces::{Backends, PathRulesOf};

pub(super) struct Ground {
    pub(super) settings: Resolved,
    /// The settings that hold, masked.
    pub(super) shown: Value,
    pub(super) sinks: Sinks,
    pub(super) plugin_host: PluginHost,
    /// The tool `run_tests` as the operator wants it.
    pub(super) tests: Option<PluginSpec>,
    pub(super) loaded: Loaded,
    pub(super) registries: Registries,
    pub(super) from_repository: Arc<Repository>,
    pub(super) path_rules: PathRulesOf,
}

/// What takes permits, and what gives them.
pub(super) struct Guarded {
    pub(super) gate: Arc<Gate>,
    pub(super) meter: Arc<Meter>,
    pub(super) journal: TaskJournal,
    pub(super) files: Arc<dyn Files>,
    /// Counts the bytes of connections.
    pub(super) network: Arc<NetworkMeter>,
}

impl Ground {
    /// Reads the settings and loads the plugins.
    ///
    /// # Errors
    /// If one of them is wrong, or something asks for what it was not granted.
    pub(super) async fn lay(places: &Places, arguments: &TaskArguments) -> anyhow::Result<Self> {
        let user = read_file(&places.user_settings)?;
        let organisation = read_file(&places.organisation_settings)?;
        let settings = resolve(arguments, &user, &organisation)?;
        let sinks = Sinks::default();
        let plugin_host = plugins::host(places, &sinks)?;
        let wanted = plugins::wanted(&user, &organisation)?;
        let registries = Registries::default();
        let from_repository = Arc::new(Repository::new(registries.clone()));
        Ok(Self {
            shown: shown(&settings, &wanted),
            settings,
            sinks,
            tests: plugins::tests_of(&wanted),
            path_rules: PathRulesOf::new(&wanted, &from_repository),
            loaded: plugins::load(&plugin_host, wanted).await?,
            plugin_host,
            registries,
            from_repository,
        })
    }

    /// The gate, with all policies in order, the repository's among them, for
    /// work on this repository. From here on every effect takes a permit.
    pub(super) fn gate(
        &mut self,
        repository: String,
        meter: &Arc<Meter>,
        journal: &TaskJournal,
        approver: Arc<dyn Approver>,
    ) -> Arc<Gate> {
        self.sinks.attach(journal.clone());
        let policies = std::mem::take(&mut self.loaded.policies);
        let mut links: Vec<Link> = policies.into_iter().map(|policy| policy.link(&self.sinks)).collect();
        links.push(self.from_repository.link());
        let defaults = Defaults {
            repository,
            provider: self.settings.model.provider().name().into(),
            setup_network: self.settings.setup_network.clone(),
            setup_key: self.settings.network_key(Phase::Prepare),
            agent_network: self.settings.agent_network.clone(),
            agent_key: self.settings.network_key(Phase::Work),
            registries: self.registries.clone(),
        };
        super::gate(Chain::new(links), defaults, meter, journal, approver)
    }

    /// Reads the repository's own settings.
    pub(super) fn adopter(&self, guarded: &Guarded, wants_devcontainer: bool) -> Adopter {
        Adopter {
            gate: Arc::clone(&guarded.gate),
            files: Arc::clone(&guarded.files),
            host: self.plugin_host.clone(),
            sinks: self.sinks.clone(),
            repository: Arc::clone(&self.from_repository),
            wants_devcontainer: wants_devcontainer && self.settings.environment.is_none(),
        }
    }

    /// Makes workspaces.
    pub(super) fn backends(&self, guarded: &Guarded, places: &Places) -> Backends {
        Backends {
            gate: Arc::clone(&guarded.gate),
            meter: Arc::clone(&guarded.meter),
            journal: guarded.journal.clone(),
            files: Arc::clone(&guarded.files),
            settings: self.settings.workspace.clone(),
            trusted: self.settings.trusted.clone(),
            network: Arc::clone(&guarded.network),
            path_rules: self.path_rules.clone(),
            hidden: vec![places.home.clone()],
            home: places.home.clone(),
        }
    }
}
