//! Names of images, and the registries that a repository's images may come from.
//!
//! An engine pulls over the host's own network, and what it pulls any of its images may be read from. So a name that a
//! repository chose is taken apart here as engines do it, before an engine is asked: what is not understood is refused.

use serde::{Deserialize, Serialize};

use crate::text::one_line;

/// Bytes of a name.
const BYTES: usize = 512;
/// Registries that settings may list.
const REGISTRIES: usize = 1000;
/// Where engines put images of their own registry that have no name of a publisher.
const OFFICIAL: &str = "library";
/// Where one of the engines puts images that were made on this machine.
const LOCAL: &str = "localhost";

/// The name of an image, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageName<'a> {
    /// The registry, as `host` or `host:port`; none for the engine's own.
    pub registry: Option<&'a str>,
    /// The rest before tag and digest.
    pub path: &'a str,
    /// The tag.
    pub tag: Option<&'a str>,
    /// The digest, as `sha256:…`.
    pub digest: Option<&'a str>,
}

impl<'a> ImageName<'a> {
    /// Takes a name apart; none if it is not of the form `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`, as all engines read it. A
    /// whole id is none.
    pub fn parse(name: &'a str) -> Option<Self> {
        if name.len() > BYTES {
            return None;
        }
        let (name, digest) = match name.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (name, None),
        };
        let (registry, rest) = match name.split_once('/') {
            Some((first, rest)) if is_registry(first) => (Some(first), rest),
            _ => (None, name),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        let is_id = registry.is_none() && (path == "sha256" || path.len() == 64 && path.bytes().all(is_hex));
        let fits = registry.is_none_or(is_host)
            && path.split('/').all(is_component)
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest);
        (fits && !is_id).then_some(Self { registry, path, tag, digest })
    }

    /// Whether this is what an engine calls one of its images that it was asked for by the name: engines leave out, or
    /// add, what goes without saying.
    pub fn is_of(&self, called: &str) -> bool {
        let Some(called) = ImageName::parse(called) else { return false };
        let is_version = match self.digest {
            Some(digest) => called.digest == Some(digest),
            None => called.digest.is_none() && called.tag.unwrap_or("latest") == self.tag.unwrap_or("latest"),
        };
        let is_path = without_publisher(called.path) == without_publisher(self.path);
        let is_place = match (self.registry, called.registry) {
            (Some(wanted), Some(found)) => wanted.eq_ignore_ascii_case(found),
            // of its own registry one engine leaves out the host, and the other never does
            (_, None) | (None, Some(LOCAL)) => true,
            (None, Some(_)) => called.path.contains('/'),
        };
        is_version && is_path && is_place
    }
}

fn without_publisher(path: &str) -> &str {
    path.strip_prefix(OFFICIAL).and_then(|rest| rest.strip_prefix('/')).unwrap_or(path)
}

/// Whether engines read the first part of a name as a registry.
fn is_registry(first: &str) -> bool {
    first == LOCAL || first.contains(['.', ':']) || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// `host` or `host:port`.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    !host.is_empty()
        && host.bytes().all(plain)
        && host.starts_with(|c: char| c.is_ascii_alphanumeric())
        && host.ends_with(|c: char| c.is_ascii_alphanumeric())
        && port.is_none_or(|port| {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse().is_ok_and(|port: u16| port != 0)
        })
}

fn is_component(part: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let plain = |byte: u8| is_plain(byte) || b"._-".contains(&byte);
    part.bytes().all(plain)
        && part.bytes().next().is_some_and(is_plain)
        && part.bytes().last().is_some_and(is_plain)
}

fn is_tag(tag: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !tag.is_empty() && tag.len() <= 128 && tag.bytes().all(plain) && !tag.starts_with(['.', '-'])
}

fn is_digest(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(is_hex))
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

/// Registries that images may be pulled from whose names a repository chose, beside the engine's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct ImageRegistries(Vec<String>);

impl ImageRegistries {
    /// Those of both.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Whether a repository may choose an image of this name.
    ///
    /// # Errors
    /// If it is of another registry than these and the engine's own, or no name that all engines read alike.
    pub fn check(&self, image: &str) -> Result<(), UnwantedImage> {
        let name =
            ImageName::parse(image).ok_or_else(|| UnwantedImage::NoName { image: one_line(image, 200) })?;
        match name.registry {
            Some(registry) if !self.0.iter().any(|listed| listed.eq_ignore_ascii_case(registry)) => {
                Err(UnwantedImage::Registry { image: one_line(image, 200), registry: registry.to_owned() })
            }
            _ => Ok(()),
        }
    }
}

impl TryFrom<Vec<String>> for ImageRegistries {
    type Error = String;

    fn try_from(hosts: Vec<String>) -> Result<Self, String> {
        if hosts.len() > REGISTRIES {
            return Err(format!("more than {REGISTRIES} registries"));
        }
        match hosts.iter().find(|host| !is_host(host)) {
            Some(host) => {
                Err(format!("`{}` is no registry; write `host` or `host:port`", one_line(host, 100)))
            }
            None => Ok(Self(hosts)),
        }
    }
}

impl From<ImageRegistries> for Vec<String> {
    fn from(registries: ImageRegistries) -> Self {
        registries.0
    }
}

/// Why a repository does not choose an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnwantedImage {
    /// It would have the engine call a registry that nobody listed.
    #[error(
        "the repository names the image `{image}`, and the engine calls no registry that a repository chose; \
         `image_registries = [\"{registry}\"]` below `[workspace]` in your settings lets it call `{registry}`"
    )]
    Registry {
        /// The image.
        image: String,
        /// Its registry.
        registry: String,
    },
    /// It is no name.
    #[error(
        "the repository names the image `{image}`, which is no name that all engines read alike; a name is \
         `[HOST[:PORT]/]NAME[:TAG][@sha256:…]` in lower-case letters"
    )]
    NoName {
        /// What it names.
        image: String,
    },
    /// The engine has an image of this id, and none of this name.
    #[error(
        "the repository names the image `{image}`, which the engine has as an id and not as a name; a repository chooses \
         images by name"
    )]
    Id {
        /// What it names.
        image: String,
    },
    /// What the engine has by this name is what some task made.
    #[error(
        "the repository names the image `{image}`, which a task of Sortie's made or which has its labels (`{label}`); \
         such images are their tasks' alone"
    )]
    Ours {
        /// Its name.
        image: String,
        /// One of its labels.
        label: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_registry_where_engines_see_one() {
        let registry = |name| ImageName::parse(name).map(|name| name.registry);
        let digest = format!("a@sha256:{}", "0".repeat(64));
        for own in ["a", "a:1", "a/b", "a/b/c:1.2-x", "a_b/c__d:A", &digest] {
            assert_eq!(registry(own), Some(None), "{own}");
        }
        for (name, host) in [
            ("a.b/c", "a.b"),
            ("a:1/c:2", "a:1"),
            ("localhost/c", "localhost"),
            ("127.0.0.1:5000/x/y:1", "127.0.0.1:5000"),
            // engines of today call it
            ("Host/c", "Host"),
        ] {
            assert_eq!(registry(name), Some(Some(host)), "{name}");
        }
        let id = "0123456789abcdef".repeat(4);
        let long = "x".repeat(600);
        for none in [
            "",
            ":1",
            "a:",
            "a@",
            "a b",
            "A",
            "a/B",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a:1:2",
            "dir:/etc",
            "docker-daemon:a:1",
            "a:x/y",
            "a:0/y",
            "a:99999/y",
            "[::1]:5/a",
            "http://a/b",
            "a:1@b",
            "a@sha256:00",
            "$A",
            &id,
            &long,
            "a:.x",
            "sha256:0123",
            ".a/b",
            "a.b.:5/c",
            "a?b",
            "\u{e9}/a",
        ] {
            assert_eq!(ImageName::parse(none), None, "{none}");
        }
        assert_eq!(ImageName::parse(&format!("sha256:{id}")), None);
    }

    #[test]
    fn images_of_a_repository_come_from_the_engines_registry_or_a_listed_one() {
        let listed = |hosts: &[&str]| {
            ImageRegistries::try_from(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>())
        };
        let none = ImageRegistries::default();
        assert_eq!(none.check("a/b:1"), Ok(()));
        let said = none.check("127.0.0.1:5000/x:1").expect_err("nobody listed it").to_string();
        assert!(
            said.contains("`127.0.0.1:5000/x:1`") && said.contains("image_registries = [\"127.0.0.1:5000\"]")
        );
        assert!(!said.contains('\n'));
        assert!(none.check("a b").is_err());
        let some = listed(&["A.b", "c:5000"]).expect("they are hosts");
        for (image, is_allowed) in [
            ("a.b/x", true),
            ("c:5000/x", true),
            ("a.b:443/x", false),
            ("c:5001/x", false),
            ("x.a.b/x", false),
        ] {
            assert_eq!(some.check(image).is_ok(), is_allowed, "{image}");
        }
        assert!(none.and(some).check("a.b/x").is_ok());
        for wrong in ["", "*.b", "https://a", "a/b", "a:b", ":1", "a b"] {
            assert!(listed(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_image_is_the_one_that_was_asked_for_if_it_is_called_so() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let is_of = |name: &str, called: &str| ImageName::parse(name).expect("a name").is_of(called);
        for (name, called) in [
            ("a", "a:latest"),
            ("a:1", "a:1"),
            ("a:1", "example.org/library/a:1"),
            ("a:1", "localhost/a:1"),
            ("b/a:1", "example.org/b/a:1"),
            ("example.org/a:1", "example.org/a:1"),
            ("example.org/a:1", "a:1"),
            ("example.org/library/a:1", "a:1"),
            ("library/a", "a:latest"),
        ] {
            assert!(is_of(name, called), "{name} {called}");
        }
        assert!(is_of(&format!("a:1@{digest}"), &format!("a@{digest}")));
        for (name, called) in [
            ("13", "a:13"),
            ("13", "b/13:latest"),
            ("13", "example.org/13:latest"),
            ("a:1", "a:2"),
            ("a", "<none>:<none>"),
            ("example.org/a", "example.com/a:latest"),
        ] {
            assert!(!is_of(name, called), "{name} {called}");
        }
        assert!(!is_of(&format!("a@{digest}"), "a:latest") && !is_of("a", &format!("a@{digest}")));
    }
}
