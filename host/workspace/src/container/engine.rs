//! The engine: which one answers, and whether it can hold a workspace.

#![expect(
    clippy::disallowed_methods,
    reason = "asks who answers at an engine's socket, which the engine's client then calls"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use rustix::fs::Access;
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::error::{EngineError, reason};
use super::find::{Endpoint, endpoints, others};
use crate::sandbox::{Enforced, Keeper, Limits, Reduced};

/// Docker 20.10's version of the API; Podman 4 speaks it too.
const API_WANTED: (u16, u16) = (1, 41);
const API_WANTED_TEXT: &str = "1.41";

/// Where cgroups of version 2 are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Seconds for an answer; pulling and committing answer piecewise.
const TIMEOUT: u64 = 120;

/// A container engine on this machine.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(super) api: Docker,
    /// What it confines containers with.
    pub(super) security: Vec<String>,
    /// Whose images those are that name no registry, as its client's credentials name it.
    pub(super) registry: String,
    /// Where it keeps containers.
    pub(super) root: Option<PathBuf>,
    /// Bytes that images leave free there.
    pub(super) free: u64,
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

impl About {
    /// Who keeps which limit: cgroups, where the engine does not say that it cannot.
    pub fn enforced(&self) -> Enforced {
        let keeps = |reduced: Reduced| !self.lacks.contains(&reduced.limit());
        let keeper = |reduced| if keeps(reduced) { Keeper::Cgroup } else { Keeper::Nobody };
        Enforced {
            memory: keeper(Reduced::Memory),
            processes: keeper(Reduced::Processes),
            cpus: keeps(Reduced::Cpus),
            landlock: None,
        }
    }

    /// A limit that it cannot keep and that nobody does without.
    pub(super) fn unkept(&self, limits: &Limits) -> Option<Reduced> {
        self.enforced().reduced(limits).find(|reduced| !limits.accepted.has(*reduced))
    }
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
        Self::first_of(endpoints, Duration::from_secs(TIMEOUT)).await
    }

    async fn first_of(endpoints: Vec<Endpoint>, patience: Duration) -> Result<Self, EngineError> {
        let mut first = None;
        for endpoint in endpoints {
            match Self::in_time(endpoint, patience).await {
                Ok(engine) => return Ok(engine),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.expect("there is at least one place to try, or an error"))
    }

    async fn in_time(endpoint: Endpoint, patience: Duration) -> Result<Self, EngineError> {
        let answer = tokio::time::timeout(patience, Self::of(endpoint.clone())).await;
        answer.unwrap_or_else(|_| {
            Err(unheard(&endpoint, format!("it said nothing for {} s", patience.as_secs())))
        })
    }

    /// The engine that [`Engine::connect`] finds, and all others of this machine: those at the usual places that it does
    /// not look at, or that come after it. None is waited for longer than `patience`.
    pub async fn all(patience: Duration) -> (Result<Self, EngineError>, Vec<Result<Self, EngineError>>) {
        let variable = |name: &str| std::env::var_os(name);
        let used = match endpoints(variable, Path::exists) {
            Ok(endpoints) => Self::first_of(endpoints, patience).await,
            Err(error) => Err(error),
        };
        let looked_at = match &used {
            Ok(engine) => vec![engine.endpoint()],
            // its error is of the first; the rest are asked once more, and may have woken up
            Err(_) => endpoints(variable, Path::exists).unwrap_or_default().into_iter().take(1).collect(),
        };
        let others = others(variable, Path::exists, &looked_at).into_iter();
        let others = others.map(|endpoint| Self::in_time(endpoint, patience));
        (used, futures_util::future::join_all(others).await)
    }

    pub(super) async fn of(endpoint: Endpoint) -> Result<Self, EngineError> {
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
        let says_rootless = security.iter().any(|option| option.contains("name=rootless"));
        let listener = listener(&endpoint)?;
        // Podman does not say it here
        let rootless = says_rootless || (podman && listener != 0);
        let cgroups = match info.cgroup_version {
            Some(bollard::models::SystemInfoCgroupVersionEnum::_2) => 2,
            _ => 1,
        };
        // Podman looks for a file of the old cgroups, finds none, and limits it all the same
        let cpus = match podman && cgroups == 2 {
            true => Some(gives_cpus(Path::new(CGROUPS), rootless.then_some(listener))),
            false => info.cpu_cfs_quota,
        };
        let limits =
            [("memory", info.memory_limit), ("processes", info.pids_limit), ("processor time", cpus)];
        // Podman leaves them out where it keeps them. With the old cgroups, a user cannot be given any, whatever the
        // engine says: Podman says that it keeps limits, and then drops them
        let none = rootless && cgroups == 1;
        let unkept = limits.into_iter().filter(|(_, kept)| none || *kept == Some(false));
        let lacks = unkept.map(|(name, _)| name).collect();
        let about = About {
            kind,
            version: version.version.unwrap_or_default(),
            rootless,
            socket: endpoint.socket,
            named: endpoint.named,
            cgroups,
            lacks,
        };
        let registry = info.index_server_address.unwrap_or_default();
        let root = info.docker_root_dir.map(PathBuf::from);
        Ok(Self { api, security, registry, root, free: 0, about })
    }

    pub(super) fn silent(&self, error: &bollard::errors::Error) -> EngineError {
        silent(&self.endpoint(), error)
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint { socket: self.about.socket.clone(), named: self.about.named.clone() }
    }

    /// Pulls no image that would leave fewer bytes free where the engine keeps images; as far as that can be seen.
    #[must_use]
    pub fn leaving(self, free: u64) -> Self {
        Self { free, ..self }
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

/// The user who listens, as this process sees it.
fn listener(endpoint: &Endpoint) -> Result<u32, EngineError> {
    let listener = || {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(&endpoint.socket)?)?;
        socket_peercred(&socket)
    };
    let failed = |error: Errno| unheard(endpoint, std::io::Error::from(error).to_string());
    Ok(listener().map_err(failed)?.uid.as_raw())
}

/// Whether cgroups of version 2, mounted here, let root limit processor time, or this user, by systemd's delegation.
fn gives_cpus(mounted: &Path, user: Option<u32>) -> bool {
    let own = match user {
        None => mounted.to_owned(),
        Some(uid) => mounted.join(format!("user.slice/user-{uid}.slice/user@{uid}.service")),
    };
    let controllers = std::fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
    controllers.split_whitespace().any(|controller| controller == "cpu")
}

fn silent(endpoint: &Endpoint, error: &bollard::errors::Error) -> EngineError {
    unheard(endpoint, reason(error))
}

fn unheard(endpoint: &Endpoint, reason: String) -> EngineError {
    let hint = match rustix::fs::access(&endpoint.socket, Access::WRITE_OK) {
        Err(Errno::ACCESS) => {
            "this user may not use it: `sudo usermod -aG docker $USER` and a new login, or a rootless engine"
        }
        _ => "start it: `systemctl start docker`, or `systemctl --user start podman.socket`",
    };
    EngineError::Silent { socket: endpoint.socket.clone(), named: endpoint.named.clone(), reason, hint }
}

fn number(version: &str) -> Option<(u16, u16)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_an_engine_cannot_keep_is_refused_unless_it_is_accepted_by_its_name() {
        let about = |lacks: &[&'static str]| About {
            kind: EngineKind::Podman,
            version: String::new(),
            rootless: true,
            socket: PathBuf::new(),
            named: String::new(),
            cgroups: 2,
            lacks: lacks.into(),
        };
        let mut limits = Limits::default();
        assert_eq!(about(&[]).unkept(&limits), None);
        let without = about(&["memory", "processor time"]);
        assert_eq!(without.unkept(&limits), Some(Reduced::Memory));
        limits.accepted = limits.accepted.and(Reduced::Memory);
        assert_eq!(without.unkept(&limits), None, "nobody asked for less than all processors");
        limits.cpus = Some(1.0);
        assert_eq!(without.unkept(&limits), Some(Reduced::Cpus));
        limits.accepted = limits.accepted.and(Reduced::Cpus);
        assert_eq!(without.unkept(&limits), None);
        assert_eq!(about(&["processes"]).unkept(&limits), Some(Reduced::Processes));
    }

    #[test]
    fn processor_time_of_version_2_is_limited_by_who_has_its_controller() {
        let mounted = tempfile::tempdir().expect("a folder");
        let give = |below: &str, controllers: &str| {
            let cgroup = mounted.path().join(below);
            std::fs::create_dir_all(&cgroup).expect("made");
            std::fs::write(cgroup.join("cgroup.controllers"), controllers).expect("written");
        };
        give("", "cpuset cpu io memory pids\n");
        give("user.slice/user-7.slice/user@7.service", "memory pids\n");
        give("user.slice/user-8.slice/user@8.service", "cpu memory pids\n");
        let gives = |user| gives_cpus(mounted.path(), user);
        assert_eq!([None, Some(7), Some(8), Some(9)].map(gives), [true, false, true, false]);
        give("", "cpuset memory pids\n");
        assert!(!gives(None));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(number("1.9") < Some(API_WANTED) && number("1.100") > Some(API_WANTED));
        assert_eq!(number("1.41"), Some(API_WANTED));
        assert_eq!(number("latest"), None);
    }
}
