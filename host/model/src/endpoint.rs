//! Where requests go.

use url::{Host, Url};

/// A base URL that was checked.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    base: Url,
}

impl Endpoint {
    /// Checks a base URL.
    ///
    /// # Errors
    /// What is wrong with it. The text never repeats credentials in it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut base = Url::parse(text).map_err(|error| format!("it is not a URL: {error}"))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(format!("its scheme is `{}`, not http or https", base.scheme()));
        }
        if base.host().is_none() {
            return Err("it names no host".into());
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err("it holds a user name or a password, which would show in logs".into());
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err("it has a query or a fragment".into());
        }
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(&path);
        Ok(Self { base })
    }

    /// The URL of a resource under the base; `path` begins with a slash.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let base = self.base.path().trim_end_matches('/');
        // who writes the `/v1` that the resource has itself means it once
        let path = if base.ends_with("/v1") { path.strip_prefix("/v1").unwrap_or(path) } else { path };
        url.set_path(&format!("{base}{path}"));
        url
    }

    /// Scheme, host and port; the port is left out if it is the scheme's own.
    pub(crate) fn origin(&self) -> String {
        self.base.origin().ascii_serialization()
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// Whether the host is this one, by an address or by the name that is
    /// reserved for it.
    pub(crate) fn is_loopback(&self) -> bool {
        match self.base.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            None => false,
        }
    }

    pub(crate) fn ends_in_v1(&self) -> bool {
        self.base.path().ends_with("/v1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_join_with_and_without_a_slash_at_the_end() {
        for base in ["http://localhost:8000/v1", "http://localhost:8000/v1/"] {
            let endpoint = Endpoint::parse(base).expect("is fine");
            assert_eq!(endpoint.url("/responses").as_str(), "http://localhost:8000/v1/responses");
            assert_eq!(endpoint.url("/v1/messages").as_str(), "http://localhost:8000/v1/messages");
        }
        let endpoint = Endpoint::parse("https://example.org").expect("is fine");
        assert_eq!(endpoint.url("/v1/messages").as_str(), "https://example.org/v1/messages");
        assert_eq!(endpoint.origin(), "https://example.org");
    }

    #[test]
    fn a_base_url_with_credentials_is_refused_without_repeating_them() {
        let error = Endpoint::parse("https://user:hunter2@example.org/v1").expect_err("is refused");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn what_is_no_base_url_is_refused() {
        for text in
            ["", "localhost:8000", "ftp://example.org", "file:///etc/passwd", "https://example.org/?a=b"]
        {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn loopback_is_told_by_address_and_reserved_name_alone() {
        let loopback = |text: &str| Endpoint::parse(text).expect("is a URL").is_loopback();
        for text in [
            "http://127.0.0.1:1",
            "http://127.9.9.9",
            "http://[::1]:1",
            "http://LOCALHOST",
            "http://a.localhost",
        ] {
            assert!(loopback(text), "{text}");
        }
        for text in ["http://192.168.1.1", "http://localhost.example.org", "http://127.0.0.1.example.org"] {
            assert!(!loopback(text), "{text}");
        }
    }
}
