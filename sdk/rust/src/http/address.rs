//! The parts of a URL that a request consists of.

use crate::{Error, Result};

/// The parts of a URL that a request consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Whether the scheme is `https`.
    pub(crate) secure: bool,
    /// Host and, if given, port.
    pub(crate) authority: String,
    /// Path and query; starts with `/`.
    pub(crate) path: String,
}

impl Address {
    /// Takes a URL apart. The host checks it again.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let bad = |why: &str| Error::invalid(format!("{url:.200?} is not a URL to request: {why}"));
        if url.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(bad("spaces, control characters and `\\` must be percent-encoded"));
        }
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("it has no scheme"))?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(bad("its scheme is neither http nor https")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.is_empty() || authority.starts_with(':') {
            return Err(bad("it names no host"));
        }
        if authority.contains('@') {
            return Err(bad("it carries a user or a password"));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { secure, authority: authority.to_owned(), path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let cases = [
            ("https://a.example", true, "a.example", "/"),
            ("HTTP://a.example:8080/x/y?z=1#part", false, "a.example:8080", "/x/y?z=1"),
            ("http://[::1]:80?q", false, "[::1]:80", "/?q"),
            ("http://a.example/@user?u=http://b", false, "a.example", "/@user?u=http://b"),
        ];
        for (url, secure, authority, path) in cases {
            let expected = Address { secure, authority: authority.into(), path: path.into() };
            assert_eq!(Address::parse(url).expect(url), expected);
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for url in [
            "a.example",
            "ftp://a.example",
            "file:///etc/passwd",
            "http://",
            "http://:80/",
            "http:///x",
            "http://good.example@evil.example/",
            "http://a.example/ x",
            "http://a.example/\r\nhost: b",
            "http://a.example\\@b.example/",
            "http://a.example\\.evil.example/",
        ] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }
}
