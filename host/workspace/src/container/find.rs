//! Where an engine's socket is: as the clients of Docker and Podman find it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sortie_core::digest::Digest;

use super::error::EngineError;

/// Where an engine may listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) socket: PathBuf,
    /// What named it.
    pub(super) named: String,
}

/// The part of Docker's client settings that we need.
#[derive(Deserialize)]
struct ClientSettings {
    #[serde(rename = "currentContext")]
    current_context: Option<String>,
}

/// A context of Docker's client.
#[derive(Deserialize)]
struct Context {
    #[serde(rename = "Endpoints")]
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    docker: Address,
}

#[derive(Deserialize)]
struct Address {
    #[serde(rename = "Host")]
    host: String,
}

/// The places to try, best first. What is named is the only one; without a name, the usual sockets that exist.
pub(super) fn endpoints(
    variable: impl Fn(&str) -> Option<OsString>,
    exists: impl Fn(&Path) -> bool,
) -> Result<Vec<Endpoint>, EngineError> {
    let text =
        |name: &str| variable(name).and_then(|value| value.into_string().ok()).filter(|v| !v.is_empty());
    for name in ["DOCKER_HOST", "CONTAINER_HOST"] {
        if let Some(address) = text(name) {
            return Ok(vec![endpoint(&address, name.to_owned())?]);
        }
    }
    if let Some(found) = context(&text)? {
        return Ok(vec![found]);
    }
    let usual = usual(text("XDG_RUNTIME_DIR").map(PathBuf::from));
    let found: Vec<_> = usual.iter().filter(|socket| exists(socket)).cloned().collect();
    if found.is_empty() {
        let looked: Vec<_> = usual.iter().map(|socket| socket.display().to_string()).collect();
        return Err(EngineError::Absent { looked: looked.join(", ") });
    }
    let named = |socket| Endpoint { socket, named: "its usual place".to_owned() };
    Ok(found.into_iter().map(named).collect())
}

/// The usual places where a socket is, but for those that were looked at. Two names of one socket are one.
pub(super) fn others(
    variable: impl Fn(&str) -> Option<OsString>,
    exists: impl Fn(&Path) -> bool,
    looked_at: &[Endpoint],
) -> Vec<Endpoint> {
    let real = |socket: &Path| socket.canonicalize().unwrap_or_else(|_| socket.to_owned());
    let mut seen: Vec<_> = looked_at.iter().map(|endpoint| real(&endpoint.socket)).collect();
    let runtime = variable("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut found: Vec<_> = usual(runtime).into_iter().filter(|socket| exists(socket)).collect();
    found.retain(|socket| {
        let real = real(socket);
        let is_new = !seen.contains(&real);
        seen.push(real);
        is_new
    });
    found.into_iter().map(|socket| Endpoint { socket, named: "its usual place".to_owned() }).collect()
}

/// Rootful before rootless, Docker before Podman.
fn usual(runtime: Option<PathBuf>) -> Vec<PathBuf> {
    let mut sockets = vec![PathBuf::from("/var/run/docker.sock"), PathBuf::from("/run/podman/podman.sock")];
    if let Some(runtime) = runtime {
        sockets.extend([runtime.join("docker.sock"), runtime.join("podman/podman.sock")]);
    }
    sockets
}

/// The context that Docker's client is set to, unless it is the default one.
fn context(text: &impl Fn(&str) -> Option<String>) -> Result<Option<Endpoint>, EngineError> {
    let settings =
        text("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(Path::new(&text("HOME")?).join(".docker")));
    let Some(settings) = settings else { return Ok(None) };
    let chosen = text("DOCKER_CONTEXT").or_else(|| {
        let text = std::fs::read(settings.join("config.json")).ok()?;
        serde_json::from_slice::<ClientSettings>(&text).ok()?.current_context
    });
    let Some(context) = chosen.filter(|context| !context.is_empty() && context != "default") else {
        return Ok(None);
    };
    // its folder is named by the digest of its name
    let folder = Digest::of(context.as_bytes()).to_string();
    let path = settings.join("contexts/meta").join(folder).join("meta.json");
    let failed =
        |reason: String| EngineError::Context { context: context.clone(), path: path.clone(), reason };
    let text = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
    let read: Context = serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
    endpoint(&read.endpoints.docker.host, format!("Docker's context `{context}`")).map(Some)
}

/// Only sockets of this machine pass descriptors and share its files.
fn endpoint(address: &str, named: String) -> Result<Endpoint, EngineError> {
    let socket = address.strip_prefix("unix://").map(PathBuf::from).filter(|path| path.is_absolute());
    match socket {
        Some(socket) => Ok(Endpoint { socket, named }),
        None => Err(EngineError::Elsewhere { address: address.to_owned(), named }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(variables: &[(&str, &str)], sockets: &[&str]) -> Result<Vec<PathBuf>, String> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        let exists = |path: &Path| sockets.iter().any(|socket| path == Path::new(socket));
        let found = endpoints(variable, exists).map_err(|error| error.to_string())?;
        Ok(found.into_iter().map(|endpoint| endpoint.socket).collect())
    }

    #[test]
    fn a_named_socket_is_the_only_one() {
        let found = find(&[("DOCKER_HOST", "unix:///a/b.sock")], &["/var/run/docker.sock"]);
        assert_eq!(found, Ok(vec!["/a/b.sock".into()]));
    }

    #[test]
    fn an_engine_elsewhere_is_refused_by_name() {
        for address in ["tcp://10.0.0.1:2375", "ssh://host", "http://localhost", "fd://", "unix://relative"] {
            let error = find(&[("DOCKER_HOST", address)], &[]).expect_err("it is not here");
            assert!(error.contains(address) && error.contains("DOCKER_HOST"), "{error}");
        }
    }

    #[test]
    fn usual_sockets_are_tried_with_those_of_the_user_last() {
        let there = ["/run/user/7/podman/podman.sock", "/var/run/docker.sock"];
        let found = find(&[("XDG_RUNTIME_DIR", "/run/user/7")], &there);
        assert_eq!(found, Ok(vec![there[1].into(), there[0].into()]));
        let error = find(&[], &[]).expect_err("there is none");
        assert!(error.contains("/var/run/docker.sock") && error.contains("hint: "), "{error}");
    }

    #[test]
    fn other_engines_are_found_though_one_is_named() {
        let podman = Path::new("/run/podman/podman.sock");
        let at = |socket: &str| Endpoint { socket: socket.into(), named: String::new() };
        let found = |looked_at: &str| others(|_| None, |path| path == podman, &[at(looked_at)]);
        let sockets: Vec<_> = found("/a/b.sock").into_iter().map(|endpoint| endpoint.socket).collect();
        assert_eq!(sockets, [podman]);
        assert_eq!(found("/run/podman/podman.sock"), []);
    }

    #[test]
    fn the_context_of_dockers_client_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = folder.path().to_str().expect("it is text").to_owned();
        let variables = [("DOCKER_CONFIG", settings.as_str())];
        assert_eq!(find(&variables, &["/var/run/docker.sock"]), Ok(vec!["/var/run/docker.sock".into()]));
        std::fs::write(folder.path().join("config.json"), r#"{"currentContext":"rootless"}"#)
            .expect("written");
        let error = find(&variables, &[]).expect_err("the context is not there");
        assert!(error.contains("`rootless`"), "{error}");
        let meta = folder.path().join("contexts/meta").join(Digest::of(b"rootless").to_string());
        std::fs::create_dir_all(&meta).expect("made");
        let text = r#"{"Name":"rootless","Endpoints":{"docker":{"Host":"unix:///run/user/7/docker.sock"}}}"#;
        std::fs::write(meta.join("meta.json"), text).expect("written");
        assert_eq!(find(&variables, &[]), Ok(vec!["/run/user/7/docker.sock".into()]));
    }
}
