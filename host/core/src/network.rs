//! Network rules of a task.

mod host;
mod methods;

use std::fmt;
use std::str::FromStr;

pub use host::{HostPattern, canonical_host};
pub use methods::{Contact, HostRule};
use serde::{Deserialize, Serialize};

/// Where a phase of a task may connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NetworkRule {
    /// Nowhere.
    None,
    /// These hosts only.
    Hosts(Vec<HostRule>),
    /// The hosts that the package managers in use name, and these. Which
    /// hosts that is, is asked in each task: the rule itself knows the others
    /// alone.
    Registries(Vec<HostRule>),
    /// Every public address.
    All,
}

/// What stands for the package managers' hosts in a rule.
const REGISTRIES: &str = "registries";

/// A text that is no network rule.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRule {
    /// It is none of them.
    #[error(
        "`{0}` is no network rule: use `none`, `all`, `registries`, or hosts such as `example.org,*.example.org:8443`, also `registries,example.org` and `GET+HEAD@example.org`"
    )]
    Malformed(String),
    /// A word without a dot, which is rather one of the words of a rule,
    /// misspelt, than a host.
    #[error(
        "`{0}` is no network rule: did you mean `registries`, `all` or `none`? A host without a dot in its name is written with its port, such as `{0}:443`"
    )]
    Word(String),
}

impl NetworkRule {
    /// Whether the rule lets this through, beside what goes to the hosts of
    /// the package managers.
    pub fn permits(&self, contact: &Contact) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Hosts(hosts) | Self::Registries(hosts) => hosts.iter().any(|host| host.permits(contact)),
        }
    }

    /// Whether it does not let this through and would with another method:
    /// the rule names the host, with methods that this one is not among or
    /// that a tunnel hides.
    pub fn objects_to_method(&self, contact: &Contact) -> bool {
        let (Self::Hosts(hosts) | Self::Registries(hosts)) = self else { return false };
        !self.permits(contact)
            && hosts.iter().any(|host| host.pattern().matches(contact.host(), contact.port()))
    }

    /// Whether the rule stands for the package managers' hosts, too.
    pub fn wants_registries(&self) -> bool {
        matches!(self, Self::Registries(_))
    }

    /// The rule that lets this host through as well.
    pub fn and(&self, host: HostRule) -> Self {
        let with = |hosts: &[HostRule]| [hosts, std::slice::from_ref(&host)].concat();
        match self {
            Self::None => Self::Hosts(vec![host]),
            Self::Hosts(hosts) => Self::Hosts(with(hosts)),
            Self::Registries(hosts) => Self::Registries(with(hosts)),
            Self::All => Self::All,
        }
    }

    /// Whether the rule names this host itself: then its address may be one
    /// that is not public. A wildcard names nobody: whoever may add a name
    /// beneath it could point that at this machine or its neighbours.
    pub fn names(&self, host: &str, port: u16) -> bool {
        let (Self::Hosts(hosts) | Self::Registries(hosts)) = self else { return false };
        let mut patterns = hosts.iter().map(HostRule::pattern);
        patterns.any(|pattern| !pattern.subdomains && pattern.matches(host, port))
    }
}

impl FromStr for NetworkRule {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "none" => Ok(Self::None),
            "all" => Ok(Self::All),
            list => {
                let (registries, hosts): (Vec<_>, Vec<_>) =
                    list.split(',').map(str::trim).partition(|word| *word == REGISTRIES);
                let hosts = hosts.into_iter().map(host_of_rule).collect::<Result<_, _>>()?;
                Ok(if registries.is_empty() { Self::Hosts(hosts) } else { Self::Registries(hosts) })
            }
        }
    }
}

/// A host of a rule; `localhost` is the only one that is a single word.
fn host_of_rule(word: &str) -> Result<HostRule, InvalidRule> {
    let rule = word.parse()?;
    let host = word.rsplit('@').next().unwrap_or(word);
    if host.contains(['.', ':']) || host.eq_ignore_ascii_case("localhost") {
        return Ok(rule);
    }
    Err(InvalidRule::Word(crate::text::one_line(host, 100)))
}

impl fmt::Display for NetworkRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::All => f.write_str("all"),
            Self::Hosts(hosts) => {
                let hosts: Vec<_> = hosts.iter().map(HostRule::to_string).collect();
                f.write_str(&hosts.join(","))
            }
            Self::Registries(hosts) => {
                f.write_str(REGISTRIES)?;
                hosts.iter().try_for_each(|host| write!(f, ",{host}"))
            }
        }
    }
}

impl TryFrom<String> for NetworkRule {
    type Error = InvalidRule;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<NetworkRule> for String {
    fn from(rule: NetworkRule) -> Self {
        rule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(rule: &str, host: &str, port: u16) -> bool {
        rule.parse::<NetworkRule>().expect("a rule").permits(&Contact::tunnel(host, port))
    }

    #[test]
    fn a_host_rule_matches_that_host_in_any_spelling_and_no_other() {
        assert!(permits("example.org", "EXAMPLE.org.", 443));
        assert!(!permits("example.org", "example.org", 22));
        assert!(!permits("example.org", "evil-example.org", 443));
        assert!(!permits("example.org", "example.org.evil.net", 443));
        assert!(permits("127.0.0.1:8080", "127.0.0.1", 8080));
        assert!(permits("[::1]:8080", "[::1]", 8080));
    }

    #[test]
    fn a_wildcard_stands_for_subdomains_only() {
        assert!(permits("*.example.org", "a.b.example.org", 443));
        assert!(!permits("*.example.org", "example.org", 443));
        assert!(!permits("*.example.org", "badexample.org", 443));
        assert!(!permits("*.example.org", ".example.org", 443));
    }

    #[test]
    fn nonsense_is_no_rule() {
        for bad in ["", "a b", "-x", "host:0", "host:99999", "[::1", "[::1]80", "[::1]x:80", "http://x/y"] {
            assert!(bad.parse::<NetworkRule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_word_without_a_dot_is_no_host_unless_it_has_a_port() {
        for bad in ["registry", "nome", "registries,mirror", "GET@mirror", "example.org,registrys"] {
            let error = bad.parse::<NetworkRule>().expect_err(bad).to_string();
            assert!(error.contains("did you mean `registries`"), "{error}");
        }
        for (good, host, port) in [
            ("localhost", "localhost", 80),
            ("mirror:443", "mirror", 443),
            ("mirror.", "mirror", 443),
            ("::1", "::1", 80),
        ] {
            assert!(permits(good, host, port), "{good}");
        }
        let named = NetworkRule::None.and(HostPattern::only("mirror", 443).expect("a pattern").into());
        assert_eq!(named.to_string(), "mirror.");
        assert!(permits("mirror.", "mirror", 443));
    }

    #[test]
    fn a_rule_reads_back_as_it_prints() {
        for text in [
            "none",
            "all",
            "a.example,*.b.example:8443,[::1]:80",
            "all.",
            "none.:81",
            "registries",
            "registries,a.example:81",
            "registries.",
            "GET+HEAD@a.example,POST@*.b.example:8443,GET@[::1]:81",
            "registries,GET@a.example",
        ] {
            assert_eq!(text.parse::<NetworkRule>().expect("a rule").to_string(), text);
        }
    }

    #[test]
    fn registries_stand_beside_hosts_in_any_order_and_are_no_host_themselves() {
        let rule: NetworkRule = "a.example, registries".parse().expect("a rule");
        assert_eq!(rule.to_string(), "registries,a.example");
        assert!(
            rule.wants_registries()
                && rule.permits(&Contact::tunnel("a.example", 443))
                && rule.names("a.example", 443)
        );
        assert!(
            !rule.permits(&Contact::tunnel("registries", 443))
                && !rule.permits(&Contact::tunnel("b.example", 443))
        );
        let host: NetworkRule = "registries.".parse().expect("a rule");
        assert!(!host.wants_registries() && host.permits(&Contact::tunnel("registries", 443)));
        for bad in ["registries,", "registries,a b", "registries;a.example"] {
            assert!(bad.parse::<NetworkRule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rule_with_one_more_host_keeps_what_it_had() {
        for (rule, with) in [
            ("none", "b.example"),
            ("a.example", "a.example,b.example"),
            ("registries", "registries,b.example"),
            ("all", "all"),
        ] {
            let rule: NetworkRule = rule.parse().expect("a rule");
            assert_eq!(rule.and("b.example".parse().expect("a host")).to_string(), with);
        }
    }

    #[test]
    fn a_wildcard_names_no_host_whose_address_need_not_be_public() {
        let rule: NetworkRule = "*.example.org,a.example.org".parse().expect("a rule");
        assert!(rule.permits(&Contact::tunnel("b.example.org", 443)) && !rule.names("b.example.org", 443));
        assert!(rule.names("a.example.org", 443));
        assert!(!NetworkRule::All.names("a.example.org", 443));
    }
}
