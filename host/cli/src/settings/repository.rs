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
    fn a_repository_cannot_set_what_only_an_operator_may() {
        for text in
            ["[[plugin]]\nid = \"x\"", "default_rules = false", "model = \"a/b\"", "[network]\ntrusted = []"]
        {
            assert!(RepositorySettings::parse(text).is_err(), "{text}");
        }
    }
}
