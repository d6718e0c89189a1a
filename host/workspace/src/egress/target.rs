//! Hosts and ports as they are compared, permitted and resolved.

use std::fmt;
use std::net::IpAddr;

use sortie_core::network::canonical_host;
use sortie_core::text::one_line;

/// A host and a port, in the one spelling that rules and policies see: lower
/// case, without a trailing dot and brackets, international names in their
/// ASCII form, and addresses in their usual form, whatever they were written
/// as (`0x7f.1`, `2130706433` and `::ffff:127.0.0.1` are `127.0.0.1`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
}

/// A text that names no host.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` names no host")]
pub(super) struct InvalidHost(String);

impl Target {
    pub(super) fn new(host: &str, port: u16) -> Result<Self, InvalidHost> {
        let invalid = || InvalidHost(one_line(host, 100));
        if port == 0 {
            return Err(invalid());
        }
        let parsed = if host.contains(':') && !host.starts_with('[') {
            url::Host::parse(&format!("[{host}]"))
        } else {
            url::Host::parse(host)
        };
        let host = match parsed.map_err(|_| invalid())? {
            // one dot at the end belongs to a name; to a resolver, an address with two is an address
            url::Host::Domain(name)
                if name.strip_suffix('.').unwrap_or(&name).split('.').any(str::is_empty) =>
            {
                return Err(invalid());
            }
            url::Host::Domain(name) => canonical_host(&name),
            url::Host::Ipv4(address) => address.to_string(),
            url::Host::Ipv6(address) => address.to_canonical().to_string(),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
        if host.is_empty() || host.len() > 253 || host.starts_with(['-', '.']) || !host.chars().all(plain) {
            return Err(invalid());
        }
        Ok(Self { host, port })
    }

    /// The address, if the host is one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// As in a URL.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Option<String> {
        Target::new(text, 443).ok().map(|target| target.host)
    }

    #[test]
    fn a_host_has_one_spelling() {
        assert_eq!(host("EXAMPLE.org.").as_deref(), Some("example.org"));
        assert_eq!(host("bücher.example").as_deref(), Some("xn--bcher-kva.example"));
        for loopback in
            ["127.0.0.1", "127.1", "0x7f.1", "0177.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "127.0.0.1."]
        {
            assert_eq!(host(loopback).as_deref(), Some("127.0.0.1"), "{loopback}");
        }
        assert_eq!(host("[::1]").as_deref(), Some("::1"));
        assert_eq!(host("0:0:0:0:0:0:0:1").as_deref(), Some("::1"));
    }

    #[test]
    fn nonsense_names_no_host() {
        for bad in ["", ".", "a b", "a/b", "user@host", "-x", "[::1", "fe80::1%eth0", "a\nb", "256.1.1.1"] {
            assert_eq!(host(bad), None, "{bad}");
        }
        for alias in
            ["127.0.0.1..", "0x7f000001..", "1.2.3.04..", "2130706433..", "a..example", "example.org.."]
        {
            assert_eq!(host(alias), None, "{alias}");
        }
        assert!(Target::new("example.org", 0).is_err());
    }
}
