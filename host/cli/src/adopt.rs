//! The repository's own say, read from the fresh checkout: how it is built and
//! tested, and what it tightens.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use sortie_agent::Limits;
use sortie_core::action::{FileRead, ReadOperation};
use sortie_core::{ActionKind, Actor, Decision, Phase, Verdict};
use sortie_environment::Environment;
use sortie_orchestrator::{Adopt, Adopted};
use sortie_plugin_host::PluginHost;
use sortie_policy::ports::{ErrorCode, Files, PortError};
use sortie_policy::{Evaluator, Fault, Gate, Layer, Link, PolicyEvent, Registries};

use crate::plugins::{Sinks, repository_rules};
use crate::settings::{REPOSITORY_PATH, RepositorySettings, install};

/// Bytes of the repository's settings that are read.
const FILE_MAX: u32 = 256 << 10;

/// What the repository says, once it was read.
#[derive(Default)]
pub(crate) struct Repository {
    /// What `registries` stands for: the operator's, whatever the repository says.
    registries: Registries,
    settings: OnceLock<RepositorySettings>,
    rules: OnceLock<Arc<dyn Evaluator>>,
}

impl Repository {
    /// A repository that was not read yet.
    pub(crate) fn new(registries: Registries) -> Self {
        Self { registries, ..Self::default() }
    }

    /// The settings; none before the checkout, or if there are none.
    pub(crate) fn settings(&self) -> Option<&RepositorySettings> {
        self.settings.get()
    }

    /// The repository's place in the chain. It holds nothing before the
    /// checkout: what happens until then is the task's submission and the
    /// fetch itself.
    pub(crate) fn link(self: &Arc<Self>) -> Link {
        Link {
            id: "repository".into(),
            layer: Layer::Repository,
            priority: 0,
            subscribes: ActionKind::ALL.into(),
            mutates: false,
            evaluator: Arc::clone(self) as Arc<dyn Evaluator>,
        }
    }

    fn network_objection(&self, event: &PolicyEvent) -> Option<Verdict> {
        let settings = self.settings()?;
        let contact = sortie_policy::contact(&event.action)?;
        let mut rules = settings.network_rules(event.facts.phase);
        let (key, rule) = rules.find(|(_, rule)| !self.registries.permit(rule, &contact))?;
        Some(Verdict {
            decision: Decision::Deny(format!("the repository's own rule is `{rule}`")),
            rule: Some(key.into()),
            remedy: Some(format!("`{key}` in the repository's {REPOSITORY_PATH} would have to name it")),
        })
    }
}

#[async_trait]
impl Evaluator for Repository {
    async fn evaluate(&self, event: &PolicyEvent) -> Result<Verdict, Fault> {
        if let Some(objection) = self.network_objection(event) {
            return Ok(objection);
        }
        match self.rules.get() {
            Some(rules) => rules.evaluate(event).await,
            None => Ok(Verdict::of(Decision::Abstain)),
        }
    }
}

/// Reads the repository's settings through the gate, like any file.
pub(crate) struct Adopter {
    pub(crate) gate: Arc<Gate>,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) host: PluginHost,
    pub(crate) sinks: Sinks,
    pub(crate) repository: Arc<Repository>,
    /// Whether a `devcontainer.json` counts where the settings describe no
    /// environment.
    pub(crate) wants_devcontainer: bool,
}

#[async_trait]
impl Adopt for Adopter {
    async fn adopt(&self, limits: Limits) -> Result<Adopted, PortError> {
        let mut adopted = match self.read(REPOSITORY_PATH).await? {
            Some(text) => self.adopt_settings(&text, limits).await?,
            None => Adopted {
                install: None,
                limits,
                setup_networks: Vec::new(),
                wants_registries: false,
                environment: None,
            },
        };
        if adopted.environment.is_none() && self.wants_devcontainer {
            adopted.environment = self.devcontainer().await?;
        }
        Ok(adopted)
    }
}

impl Adopter {
    async fn adopt_settings(&self, text: &str, limits: Limits) -> Result<Adopted, PortError> {
        let settings = RepositorySettings::parse(text).map_err(invalid)?;
        if !settings.rule.is_empty() {
            let plugin = self
                .host
                .load_policy(repository_rules(&settings.rule))
                .await
                .map_err(|error| invalid(format!("{REPOSITORY_PATH}: {error}")))?;
            drop(self.rules().set(plugin.into_evaluator(self.sinks.log())));
        }
        let adopted = Adopted {
            install: settings.install.clone().map(|c| install(Some(c))),
            limits: settings.tighten(limits),
            setup_networks: settings.network_rules(Phase::Prepare).map(|(_, rule)| rule.clone()).collect(),
            wants_registries: settings.wants_registries(),
            environment: settings.environment.clone(),
        };
        drop(self.repository.settings.set(settings));
        Ok(adopted)
    }

    async fn devcontainer(&self) -> Result<Option<Environment>, PortError> {
        for path in sortie_environment::DEVCONTAINERS {
            if let Some(text) = self.read(path).await? {
                let environment = sortie_environment::devcontainer(path, &text);
                return environment.map(Some).map_err(|error| invalid(error.to_string()));
            }
        }
        Ok(None)
    }

    /// A file of the repository, through the gate; none if it is not there.
    async fn read(&self, path: &str) -> Result<Option<String>, PortError> {
        let operation = ReadOperation::Read { offset: 0, max: FILE_MAX };
        let read = FileRead { operation, paths: vec![path.into()] };
        let permit = self.gate.permit(&Actor::Host, read).await?;
        let content = match self.files.read(permit).await {
            Ok(content) => content,
            Err(error) if error.code == ErrorCode::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if content.size > u64::from(FILE_MAX) {
            return Err(invalid(format!("{path} is larger than 256 KiB")));
        }
        String::from_utf8(content.data).map(Some).map_err(|_| invalid(format!("{path} is not UTF-8")))
    }

    fn rules(&self) -> &OnceLock<Arc<dyn Evaluator>> {
        &self.repository.rules
    }
}

fn invalid(message: String) -> PortError {
    PortError::new(ErrorCode::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use sortie_core::Facts;
    use sortie_core::action::Action;

    fn event(phase: Phase, kind: ActionKind, details: Value) -> PolicyEvent {
        let facts = Facts { phase, ..sortie_testing::facts() };
        let action = Action { kind, target: String::new(), details };
        PolicyEvent { id: "d1".into(), actor: "agent".into(), action, facts }
    }

    async fn objects(settings: &str, event: &PolicyEvent) -> bool {
        let repository = Repository::default();
        let settings = RepositorySettings::parse(settings).expect("settings");
        repository.settings.set(settings).expect("they are the first");
        let verdict = repository.evaluate(event).await.expect("decides");
        assert!(matches!(verdict.decision, Decision::Deny(_) | Decision::Abstain), "it can only tighten");
        verdict.decision != Decision::Abstain
    }

    #[tokio::test]
    async fn a_repositorys_registries_are_the_operators() {
        let registries = Registries::default();
        let repository = Repository::new(registries.clone());
        let settings = RepositorySettings::parse("[network]\nsetup = \"registries,b.example\"\n");
        repository.settings.set(settings.expect("settings")).expect("they are the first");
        let connect = |host: &str| {
            event(Phase::Prepare, ActionKind::NetworkConnect, json!({ "host": host, "port": 443 }))
        };
        let denies = async |host: &str| {
            let verdict = repository.evaluate(&connect(host)).await.expect("decides");
            verdict.decision != Decision::Abstain
        };
        assert!(denies("a.example").await && !denies("b.example").await);
        registries.learn(vec!["a.example".parse().expect("a host")]);
        assert!(!denies("a.example").await && denies("c.example").await);
    }

    #[tokio::test]
    async fn a_repository_narrows_the_network_of_each_phase_and_widens_none() {
        let connect =
            |phase| event(phase, ActionKind::NetworkConnect, json!({ "host": "a.example", "port": 443 }));
        let request = event(
            Phase::Work,
            ActionKind::HttpRequest,
            json!({ "method": "GET", "url": "https://a.example/x" }),
        );
        let none = "[network]\nsetup = \"all\"\nagent = \"none\"\n";
        assert!(!objects(none, &connect(Phase::Prepare)).await);
        assert!(objects(none, &connect(Phase::Work)).await);
        assert!(objects(none, &connect(Phase::Verify)).await);
        assert!(objects(none, &request).await);
        assert!(objects("[network]\nsetup = \"b.example\"\n", &connect(Phase::Prepare)).await);
        assert!(!objects("[network]\nagent = \"a.example\"\n", &request).await);
        assert!(!objects("", &connect(Phase::Work)).await);
        let elsewhere = event(Phase::Work, ActionKind::Exec, json!({ "argv": ["true"] }));
        assert!(!objects(none, &elsewhere).await);
    }
}
