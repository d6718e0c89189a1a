//! Credentials for registries: where Docker's and Podman's clients keep them.
//!
//! They are read when an image is pulled, handed to the engine, and kept nowhere.

#![expect(
    clippy::disallowed_methods,
    reason = "runs the user's own helpers for credentials, as the engines' clients do"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use sortie_core::secret::Secret;
use sortie_core::text::one_line;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::EngineKind;

/// A helper may ask a service, or a person.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a helper's answer.
const ANSWER: u64 = 1 << 20;
/// The name by which a helper says that its secret is a token.
const TOKEN: &str = "<token>";

/// Who to be at a registry.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    user: String,
    secret: Secret,
    /// Whether the secret is a token that stands for itself.
    is_token: bool,
    registry: String,
}

impl Credentials {
    /// In the form that goes to the engine.
    pub(super) fn expose(&self) -> DockerCredentials {
        let secret = Some(self.secret.expose().to_owned());
        let server = Some(self.registry.clone());
        if self.is_token {
            return DockerCredentials {
                identitytoken: secret,
                serveraddress: server,
                ..DockerCredentials::default()
            };
        }
        let user = Some(self.user.clone());
        DockerCredentials {
            username: user,
            password: secret,
            serveraddress: server,
            ..DockerCredentials::default()
        }
    }

    /// What the engine says, without the secret.
    pub(super) fn scrub(&self, text: &str) -> String {
        self.secret.scrub(text)
    }
}

/// The settings of Docker's client, and the file of Podman's, which has the same form.
#[derive(Default, Deserialize)]
struct Settings {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    user: String,
    #[serde(rename = "Secret")]
    secret: String,
}

/// The registry of an image, and the name under which its credentials are kept: the engine's own for images without
/// a registry in their name.
pub(super) fn registry<'a>(image: &'a str, of_engine: &'a str) -> &'a str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => of_engine,
    }
}

/// What is kept for a registry; none if nothing is.
///
/// # Errors
/// If a file or a helper that should have it does not give it; the text names neither user nor secret.
pub(super) async fn find(
    kind: EngineKind,
    registry: &str,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Credentials>, String> {
    for path in files(kind, variable) {
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        // the parser's own words may hold what it stumbled on
        let settings: Settings = serde_json::from_slice(&text)
            .map_err(|error| format!("{}: line {} is not as expected", path.display(), error.line()))?;
        if let Some(found) = of_settings(&settings, registry).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The files that may have it, first the engine's own.
fn files(kind: EngineKind, variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = path("HOME");
    let docker = path("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker")));
    let docker = docker.map(|folder| folder.join("config.json"));
    let named = path("REGISTRY_AUTH_FILE");
    let runtime = path("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json"));
    let config = path("XDG_CONFIG_HOME").or_else(|| Some(home?.join(".config")));
    let config = config.map(|folder| folder.join("containers/auth.json"));
    let podman = [named, runtime, config];
    match kind {
        EngineKind::Docker => docker.into_iter().chain(podman.into_iter().flatten()).collect(),
        EngineKind::Podman => podman.into_iter().flatten().chain(docker).collect(),
    }
}

async fn of_settings(settings: &Settings, registry: &str) -> Result<Option<Credentials>, String> {
    let helper = settings.helpers.get(registry).or(settings.store.as_ref()).filter(|name| !name.is_empty());
    if let Some(helper) = helper
        && let Some(found) = ask(helper, registry).await?
    {
        return Ok(Some(found));
    }
    let host = |key: &str| {
        let key = key.split_once("://").map_or(key, |(_, rest)| rest);
        key.split('/').next().unwrap_or_default().to_owned()
    };
    let exact = settings.auths.get(registry);
    let entry = exact.or_else(|| {
        settings.auths.iter().find(|(key, _)| host(key) == host(registry)).map(|(_, entry)| entry)
    });
    Ok(entry.and_then(|entry| of_entry(entry, registry)))
}

fn of_entry(entry: &Entry, registry: &str) -> Option<Credentials> {
    let credentials = |user: &str, secret: &str, is_token| Credentials {
        user: user.to_owned(),
        secret: Secret::new(secret),
        is_token,
        registry: registry.to_owned(),
    };
    if let Some(token) = entry.identitytoken.as_deref().filter(|token| !token.is_empty()) {
        return Some(credentials(TOKEN, token, true));
    }
    if let (Some(user), Some(password)) = (&entry.username, &entry.password) {
        return Some(credentials(user, password, false));
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(entry.auth.as_deref()?).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some(credentials(user, password.trim_end_matches('\0'), false))
}

/// Asks a helper, as the engines' clients do; none if it has nothing.
async fn ask(helper: &str, registry: &str) -> Result<Option<Credentials>, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !helper.bytes().all(plain) {
        return Err(format!("`{}` is no name of a helper for credentials", one_line(helper, 100)));
    }
    let program = format!("docker-credential-{helper}");
    let failed = |reason: String| format!("the helper `{program}` {reason}");
    let mut child = tokio::process::Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("does not start: {error}")))?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let stdout = child.stdout.take().expect("it is piped");
    let asked = async {
        // one that ends without reading says why by its status
        let _ = stdin.write_all(registry.as_bytes()).await;
        drop(stdin);
        let mut answer = Vec::new();
        stdout.take(ANSWER).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>((child.wait().await?, answer))
    };
    let asked = tokio::time::timeout(TIMEOUT, asked).await;
    let asked = asked.map_err(|_| failed(format!("does not answer within {} s", TIMEOUT.as_secs())))?;
    let (status, answer) = asked.map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        // its protocol has no other sign for this
        if String::from_utf8_lossy(&answer).contains("credentials not found") {
            return Ok(None);
        }
        return Err(failed(format!("failed ({status}); try it: `echo {registry} | {program} get`")));
    }
    let answer: Answer = serde_json::from_slice(&answer)
        .map_err(|_| failed("gives no answer that is understood".to_owned()))?;
    Ok(Some(Credentials {
        is_token: answer.user == TOKEN,
        user: answer.user,
        secret: Secret::new(answer.secret),
        registry: registry.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_the_part_of_a_name_that_looks_like_a_host() {
        for (image, expected) in [
            ("debian", "usual"),
            ("a/b:1", "usual"),
            ("localhost/a", "localhost"),
            ("127.0.0.1:5000/a/b@sha256:00", "127.0.0.1:5000"),
            ("registry.example/a", "registry.example"),
        ] {
            assert_eq!(registry(image, "usual"), expected, "{image}");
        }
    }

    async fn found(settings: &str, registry: &str) -> Option<DockerCredentials> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("config.json"), settings).expect("written");
        let path = folder.path().as_os_str().to_owned();
        let variable = |name: &str| (name == "DOCKER_CONFIG").then(|| path.clone());
        let found = find(EngineKind::Docker, registry, variable).await.expect("it is read");
        found.map(|found| found.expose())
    }

    #[tokio::test]
    async fn entries_are_found_by_host_and_in_each_of_their_forms() {
        let settings = r#"{"auths": {"https://a.example/v1/": {"auth": "bWU6c2VjOnJldA=="},
            "b.example": {"username": "me", "password": "word"}, "c.example": {"identitytoken": "tok"},
            "d.example": {}, "e.example": {"auth": "%%"}}, "other": 7}"#;
        let user =
            |found: Option<DockerCredentials>| found.map(|it| (it.username, it.password, it.identitytoken));
        let some = |text: &str| Some(text.to_owned());
        let a = user(found(settings, "a.example").await);
        assert_eq!(a, Some((some("me"), some("sec:ret"), None)));
        assert_eq!(user(found(settings, "b.example").await), Some((some("me"), some("word"), None)));
        assert_eq!(user(found(settings, "c.example").await), Some((None, None, some("tok"))));
        for none in ["d.example", "e.example", "example", "x.a.example"] {
            assert_eq!(found(settings, none).await, None, "{none}");
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_named_without_what_is_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("auth.json");
        std::fs::write(&path, r#"{"auths": {"a": {"password": 7, "auth": "s3cr3t" "#).expect("written");
        let variable = |name: &str| (name == "REGISTRY_AUTH_FILE").then(|| path.clone().into_os_string());
        let error = find(EngineKind::Podman, "a", variable).await.expect_err("it is damaged");
        assert!(error.contains("auth.json") && !error.contains("s3cr3t"), "{error}");
        let helper = r#"{"credsStore": "../../bin/evil"}"#;
        std::fs::write(&path, helper).expect("written");
        let error = find(EngineKind::Podman, "a", variable).await.expect_err("it is no name");
        assert!(error.contains("no name of a helper"), "{error}");
    }

    #[test]
    fn credentials_show_nowhere_but_where_they_are_exposed() {
        let entry =
            Entry { username: Some("me".into()), password: Some("s3cr3t".into()), ..Entry::default() };
        let credentials = of_entry(&entry, "a").expect("it is whole");
        assert!(!format!("{credentials:?}").contains("s3cr3t"));
        assert_eq!(credentials.scrub("no such user me:s3cr3t"), "no such user me:****");
    }
}
