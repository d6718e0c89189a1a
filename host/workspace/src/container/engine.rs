//! The engine: which one answers, and whether it can hold a workspace.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::query_parameters::ListContainersOptions;
use bollard::{API_DEFAULT_VERSION, Docker};
use rustix::fs::Access;
use rustix::io::Errno;

use super::OWNER_LABEL;
use super::error::{EngineError, reason};
use super::find::{Endpoint, endpoints};

/// Docker 20.10's version of the API; Podman 4 speaks it too.
const API_WANTED: (u16, u16) = (1, 41);
const API_WANTED_TEXT: &str = "1.41";

/// Seconds for an answer; pulling and committing answer piecewise.
const TIMEOUT: u64 = 120;

/// A container engine on this machine.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(super) api: Docker,
    /// What it confines containers with.
    pub(super) security: Vec<String>,
    about: About,
}

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Docker or Podman.
    pub kind: EngineKind,
    /// Its version.
    pub version: String,
    /// Whether it runs without root.
    pub rootless: bool,
    /// Its socket.
    pub socket: PathBuf,
    /// What named the socket.
    pub named: String,
    /// 1 or 2.
    pub cgroups: u8,
    /// Limits that it cannot keep: `memory`, `processes`, `processor time`.
    pub lacks: Vec<&'static str>,
}

/// Whose engine it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// Docker, or one that says that it is.
    Docker,
    /// Podman.
    Podman,
}

impl std::fmt::Display for EngineKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Docker => "Docker",
            Self::Podman => "Podman",
        })
    }
}

impl Engine {
    /// Finds the engine as the clients of Docker and Podman do: `DOCKER_HOST`, `CONTAINER_HOST`, the context of
    /// Docker's client, then the usual sockets of the machine and of the user; the first that answers.
    ///
    /// # Errors
    /// Says what was tried and what would help. An engine on another machine or under another kernel is refused.
    pub async fn connect() -> Result<Self, EngineError> {
        let endpoints = endpoints(|name| std::env::var_os(name), Path::exists)?;
        let mut first = None;
        for endpoint in endpoints {
            match Self::of(endpoint).await {
                Ok(engine) => return Ok(engine),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.expect("there is at least one place to try, or an error"))
    }

    async fn of(endpoint: Endpoint) -> Result<Self, EngineError> {
        let api = api(&endpoint).await?;
        let silent = |error| silent(&endpoint, &error);
        let version = api.version().await.map_err(silent)?;
        let found = version.api_version.unwrap_or_default();
        if number(&found).is_none_or(|found| found < API_WANTED) {
            return Err(EngineError::Old { found, wanted: API_WANTED_TEXT });
        }
        let info = api.info().await.map_err(silent)?;
        let ours = rustix::system::uname().release().to_string_lossy().into_owned();
        let theirs = info.kernel_version.unwrap_or_default();
        if theirs != ours {
            return Err(EngineError::OtherKernel { theirs, ours });
        }
        let components = version.components.unwrap_or_default();
        let podman = components.iter().any(|component| component.name.starts_with("Podman"));
        let kind = if podman { EngineKind::Podman } else { EngineKind::Docker };
        let security = info.security_options.unwrap_or_default();
        let rootless = security.iter().any(|option| option.contains("name=rootless"));
        let cgroups = match info.cgroup_version {
            Some(bollard::models::SystemInfoCgroupVersionEnum::_2) => 2,
            _ => 1,
        };
        let limits = [
            ("memory", info.memory_limit),
            ("processes", info.pids_limit),
            ("processor time", info.cpu_cfs_quota),
        ];
        // Podman leaves them out where it keeps them
        let lacks =
            limits.into_iter().filter(|(_, kept)| *kept == Some(false)).map(|(name, _)| name).collect();
        let about = About {
            kind,
            version: version.version.unwrap_or_default(),
            rootless,
            socket: endpoint.socket,
            named: endpoint.named,
            cgroups,
            lacks,
        };
        Ok(Self { api, security, about })
    }

    /// Removes containers of an owner that were made this long ago and never started: their host was killed in
    /// between. One that was started ends with its host, and the engine removes it. Returns how many there were.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn remove_abandoned(&self, owner: &str, age: Duration) -> Result<usize, EngineError> {
        let filters = HashMap::from([
            ("label".to_owned(), vec![format!("{OWNER_LABEL}={owner}")]),
            ("status".to_owned(), vec!["created".to_owned()]),
        ]);
        let options = ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
        let failed = |error| silent(&self.endpoint(), &error);
        let listed = self.api.list_containers(Some(options)).await.map_err(failed)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let old = |created: Option<i64>| {
            let created = u64::try_from(created.unwrap_or_default()).unwrap_or_default();
            now.saturating_sub(Duration::from_secs(created)) >= age
        };
        let mut removed = 0;
        for id in
            listed.into_iter().filter(|container| old(container.created)).filter_map(|container| container.id)
        {
            super::remove(&self.api, &id).await;
            removed += 1;
        }
        Ok(removed)
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint { socket: self.about.socket.clone(), named: self.about.named.clone() }
    }

    /// What it says of itself.
    pub fn about(&self) -> &About {
        &self.about
    }
}

/// Agrees on a version of the API.
async fn api(endpoint: &Endpoint) -> Result<Docker, EngineError> {
    let socket = endpoint.socket.to_string_lossy();
    let docker = Docker::connect_with_unix(&socket, TIMEOUT, API_DEFAULT_VERSION)
        .map_err(|error| silent(endpoint, &error))?;
    docker.negotiate_version().await.map_err(|error| silent(endpoint, &error))
}

fn silent(endpoint: &Endpoint, error: &bollard::errors::Error) -> EngineError {
    let hint = match rustix::fs::access(&endpoint.socket, Access::WRITE_OK) {
        Err(Errno::ACCESS) => {
            "this user may not use it: `sudo usermod -aG docker $USER` and a new login, or a rootless engine"
        }
        _ => "start it: `systemctl start docker`, or `systemctl --user start podman.socket`",
    };
    EngineError::Silent {
        socket: endpoint.socket.clone(),
        named: endpoint.named.clone(),
        reason: reason(error),
        hint,
    }
}

fn number(version: &str) -> Option<(u16, u16)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(number("1.9") < Some(API_WANTED) && number("1.100") > Some(API_WANTED));
        assert_eq!(number("1.41"), Some(API_WANTED));
        assert_eq!(number("latest"), None);
    }
}
