//! `.sortie/config.toml` of a repository.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use sortie_agent::Limits;
use sortie_core::Phase;
use sortie_core::network::NetworkRule;
use sortie_environment::{Environment, RepositoryTable};

use super::file::{LimitSettings, TestSettings, parse};

/// Where it lies in the work tree.
pub(crate) const PATH: &str = ".sortie/config.toml";

/// What a repository may set.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RepositorySettings {
    /// The command that installs dependencies, for `sh -c`; `""` for none.
    pub(crate) install: Option<String>,
    /// How tests are run.
    pub(crate) test: TestSettings,
    /// What its workspaces are made of and how they are prepared.
    #[serde(deserialize_with = "environment")]
    pub(crate) environment: Option<Environment>,
    /// Where a task may connect to at most.
    pub(crate) network: RepositoryNetwork,
    /// The budgets of a task; larger ones than the user's count for nothing.
    pub(crate) limits: LimitSettings,
    /// Rules that ask and deny; those that allow count for nothing.
    pub(crate) rule: Vec<toml::Table>,
}

/// `[network]` of a repository.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(crate) struct RepositoryNetwork {
    /// What set-up needs at most.
    pub(crate) setup: Option<NetworkRule>,
    /// What the agent needs at most.
    pub(crate) agent: Option<NetworkRule>,
}

fn environment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Environment>, D::Error> {
    let environment = RepositoryTable::deserialize(deserializer)?.into_environment();
    environment.map(Some).map_err(|error| serde::de::Error::custom(format!("environment.{error}")))
}

impl RepositorySettings {
    /// Reads the file's text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut settings: Self = parse(text, PATH)?;
        let test = settings.environment.as_ref().and_then(|environment| environment.test.clone());
        if let Some(test) = test.filter(|_| settings.test.command.is_empty()) {
            settings.test = TestSettings { command: test.command, format: test.format };
        }
        Ok(settings)
    }

    /// The rules that each have to let a connection of this phase through,
    /// with the keys that they stand at.
    pub(crate) fn network_rules(&self, phase: Phase) -> impl Iterator<Item = (&'static str, &NetworkRule)> {
        let environment = self.environment.as_ref();
        let (own, of_environment) = match phase {
            Phase::Prepare => (
                ("network.setup", &self.network.setup),
                environment.map(|these| ("environment.network.setup", &these.setup_network)),
            ),
            _ => (
                ("network.agent", &self.network.agent),
                environment.map(|these| ("environment.network.agent", &these.agent_network)),
            ),
        };
        [Some(own), of_environment]
            .into_iter()
            .flatten()
            .filter_map(|(key, rule)| Some((key, rule.as_ref()?)))
    }

    /// Whether one of the rules stands for the package managers' hosts.
    pub(crate) fn wants_registries(&self) -> bool {
        let rules = self.network_rules(Phase::Prepare).chain(self.network_rules(Phase::Work));
        rules.into_iter().any(|(_, rule)| rule.wants_registries())
    }

    /// The smaller of each limit.
    pub(crate) fn tighten(&self, limits: Limits) -> Limits {
        let wanted = self.limits.over(limits);
        let environment = self.environment.as_ref().and_then(|these| these.limits.idle_seconds);
        let idle = environment.filter(|seconds| *seconds > 0).map(Duration::from_secs);
        Limits {
            turns: wanted.turns.min(limits.turns),
            tokens: wanted.tokens.min(limits.tokens),
            time: wanted.time.min(limits.time),
            call: wanted.call.min(limits.call),
            reply_tokens: wanted.reply_tokens.min(limits.reply_tokens),
            // none is the longest
            setup_idle: wanted.setup_idle.into_iter().chain(limits.setup_idle).chain(idle).min(),
            shown: limits.shown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_cannot_raise_a_limit() {
        let settings = RepositorySettings::parse("[limits]\nturns = 1000000\ntokens = 5\n").expect("parses");
        let limits = settings.tighten(Limits::default());
        assert_eq!((limits.turns, limits.tokens), (Limits::default().turns, 5));
    }

    #[test]
    fn a_repository_may_have_set_up_be_silent_for_a_shorter_time_and_not_for_a_longer() {
        let idle = |theirs: u64, ours| {
            let settings = RepositorySettings::parse(&format!("[limits]\nidle_seconds = {theirs}\n"));
            let limits = Limits { setup_idle: ours, ..Limits::default() };
            settings.expect("parses").tighten(limits).setup_idle.map(|idle| idle.as_secs())
        };
        let minute = Some(Duration::from_secs(60));
        assert_eq!((idle(5, minute), idle(100, minute), idle(0, minute)), (Some(5), Some(60), Some(60)));
        assert_eq!((idle(5, None), idle(0, None)), (Some(5), None));
    }

    #[test]
    fn a_repository_cannot_set_what_only_an_operator_may() {
        for text in [
            "[[plugin]]\nid = \"x\"",
            "default_rules = false",
            "model = \"a/b\"",
            "[network]\ntrusted = []",
            "[workspace]\nimage_registries = [\"a\"]",
            "[environment]\nimage_registries = [\"a\"]",
        ] {
            assert!(RepositorySettings::parse(text).is_err(), "{text}");
        }
        let binds = "[environment.secrets]\nTOKEN = { env = \"HOME\" }\n";
        let error = RepositorySettings::parse(binds).expect_err("it binds a secret");
        assert!(error.contains("a repository binds no secrets"), "{error}");
    }

    #[test]
    fn an_environment_that_cannot_hold_is_told_with_its_line_and_key() {
        let error = |text| RepositorySettings::parse(text).expect_err("it cannot hold");
        let text = "[test]\ncommand = [\"x\"]\n[environment]\nimage = \"-v\"\n";
        let told = error(text);
        assert!(told.starts_with(".sortie/config.toml:3: environment.image: `-v` is no image"), "{told}");
        let told = error("[environment]\nimagee = \"x\"\n");
        assert_eq!(told, ".sortie/config.toml:2: unknown key `imagee`; hint: did you mean `image`?");
    }

    #[test]
    fn an_environments_tests_count_where_the_repository_names_no_others() {
        let command = |text| RepositorySettings::parse(text).expect("parses").test.command;
        let environment = "[environment.test]\ncommand = [\"b\"]\n";
        assert_eq!(command(environment), ["b"]);
        assert_eq!(command(&format!("[test]\ncommand = [\"a\"]\n{environment}")), ["a"]);
    }

    #[test]
    fn every_rule_of_a_repository_has_to_let_a_connection_through() {
        let text =
            "[network]\nsetup = \"all\"\n[environment.network]\nsetup = \"none\"\nagent = \"registries\"\n";
        let settings = RepositorySettings::parse(text).expect("parses");
        let keys = |phase| settings.network_rules(phase).map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(keys(Phase::Prepare), ["network.setup", "environment.network.setup"]);
        assert_eq!(keys(Phase::Verify), ["environment.network.agent"]);
        assert!(settings.wants_registries());
    }
}
