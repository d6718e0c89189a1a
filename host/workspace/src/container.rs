//! A workspace in a container of Docker's or Podman's.
//!
//! The engine makes the container; from then on it is out of the way. Process 1 is our own init, which calls the
//! host over a socket that only it can reach, so commands start as fast as in the built-in sandbox:
//!
//! ```text
//! host                         engine                container
//! ────                         ──────                ─────────
//! Container::start  ─create──▶ image, limits, mounts
//!   listens in a folder        ─start─────────────▶  init (process 1) ─┐
//!   accepts one call ◀──────────── dials the socket in `/.sortie` ─────┘
//!   is it process 1 of ours? ─inspect─▶
//!   closes the listener                              commands, through init
//! ```
//!
//! The container has no network, no capabilities and a read-only root; it can write to the work tree, its home
//! and `/tmp`. Its system calls are filtered twice: by the engine's own profile, and by the built-in sandbox's
//! filter, which init puts on before it calls. When the host lets go of the socket, for whatever reason, init
//! ends, and the engine removes the container.

mod engine;
mod error;
mod find;
mod folder;
mod image;
mod shape;

use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::models::ContainerWaitResponse;
use bollard::query_parameters::{RemoveContainerOptions, WaitContainerOptions};
use futures_util::StreamExt as _;
use rustix::net::SocketFlags;
use rustix::net::sockopt::socket_peercred;
use sortie_init::protocol::READY;
use tokio::io::Interest;

use crate::client::{Client, watch};
use crate::counters::Counters;
use crate::sandbox::{Limits, Owner, base_variables, counters_of, filter_file};

pub use engine::{About, Engine, EngineKind};
pub use error::{ContainerError, EngineError};

use error::reason;
use folder::Folder;

/// The label that names the task of a container.
pub const TASK_LABEL: &str = "dev.sortie.task";
/// The label that names who made a container: the state folder of a host.
pub const OWNER_LABEL: &str = "dev.sortie.owner";

/// Containers start in less than a second; on a machine that takes this long something hangs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What a container is made from.
#[derive(Clone, Debug)]
pub struct ContainerConfig {
    /// The image, by name or digest. The engine must have it.
    pub image: String,
    /// The task, for the label.
    pub task: String,
    /// Whose it is, for the label.
    pub owner: String,
    /// The bytes of `sortie-init`.
    pub init: Cow<'static, [u8]>,
    /// A folder that is made for what the container sees of ours, and removed with it. Its parent exists and is
    /// nobody else's.
    pub folder: PathBuf,
    /// The work tree, read and written at [`WORKSPACE`](crate::sandbox::WORKSPACE).
    pub work_tree: PathBuf,
    /// The commands' home, read and written at [`HOME`](crate::sandbox::HOME).
    pub home: PathBuf,
    /// Paths in the work tree that commands can neither read nor replace. Only what exists can be hidden.
    pub masks: Vec<PathBuf>,
    /// Paths in the work tree that commands can read but not change.
    pub read_only: Vec<PathBuf>,
    /// Certificate authorities to trust inside, as PEM; none for the image's own.
    pub certificates: Option<PathBuf>,
    /// What the commands may use up.
    pub limits: Limits,
}

/// A running container. Dropping it ends it in the background; [`Container::stop`] also waits.
#[derive(Debug)]
pub struct Container {
    client: Client,
    api: Docker,
    id: String,
    environment: Vec<(String, String)>,
    unprotected: Vec<PathBuf>,
    counters: Option<Arc<Counters>>,
    _folder: Folder,
}

impl Container {
    /// Starts a container; it is ready for commands when this returns. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Which step failed, and why. A limit that the engine cannot keep is an error.
    pub async fn start(engine: &Engine, config: ContainerConfig) -> Result<Self, ContainerError> {
        check(engine, &config)?;
        let image = engine.image(&config.image).await?;
        let filter =
            filter_file().map_err(|reason| ContainerError::Step { step: "filter system calls", reason })?;
        let (folder, listener) = Folder::make(
            &config.folder,
            &config.init,
            &filter,
            config.certificates.as_deref(),
            shape::user(engine.about()),
        )?;
        let (body, unprotected) = shape::container(&config, engine.about(), &image.security, &folder);
        let created = engine.api.create_container(None, body).await;
        let id = created.map_err(|error| step("make the container", &error))?.id;
        let made = Made { api: engine.api.clone(), id: Some(id.clone()) };
        let (client, pid) = called(&engine.api, &id, listener).await?;
        folder.no_more_calls();
        // while it is there to be asked; if the engine keeps its cgroups from us, a limit is kept and not named
        let counters = counters_of(pid, &config.limits).map(Arc::new);
        let environment = environment(&image.environment, &folder);
        Ok(Self { client, api: made.keep(), id, environment, unprotected, counters, _folder: folder })
    }

    /// Starts commands inside.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What the commands' environment holds: the image's, with paths, home and certificates of ours. Names occur
    /// once.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// Masks and read-only paths that did not exist at the start, or that a link leads to.
    pub fn unprotected(&self) -> &[PathBuf] {
        &self.unprotected
    }

    /// How often the commands reached the limits of this container; none if its cgroups cannot be read.
    pub fn counters(&self) -> Option<Arc<Counters>> {
        self.counters.clone()
    }

    /// Ends every process inside and waits until the container is gone. A second call has nothing to do.
    pub async fn stop(&self) {
        self.client.hang_up();
        remove(&self.api, &self.id).await;
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // at which init ends, and the engine removes what it leaves
        self.client.hang_up();
    }
}

/// A container that nobody has called from yet: removed if it comes to nothing.
struct Made {
    api: Docker,
    id: Option<String>,
}

impl Made {
    fn keep(mut self) -> Docker {
        self.id = None;
        self.api.clone()
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            let api = self.api.clone();
            tokio::spawn(async move { remove(&api, &id).await });
        }
    }
}

fn check(engine: &Engine, config: &ContainerConfig) -> Result<(), ContainerError> {
    let uid = Owner::current().uid;
    for path in [&config.work_tree, &config.home] {
        let failed = |reason: String| ContainerError::Folder { path: path.clone(), reason };
        let metadata = std::fs::symlink_metadata(path).map_err(|error| failed(error.to_string()))?;
        let found = std::os::unix::fs::MetadataExt::uid(&metadata);
        if !metadata.is_dir() || found != uid {
            return Err(failed(format!("it must be a folder of user {uid}, as whom commands run")));
        }
    }
    let unkept =
        engine.about().lacks.iter().find(|limit| **limit != "processor time" || config.limits.cpus.is_some());
    match unkept {
        Some(limit) => Err(ContainerError::Step {
            step: "keep the workspace's limits",
            reason: format!(
                "it says that it cannot limit {limit}; a rootless engine needs cgroups delegated to it"
            ),
        }),
        None => Ok(()),
    }
}

/// Starts the container and waits for process 1 to call; its number is as we see it.
async fn called(api: &Docker, id: &str, listener: OwnedFd) -> Result<(Client, i32), ContainerError> {
    let started = api.start_container(id, None).await;
    started.map_err(|error| step("start the container", &error))?;
    let mut end = api.wait_container(id, None::<WaitContainerOptions>);
    let connection = tokio::select! {
        connection = accept(listener) => connection?,
        end = end.next() => return Err(ContainerError::NoCall { reason: ended(end) }),
        () = tokio::time::sleep(TIMEOUT) => return Err(ContainerError::NoCall { reason: format!("waited for {} s", TIMEOUT.as_secs()) }),
    };
    let found = socket_peercred(&connection).map_err(std::io::Error::from)?.pid.as_raw_nonzero().get();
    let inspected = api.inspect_container(id, None).await;
    let state = inspected.map_err(|error| step("inspect the container", &error))?.state.unwrap_or_default();
    let wanted = state.pid.unwrap_or_default();
    if wanted != i64::from(found) {
        return Err(ContainerError::Impostor { found, wanted });
    }
    let client = Client::new(connection)?;
    let mut word = [0; 64];
    let heard = tokio::time::timeout(TIMEOUT, client.packet(&mut word)).await;
    match heard {
        Ok(Ok(count)) if word[..count] == READY => Ok((client, found)),
        _ => {
            Err(ContainerError::NoCall { reason: "it called and said nothing that we understand".to_owned() })
        }
    }
}

/// What the engine says of the end of a container.
fn ended(end: Option<Result<ContainerWaitResponse, bollard::errors::Error>>) -> String {
    match end {
        Some(Ok(ContainerWaitResponse { status_code: code, .. }))
        | Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => {
            format!("it ended with status {code}")
        }
        Some(Err(error)) => reason(&error),
        None => "the engine lost it".to_owned(),
    }
}

/// Takes one call and closes the listener.
async fn accept(listener: OwnedFd) -> Result<OwnedFd, ContainerError> {
    let listener = watch(listener, Interest::READABLE)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let accept = |socket: &OwnedFd| rustix::net::accept_with(socket, flags).map_err(std::io::Error::from);
    Ok(listener.async_io(Interest::READABLE, accept).await?)
}

/// Removes a container, whatever state it is in, and waits until it is gone.
async fn remove(api: &Docker, id: &str) {
    let options = RemoveContainerOptions { force: true, v: true, ..RemoveContainerOptions::default() };
    for _ in 0..100 {
        // the engine may be at it already, and says so with a conflict
        match api.remove_container(id, Some(options.clone())).await {
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 409, .. }) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            _ => return,
        }
    }
}

/// The image's variables under ours.
fn environment(image: &[(String, String)], folder: &Folder) -> Vec<(String, String)> {
    let mut variables: std::collections::BTreeMap<_, _> = image.iter().cloned().collect();
    let path = variables.get("PATH").cloned();
    variables.extend(base_variables(path.as_deref(), folder.certificates().as_deref()));
    variables.into_iter().collect()
}

fn step(step: &'static str, error: &bollard::errors::Error) -> ContainerError {
    ContainerError::Step { step, reason: reason(error) }
}
