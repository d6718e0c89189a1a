//! `.sortie/config.toml` of a repository.

use serde::Deserialize;
use sortie_agent::Limits;
use sortie_core::network::NetworkRule;

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
    /// Where a task may connect to at most.
    pub(crate) network: RepositoryNetwork,
    /// The budgets of a task; larger ones than the user's count for nothing.
    pub(crate) limits: LimitSettings,
    /// Rules that ask and deny; those that allow count for nothing.
    pub(crate) rule: Vec<toml::Table>,
}

/// `[network]` of a repository.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RepositoryNetwork {
    /// What set-up needs at most.
    pub(crate) setup: Option<NetworkRule>,
    /// What the agent needs at most.
    pub(crate) agent: Option<NetworkRule>,
}

impl RepositoryNetwork {
    /// Whether one of the rules stands for the package managers' hosts.
    pub(crate) fn wants_registries(&self) -> bool {
        self.setup.iter().chain(&self.agent).any(NetworkRule::wants_registries)
    }
}

impl RepositorySettings {
    /// Reads the file's text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        parse(text, PATH)
    }

    /// The smaller of each limit.
    pub(crate) fn tighten(&self, limits: Limits) -> Limits {
        let wanted = self.limits.over(limits);
        Limits {
            turns: wanted.turns.min(limits.turns),
            tokens: wanted.tokens.min(limits.tokens),
            time: wanted.time.min(limits.time),
            call: wanted.call.min(limits.call),
            reply_tokens: wanted.reply_tokens.min(limits.reply_tokens),
            // none is the longest
            setup_idle: wanted.setup_idle.into_iter().chain(limits.setup_idle).min(),
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
        let minute = Some(std::time::Duration::from_secs(60));
        assert_eq!((idle(5, minute), idle(100, minute), idle(0, minute)), (Some(5), Some(60), Some(60)));
        assert_eq!((idle(5, None), idle(0, None)), (Some(5), None));
    }

    #[test]
    fn a_repository_cannot_set_what_only_an_operator_may() {
        for text in
            ["[[plugin]]\nid = \"x\"", "default_rules = false", "model = \"a/b\"", "[network]\ntrusted = []"]
        {
            assert!(RepositorySettings::parse(text).is_err(), "{text}");
        }
    }
}
