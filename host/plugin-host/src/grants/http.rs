//! Patterns of HTTP requests.

use std::str::FromStr;

use sortie_core::network::HostPattern;
use url::{Position, Url};

use super::GrantError;

/// A pattern of requests.
#[derive(Clone, Debug)]
pub(super) struct HttpPattern {
    /// Empty for all.
    methods: Vec<String>,
    scheme: &'static str,
    /// None for every host.
    host: Option<String>,
    /// None for every port.
    port: Option<u16>,
}

impl FromStr for HttpPattern {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let error = |reason: &str| GrantError::new("http", text, reason);
        let (methods, origin) = match text.trim().split_once(char::is_whitespace) {
            Some((methods, origin)) => {
                (parse_methods(methods).ok_or_else(|| error("a method is in upper case"))?, origin)
            }
            None => (Vec::new(), text),
        };
        let (scheme, authority) =
            origin.trim().split_once("://").ok_or_else(|| error("it has the form `https://HOST[:PORT]`"))?;
        let (scheme, usual) = match scheme {
            "http" => ("http", 80),
            "https" => ("https", 443),
            _ => return Err(error("the scheme is `http` or `https`")),
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = split_port(authority);
        let port = match port {
            None => Some(usual),
            Some("*") => None,
            Some(port) => Some(
                port.parse().ok().filter(|port| *port != 0).ok_or_else(|| error("its port is no port"))?,
            ),
        };
        let host = if host == "*" {
            None
        } else {
            host.parse::<HostPattern>()
                .map_err(|_| error("its host is no host; a path cannot be granted"))?;
            Some(host.to_owned())
        };
        Ok(Self { methods, scheme, host, port })
    }
}

fn parse_methods(text: &str) -> Option<Vec<String>> {
    text.split(',')
        .map(|method| {
            let plain = !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
            plain.then(|| method.to_owned())
        })
        .collect()
}

/// Host and port; the colons of an address in brackets are its own.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// The pattern of this method at this origin.
pub(super) fn pattern_for(method: &str, url: &Url) -> String {
    format!("{method} {}", &url[..Position::AfterPort])
}

impl HttpPattern {
    pub(super) fn matches(&self, method: &str, url: &Url) -> bool {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return false };
        let method_matches = self.methods.is_empty() || self.methods.iter().any(|allowed| allowed == method);
        let host_matches = self.host.as_ref().is_none_or(|allowed| {
            format!("{allowed}:{port}")
                .parse::<HostPattern>()
                .is_ok_and(|pattern| pattern.matches(host, port))
        });
        method_matches
            && host_matches
            && url.scheme() == self.scheme
            && self.port.is_none_or(|allowed| allowed == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, method: &str, url: &str) -> bool {
        pattern.parse::<HttpPattern>().expect("a pattern").matches(method, &url.parse().expect("a URL"))
    }

    #[test]
    fn scheme_host_port_and_method_all_count() {
        assert!(covers("https://a.example", "POST", "https://A.example/x?y"));
        assert!(covers("https://*.a.example", "GET", "https://b.a.example/"));
        assert!(covers("GET,HEAD http://localhost:8080", "HEAD", "http://localhost:8080/"));
        assert!(covers("http://*:*", "GET", "http://anything.example:81/"));
        assert!(covers("http://[::1]:81", "GET", "http://[::1]:81/"));
        assert!(covers("https://*", "GET", "https://anything.example/"));
        for (pattern, method, url) in [
            ("https://a.example", "GET", "http://a.example/"),
            ("https://a.example", "GET", "https://a.example:8443/"),
            ("https://a.example", "GET", "https://b.example/"),
            ("https://a.example", "GET", "https://a.example.evil.example/"),
            ("https://*.a.example", "GET", "https://a.example/"),
            ("GET https://a.example", "POST", "https://a.example/"),
            ("https://*", "GET", "https://a.example:444/"),
        ] {
            assert!(!covers(pattern, method, url), "{pattern} {url}");
        }
    }

    #[test]
    fn nonsense_is_no_pattern() {
        for bad in [
            "",
            "a.example",
            "ftp://a",
            "https://",
            "https://a/path",
            "get https://a",
            "https://a:0",
            "https://a:x",
        ] {
            assert!(bad.parse::<HttpPattern>().is_err(), "{bad}");
        }
    }
}
