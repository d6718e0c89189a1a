//! Addresses that Git can fetch from and push to.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use sortie_core::Secret;
use url::Url;

use super::{LocalRepository, SourceError};

/// Where Git fetches from or pushes to. Only these transports exist here:
/// `ext::` and the like run programs, `git://` and `http://` are neither
/// authenticated nor private.
#[derive(Clone)]
pub(crate) enum Address {
    /// HTTPS; the URL is without user and password.
    Https { url: String, credentials: Option<Credentials> },
    /// SSH, as a URL or as `user@host:path`, without a password.
    Ssh(String),
    /// The git folder of a repository of this machine, absolute.
    Local(PathBuf),
}

/// User and password that stood in a URL.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) user: Secret,
    pub(crate) password: Secret,
}

/// What a text was that is no path.
pub(super) enum Parsed {
    Remote(Address),
    File(PathBuf),
}

impl Address {
    /// Parses a URL or `user@host:path`; none if the text is a path.
    pub(super) fn parse_url(text: &str) -> Result<Option<Parsed>, SourceError> {
        if text.is_empty() {
            return Err(SourceError::malformed(text, "it is empty"));
        }
        if text.chars().any(char::is_control) || text.len() > 4000 {
            return Err(SourceError::malformed(
                "…",
                "it has control characters or is longer than 4000 bytes",
            ));
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return parse_scheme(scheme, text).map(Some);
        }
        if text.split('/').next().is_some_and(|head| head.contains("::")) {
            return Err(SourceError::malformed(
                text.split("::").next().unwrap_or_default(),
                "transport helpers are not used; hint: `https://…`, `ssh://…` or a path",
            ));
        }
        Ok(parse_scp(text)?.map(|ssh| Parsed::Remote(Self::Ssh(ssh))))
    }

    /// The address that a local repository's config names as its `origin`;
    /// relative paths count from `root`.
    pub(super) fn parse_origin(text: &str, root: &Path) -> Result<Self, SourceError> {
        let path = match Self::parse_url(text)? {
            Some(Parsed::Remote(address)) => return Ok(address),
            Some(Parsed::File(path)) => path,
            None if text.starts_with('-') => {
                return Err(SourceError::malformed(text, "it looks like an option"));
            }
            None => root.join(text),
        };
        Ok(Self::Local(LocalRepository::destination(&path)?))
    }

    /// The address without credentials.
    pub(crate) fn masked(&self) -> String {
        match self {
            Self::Https { url, .. } => url.clone(),
            Self::Ssh(text) => text.clone(),
            Self::Local(path) => path.display().to_string(),
        }
    }

    /// The address as an argument of Git: never an option, never a secret.
    pub(crate) fn argument(&self) -> OsString {
        match self {
            Self::Https { url, .. } => url.into(),
            Self::Ssh(text) => text.into(),
            Self::Local(path) => path.into(),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

fn parse_scheme(scheme: &str, text: &str) -> Result<Parsed, SourceError> {
    let bare = without_userinfo(text);
    let malformed = |reason: &str| SourceError::malformed(&bare, reason);
    match scheme.to_ascii_lowercase().as_str() {
        "https" | "ssh" | "git+ssh" | "ssh+git" | "file" => {}
        "http" => return Err(malformed("`http://` is not private; hint: use `https://`")),
        "git" => return Err(malformed("`git://` is not authenticated; hint: use `https://` or `ssh://`")),
        _ => return Err(malformed("only `https://`, `ssh://` and `file://` are used")),
    }
    let url = Url::parse(text).map_err(|error| malformed(&format!("it does not parse as a URL: {error}")))?;
    match url.scheme() {
        "https" => parse_https(url, &bare),
        "file" => url
            .to_file_path()
            .map(Parsed::File)
            .map_err(|()| malformed("`file://` takes an absolute path on this machine")),
        _ => parse_ssh(url, &bare),
    }
}

fn parse_https(mut url: Url, bare: &str) -> Result<Parsed, SourceError> {
    if url.host_str().is_none_or(str::is_empty) || url.query().is_some() || url.fragment().is_some() {
        let place = bare.split(['?', '#']).next().unwrap_or_default();
        return Err(SourceError::malformed(place, "it has no host, or a query or fragment"));
    }
    let decoded = |text: &str| Secret::new(percent_decoded(text));
    let user = (!url.username().is_empty()).then(|| decoded(url.username()));
    let password = url.password().map(decoded);
    let credentials = (user.is_some() || password.is_some()).then(|| Credentials {
        user: user.unwrap_or_else(|| Secret::new("")),
        password: password.unwrap_or_else(|| Secret::new("")),
    });
    let stripped = url.set_username("").and_then(|()| url.set_password(None));
    stripped.map_err(|()| SourceError::malformed(bare, "its credentials cannot be taken out"))?;
    Ok(Parsed::Remote(Address::Https { url: url.into(), credentials }))
}

fn parse_ssh(mut url: Url, bare: &str) -> Result<Parsed, SourceError> {
    let host = url.host_str().unwrap_or_default();
    if !is_plain_host(host.trim_start_matches('[').trim_end_matches(']')) || !is_plain_user(url.username()) {
        return Err(SourceError::malformed(bare, "its host or user is not one that ssh can be given"));
    }
    if url.path().trim_start_matches('/').is_empty() || url.path().starts_with("/-") {
        return Err(SourceError::malformed(bare, "it has no path, or one that looks like an option"));
    }
    // ssh does not take a password from a URL
    url.set_password(None).map_err(|()| SourceError::malformed(bare, "its password cannot be taken out"))?;
    Ok(Parsed::Remote(Address::Ssh(url.into())))
}

/// `user@host:path`, where the colon comes before the first slash.
fn parse_scp(text: &str) -> Result<Option<String>, SourceError> {
    let Some((place, path)) = text.split_once(':') else { return Ok(None) };
    if place.contains('/') {
        return Ok(None);
    }
    let (user, host) = place.rsplit_once('@').unwrap_or(("", place));
    if user.contains(':') || path.contains('@') && user.is_empty() {
        return Err(SourceError::malformed(host, "it looks like a URL without its scheme"));
    }
    if !is_plain_host(host) || !is_plain_user(user) || path.is_empty() || path.starts_with('-') {
        return Err(SourceError::malformed(
            text,
            "it looks like `user@host:path`, but is not one that ssh can be given",
        ));
    }
    Ok(Some(text.to_owned()))
}

fn is_plain_host(host: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    !host.is_empty() && !host.starts_with('-') && host.chars().all(plain)
}

fn is_plain_user(user: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
    !user.starts_with('-') && user.chars().all(plain)
}

/// The URL without what stands between scheme and host, for messages about
/// URLs that do not even parse.
fn without_userinfo(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    // up to the last `@`, because a password may hold a slash
    let shown = rest.rsplit_once('@').map_or(rest, |(_, shown)| shown);
    format!("{scheme}://{shown}")
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match digits.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(text: &str) -> Address {
        match Address::parse_url(text) {
            Ok(Some(Parsed::Remote(address))) => address,
            Ok(_) => panic!("{text}: not remote"),
            Err(error) => panic!("{text}: {error}"),
        }
    }

    #[test]
    fn credentials_of_a_url_are_kept_apart_and_shown_nowhere() {
        let address = remote("https://me:to%2fken-5@host.example:8443/a/b.git");
        assert_eq!(address.masked(), "https://host.example:8443/a/b.git");
        assert_eq!(address.argument(), "https://host.example:8443/a/b.git");
        let Address::Https { credentials: Some(credentials), .. } = &address else {
            panic!("no credentials")
        };
        assert_eq!((credentials.user.expose(), credentials.password.expose()), ("me", "to/ken-5"));
        assert!(!format!("{address:?}").contains("ken"));
        assert_eq!(remote("ssh://git:token-5@host/a").masked(), "ssh://git@host/a");
    }

    #[test]
    fn errors_about_urls_hold_no_credentials() {
        for text in [
            "http://me:token-5@host/a",
            "https://me:to/token-5@host/a",
            "https://me:token-5@host:99999/a",
            "https://me:token-5@/a",
            "ftp://token-5@host/a",
            "https://host/a?private_token=token-5",
            "me:token-5@host/a",
        ] {
            let error = Address::parse_url(text).err().unwrap_or_else(|| panic!("{text} is refused"));
            assert!(!error.to_string().contains("token-5"), "{error}");
        }
    }

    #[test]
    fn forms_that_run_programs_or_look_like_options_are_refused() {
        for text in [
            "ext::sh -c date",
            "fd::17",
            "git://host/a",
            "ssh://-oProxyCommand=date/a",
            "ssh://-Fevil/a",
            "ssh://-l@host/a",
            "-oProxyCommand=date:a",
            "-Fevil:a",
            "host:-a",
            "git@host:",
            "ssh://host/-a",
            "ssh://host",
            "file://host/a",
            "https://host/a\nb",
            "",
        ] {
            assert!(Address::parse_url(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_usual_forms_are_taken_as_they_are() {
        for text in
            ["git@host.example:team/a.git", "host:a", "ssh://git@host:2222/team/a.git", "https://host/a.git"]
        {
            assert_eq!(remote(text).masked(), text);
        }
        for path in ["a", "./a:b", "/srv/a:b", "..", "a/b"] {
            assert!(matches!(Address::parse_url(path), Ok(None)), "{path}");
        }
    }
}
