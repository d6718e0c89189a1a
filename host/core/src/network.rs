//! Network rules of a task.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a phase of a task may connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NetworkRule {
    /// Nowhere.
    None,
    /// These hosts only.
    Hosts(Vec<HostPattern>),
    /// The hosts that the package managers in use name, and these. Which
    /// hosts that is, is asked in each task: the rule itself knows the others
    /// alone.
    Registries(Vec<HostPattern>),
    /// Every public address.
    All,
}

/// A host that a rule names: `example.org`, `example.org:8443`, `*.example.org`
/// (subdomains only), an address literal. Without a port: 80 and 443.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    /// Lower-case name or address, without a trailing dot and without brackets.
    host: String,
    /// Whether `host` stands for its subdomains.
    subdomains: bool,
    port: Option<u16>,
}

/// What stands for the package managers' hosts in a rule.
const REGISTRIES: &str = "registries";

/// A text that is no network rule.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no network rule: use `none`, `all`, `registries`, or hosts such as `example.org,*.example.org:8443`, also `registries,example.org`"
)]
pub struct InvalidRule(String);

impl NetworkRule {
    /// Whether the rule lets a connection to this host and port through,
    /// beside those of the package managers. `host` may be in upper case, and
    /// end with a dot.
    pub fn permits(&self, host: &str, port: u16) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Hosts(patterns) | Self::Registries(patterns) => {
                patterns.iter().any(|pattern| pattern.matches(host, port))
            }
        }
    }

    /// Whether the rule stands for the package managers' hosts, too.
    pub fn wants_registries(&self) -> bool {
        matches!(self, Self::Registries(_))
    }

    /// The rule that lets this host through as well.
    pub fn and(&self, host: HostPattern) -> Self {
        let with = |hosts: &[HostPattern]| [hosts, std::slice::from_ref(&host)].concat();
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
        let (Self::Hosts(patterns) | Self::Registries(patterns)) = self else { return false };
        patterns.iter().any(|pattern| !pattern.subdomains && pattern.matches(host, port))
    }
}

impl HostPattern {
    /// The pattern that stands for this host and port and for nothing else;
    /// none if there is no such pattern.
    pub fn only(host: &str, port: u16) -> Option<Self> {
        let host = canonical_host(host);
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host };
        let port = if port == 443 || port == 80 { String::new() } else { format!(":{port}") };
        format!("{bracketed}{port}").parse().ok().filter(|pattern: &Self| !pattern.subdomains)
    }

    /// Whether this pattern stands for the host and port.
    pub fn matches(&self, host: &str, port: u16) -> bool {
        let host = canonical_host(host);
        let host_matches = if self.subdomains {
            host.strip_suffix(&self.host).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
        } else {
            host == self.host
        };
        host_matches && self.port.map_or(port == 443 || port == 80, |wanted| wanted == port)
    }
}

/// A host's name as it is compared: lower case, no trailing dot, no brackets.
pub fn canonical_host(host: &str) -> String {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::to_owned).unwrap_or(host)
}

impl FromStr for HostPattern {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidRule(crate::text::one_line(text, 100));
        let (rest, subdomains) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (host, port) = if let Some(inner) = rest.strip_prefix('[') {
            let (address, tail) = inner.split_once(']').ok_or_else(invalid)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| invalid())?;
            match tail.split_once(':') {
                Some(("", port)) => (address, Some(port)),
                None if tail.is_empty() => (address, None),
                _ => return Err(invalid()),
            }
        } else if rest.parse::<std::net::Ipv6Addr>().is_ok() {
            (rest, None)
        } else {
            match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            }
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
        if host.is_empty() || host.starts_with('-') || !host.chars().all(plain) {
            return Err(invalid());
        }
        let port = port.map(|p| p.parse::<u16>().ok().filter(|p| *p != 0).ok_or_else(invalid)).transpose()?;
        Ok(Self { host: canonical_host(host), subdomains, port })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.subdomains {
            f.write_str("*.")?;
        }
        match self.host.as_str() {
            address if address.contains(':') => write!(f, "[{address}]")?,
            // in a rule, these words are not hosts: the dot makes them hosts again
            word @ ("all" | "none" | REGISTRIES) => write!(f, "{word}.")?,
            host => f.write_str(host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
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
                let hosts = hosts.into_iter().map(str::parse).collect::<Result<_, _>>()?;
                Ok(if registries.is_empty() { Self::Hosts(hosts) } else { Self::Registries(hosts) })
            }
        }
    }
}

impl fmt::Display for NetworkRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::All => f.write_str("all"),
            Self::Hosts(hosts) => {
                let hosts: Vec<_> = hosts.iter().map(HostPattern::to_string).collect();
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
        rule.parse::<NetworkRule>().expect("a rule").permits(host, port)
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
        ] {
            assert_eq!(text.parse::<NetworkRule>().expect("a rule").to_string(), text);
        }
    }

    #[test]
    fn registries_stand_beside_hosts_in_any_order_and_are_no_host_themselves() {
        let rule: NetworkRule = "a.example, registries".parse().expect("a rule");
        assert_eq!(rule.to_string(), "registries,a.example");
        assert!(rule.wants_registries() && rule.permits("a.example", 443) && rule.names("a.example", 443));
        assert!(!rule.permits("registries", 443) && !rule.permits("b.example", 443));
        let host: NetworkRule = "registries.".parse().expect("a rule");
        assert!(!host.wants_registries() && host.permits("registries", 443));
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
        assert!(rule.permits("b.example.org", 443) && !rule.names("b.example.org", 443));
        assert!(rule.names("a.example.org", 443));
        assert!(!NetworkRule::All.names("a.example.org", 443));
    }

    #[test]
    fn the_pattern_of_one_host_lets_no_other_through() {
        for (host, port, text) in [
            ("A.example.", 443, "a.example"),
            ("a.example", 8443, "a.example:8443"),
            ("::1", 8443, "[::1]:8443"),
            ("[::1]", 80, "[::1]"),
            ("all", 443, "all."),
            ("none", 81, "none.:81"),
            ("registries", 443, "registries."),
        ] {
            assert_eq!(HostPattern::only(host, port).expect("a pattern").to_string(), text);
            let rule: NetworkRule = text.parse().expect("a rule");
            assert!(rule.permits(host, port) && !rule.permits("other.example", port), "{text}");
        }
        for odd in ["", "*.example", "a,all", "a b", "a\u{1b}[31m"] {
            assert_eq!(HostPattern::only(odd, 443), None, "{odd}");
        }
    }
}
