//! What goes to a host by which method.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::host::is_reserved;
use super::{HostPattern, InvalidRule, canonical_host};

/// The longest method that a rule may name.
const LONGEST: usize = 20;

/// A host, and by which methods it may be spoken to: `example.org` for all,
/// `GET+HEAD@example.org:8080` for these. Methods are seen in plain HTTP and
/// in the requests of tools. A tunnel (`CONNECT`, which is how a workspace
/// speaks https) hides them, so that methods let none through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRule {
    pattern: HostPattern,
    /// Empty for all, and for tunnels.
    methods: BTreeSet<String>,
}

/// What a rule is asked about: a request, or a tunnel for any number of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    host: String,
    port: u16,
    method: Option<String>,
}

impl Contact {
    /// A tunnel. The host may be in upper case, and end with a dot.
    pub fn tunnel(host: &str, port: u16) -> Self {
        Self { host: canonical_host(host), port, method: None }
    }

    /// A request with this method.
    pub fn request(method: &str, host: &str, port: u16) -> Self {
        Self { method: Some(method.to_owned()), ..Self::tunnel(host, port) }
    }

    /// The host, as it is compared.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The method; none if it is hidden in a tunnel.
    pub fn method(&self) -> Option<&str> {
        self.method.as_deref()
    }
}

impl HostRule {
    /// Whether it lets this through.
    pub fn permits(&self, contact: &Contact) -> bool {
        self.pattern.matches(&contact.host, contact.port)
            && (self.methods.is_empty()
                || contact.method.as_ref().is_some_and(|method| self.methods.contains(method)))
    }

    /// Whom it stands for, whatever the method.
    pub fn pattern(&self) -> &HostPattern {
        &self.pattern
    }

    /// The same host for this method alone; none if no rule can name the method.
    pub fn by(self, method: &str) -> Option<Self> {
        is_method(method).then(|| Self { methods: BTreeSet::from([method.to_owned()]), ..self })
    }
}

impl From<HostPattern> for HostRule {
    fn from(pattern: HostPattern) -> Self {
        Self { pattern, methods: BTreeSet::new() }
    }
}

/// `CONNECT` is no method to name: what it lets through are all of them.
fn is_method(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    plain
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.len() <= LONGEST
        && text != "CONNECT"
}

impl FromStr for HostRule {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((methods, host)) = text.split_once('@') else {
            return Ok(text.parse::<HostPattern>()?.into());
        };
        let methods: Vec<_> = methods.split('+').collect();
        if is_reserved(host) || !methods.iter().all(|method| is_method(method)) {
            return Err(InvalidRule::Malformed(crate::text::one_line(text, 100)));
        }
        let pattern = host.parse().map_err(|_| InvalidRule::Malformed(crate::text::one_line(text, 100)))?;
        Ok(Self { pattern, methods: methods.into_iter().map(str::to_owned).collect() })
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, method) in self.methods.iter().enumerate() {
            write!(f, "{}{method}", if index == 0 { "" } else { "+" })?;
        }
        let at = if self.methods.is_empty() { "" } else { "@" };
        write!(f, "{at}{}", self.pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::NetworkRule;

    fn rule(text: &str) -> NetworkRule {
        text.parse().expect("a rule")
    }

    #[test]
    fn methods_let_their_requests_through_and_no_others() {
        let rule = rule("GET+HEAD@a.example,b.example");
        for (method, host, lets) in [
            ("GET", "A.example.", true),
            ("HEAD", "a.example", true),
            ("POST", "a.example", false),
            ("get", "a.example", false),
            ("CONNECT", "a.example", false),
            ("POST", "b.example", true),
            ("GET", "c.example", false),
        ] {
            assert_eq!(rule.permits(&Contact::request(method, host, 80)), lets, "{method} {host}");
        }
        assert!(!rule.permits(&Contact::request("GET", "a.example", 8080)), "another port");
    }

    #[test]
    fn a_tunnel_hides_methods_and_passes_no_rule_with_any() {
        let rule = rule("GET@a.example,b.example,GET@b.example");
        let tunnel = |host: &str| Contact::tunnel(host, 443);
        assert!(!rule.permits(&tunnel("a.example")) && rule.objects_to_method(&tunnel("a.example")));
        assert!(rule.permits(&tunnel("b.example")) && !rule.objects_to_method(&tunnel("b.example")));
        assert!(!rule.permits(&tunnel("c.example")) && !rule.objects_to_method(&tunnel("c.example")));
    }

    #[test]
    fn nonsense_is_no_method() {
        for bad in [
            "@a.example",
            "get@a.example",
            "GET+@a.example",
            "GET,POST@a.example,",
            "GET @a.example",
            "GET@",
            "GET@a@b",
            "CONNECT@a.example",
            "GET+CONNECT@a.example",
            "GET@all",
            "GET@none",
            "GET@registries",
            "-@a.example",
            "A234567890@a.example",
            "user:GET@a.example",
        ] {
            assert!(bad.parse::<NetworkRule>().is_err(), "{bad}");
        }
        assert_eq!(rule("POST+GET+POST@a.example").to_string(), "GET+POST@a.example");
    }
}
