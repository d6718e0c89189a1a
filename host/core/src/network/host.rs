//! Hosts that rules name.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::{InvalidRule, REGISTRIES};

/// A host that a rule names: `example.org`, `example.org:8443`, `*.example.org`
/// (subdomains only), an address literal. Without a port: 80 and 443.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    /// Lower-case name or address, without a trailing dot and without brackets.
    host: String,
    /// Whether `host` stands for its subdomains.
    pub(super) subdomains: bool,
    port: Option<u16>,
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

    /// Whether it is a single name that nobody takes for a host by itself.
    fn is_word(&self) -> bool {
        !self.subdomains && !self.host.contains('.') && self.host != "localhost"
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
        let invalid = || InvalidRule::Malformed(crate::text::one_line(text, 100));
        let (rest, subdomains) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (host, port) = if let Some(inner) = rest.strip_prefix('[') {
            let (address, tail) = inner.split_once(']').ok_or_else(invalid)?;
            address.parse::<Ipv6Addr>().map_err(|_| invalid())?;
            match tail.split_once(':') {
                Some(("", port)) => (address, Some(port)),
                None if tail.is_empty() => (address, None),
                _ => return Err(invalid()),
            }
        } else if rest.parse::<Ipv6Addr>().is_ok() {
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
        // as connections name it, whichever way it is written here
        let host = match host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().to_string(),
            Err(_) => canonical_host(host),
        };
        Ok(Self { host, subdomains, port })
    }
}

/// Whether a rule means something else by this word than a host.
pub(super) fn is_reserved(word: &str) -> bool {
    matches!(word, "all" | "none" | REGISTRIES)
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.subdomains {
            f.write_str("*.")?;
        }
        match self.host.as_str() {
            address if address.contains(':') => write!(f, "[{address}]")?,
            // in a rule, a word is no host: the dot makes it one again
            word if is_reserved(word) || (self.port.is_none() && self.is_word()) => write!(f, "{word}.")?,
            host => f.write_str(host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Contact, NetworkRule};

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
            assert!(
                rule.permits(&Contact::tunnel(host, port))
                    && !rule.permits(&Contact::tunnel("other.example", port)),
                "{text}"
            );
        }
        for (written, named) in [
            ("[0:0:0:0:0:0:0:1]:80", "::1"),
            ("[::FFFF:10.0.0.1]:80", "10.0.0.1"),
            ("2001:DB8::0:1", "2001:db8::1"),
        ] {
            let pattern: HostPattern = written.parse().expect("a pattern");
            assert!(pattern.matches(named, 80), "{written}");
        }
        for odd in ["", "-a.example", "*.example", "a,all", "a b", "a\u{1b}[31m"] {
            assert_eq!(HostPattern::only(odd, 443), None, "{odd}");
        }
    }
}
