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
//!
//! A set-up is the same but for its root, which it can write, and may run as root. What it leaves there becomes the
//! image of the containers after it ([`Container::commit`]).

mod build;
mod call;
mod commit;
mod config;
mod credentials;
mod engine;
mod error;
#[cfg(test)]
mod fake;
mod find;
mod folder;
mod image;
mod named;
mod notes;
mod reclaim;
mod removal;
mod search;
mod services;
mod shape;
mod sweep;
mod users;
mod written;

use std::path::PathBuf;
use std::sync::Arc;

use bollard::Docker;
use sortie_core::action::Stage;
use tokio_util::task::AbortOnDropHandle;

use crate::client::Client;
use crate::counters::Counters;
use crate::disk::{DiskReached, EVERY};
use crate::sandbox::{Enforced, base_variables, counters_of, filter_file};

pub use build::{BUILD_LABEL, BuildConfig, images_of_dockerfile};
pub use commit::{SNAPSHOT_LABEL, Snapshot};
pub use config::{ContainerConfig, Tell};
pub use engine::{About, Engine, EngineKind};
pub use error::{ContainerError, EngineError};
pub use named::NamedBy;
pub use reclaim::Reclaimed;

use call::called;
use commit::Commits;
use error::step;
use folder::Folder;
use notes::Notes;
use removal::remove;
use services::Services;
use written::Written;

/// The label that names the task of a container.
pub const TASK_LABEL: &str = "dev.sortie.task";
/// The label that names who made a container: the state folder of a host.
pub const OWNER_LABEL: &str = "dev.sortie.owner";

/// The label that names a service, and that of the workspace's container.
pub const SERVICE_LABEL: &str = "dev.sortie.service";
const WORKSPACE_LABEL: &str = "dev.sortie.workspace";
/// The label of an image whose `/etc/passwd` knows the commands' user, who is its value.
const USERS_LABEL: &str = "dev.sortie.users";

/// A running container. Dropping it ends it in the background; [`Container::stop`] also waits.
#[derive(Debug)]
pub struct Container {
    client: Client,
    engine: Engine,
    config: ContainerConfig,
    id: String,
    services: Services,
    environment: Vec<(String, String)>,
    unprotected: Vec<PathBuf>,
    counters: Option<Arc<Counters>>,
    process: i32,
    enforced: Enforced,
    commits: Commits,
    /// Sees to what it writes to the engine's disk, if it can, and how often that was too much.
    written: Option<(AbortOnDropHandle<()>, Arc<DiskReached>)>,
    _folder: Folder,
}

impl Container {
    /// Starts a container; it is ready for commands when this returns. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Which step failed, and why. A limit that the engine cannot keep is an error.
    pub async fn start(engine: &Engine, config: ContainerConfig) -> Result<Self, ContainerError> {
        // first: until then the folders may be somebody else's
        reclaim::reclaim(engine, &config).await?;
        config.check(engine)?;
        let image = engine.image(&config.image).await?;
        let volumes = image.config.volumes.as_ref().is_some_and(|volumes| !volumes.is_empty());
        let writes = config.stage == Stage::SetUp || volumes;
        if writes || !config.services.is_empty() {
            engine.check_room(config.disk)?;
        }
        let filter =
            filter_file().map_err(|reason| ContainerError::Step { step: "filter system calls", reason })?;
        let user = shape::user(engine.about());
        let certificates = config.certificates.as_deref();
        let (folder, listener) = Folder::make(&config.folder, &config.init, &filter, certificates, user)?;
        let (body, unprotected) = shape::container(&config, engine.about(), &image, &folder);
        let asked = body.host_config.clone().unwrap_or_default();
        let notes = Notes::beside(&config.folder);
        notes.make()?;
        let created = engine.api.create_container(None, body).await;
        let id = created.map_err(|error| step("make the container", &error))?.id;
        let made = Made::new(engine.api.clone(), id.clone());
        if config.root {
            users::introduce(&engine.api, &id, user).await?;
        }
        let (client, pid) = called(&engine.api, &id, listener, &asked).await?;
        folder.no_more_calls();
        // while it is there to be asked; if the engine keeps its cgroups from us, a limit is kept and not named
        let counters = counters_of(pid, &config.limits).map(Arc::new);
        // the note tells when the engine was asked for the last of them
        notes.make()?;
        let services = Services::start(engine, &config, &id).await?;
        let written = writes.then(|| bound(engine.clone(), id.clone(), client.clone(), &config));
        let environment = environment(&image.environment, &folder, config.root);
        if config.root {
            // init has touched nothing, and whoever gets this may start commands
            notes.become_root(&config.image)?;
        }
        made.keep();
        let engine = engine.clone();
        Ok(Self {
            client,
            enforced: engine.about().enforced(),
            engine,
            config,
            id,
            services,
            environment,
            unprotected,
            counters,
            process: pid,
            commits: Commits::default(),
            written,
            _folder: folder,
        })
    }

    /// The engine's name for it.
    pub fn id(&self) -> &str {
        &self.id
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

    /// Who keeps which limit.
    pub fn enforced(&self) -> Enforced {
        self.enforced
    }

    /// The host's number of process 1.
    pub fn process(&self) -> i32 {
        self.process
    }

    /// How often commands reached the limits of the disk beside work tree and home; none where they cannot write there.
    pub fn disk(&self) -> Option<Arc<DiskReached>> {
        self.written.as_ref().map(|(_, reached)| Arc::clone(reached))
    }

    /// Ends every process inside and the services, waits until the containers are gone, and gives the folders back
    /// if commands were root. A second call has nothing to do.
    ///
    /// # Errors
    /// If a container may be there still, or the folders cannot be given back: the host is not to touch them then. A
    /// note stays beside them for [`Container::reclaim`].
    pub async fn finish(&self) -> Result<(), ContainerError> {
        let services = self.services.stop().await;
        self.client.hang_up();
        let ended = services.and(remove(&self.engine.api, &self.id).await);
        self.commits.end().await;
        ended.map_err(|reason| ContainerError::Step { step: "end the container", reason })?;
        Notes::beside(&self.config.folder).unmake()?;
        match self.config.root {
            true => reclaim::reclaim(&self.engine, &self.config).await.map(drop),
            false => Ok(()),
        }
    }

    /// As [`Container::finish`], for whom an error is too late: it is logged.
    pub async fn stop(&self) {
        if let Err(error) = self.finish().await {
            tracing::error!(%error, "the container is not ended in order");
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // at which init ends, and the engine removes what it leaves
        self.client.hang_up();
    }
}

/// A container that is removed unless it is kept.
#[derive(Debug)]
struct Made {
    api: Docker,
    id: Option<String>,
}

impl Made {
    fn new(api: Docker, id: String) -> Self {
        Self { api, id: Some(id) }
    }

    fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn keep(mut self) {
        self.id = None;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // without a runtime the host is ending, and what stays is the next sweep's
        if let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current()) {
            let api = self.api.clone();
            runtime.spawn(async move { drop(remove(&api, &id).await) });
        }
    }
}

/// Ends all commands as often as they have written too much to the engine's disk.
fn bound(
    engine: Engine,
    id: String,
    client: Client,
    config: &ContainerConfig,
) -> (AbortOnDropHandle<()>, Arc<DiskReached>) {
    let (mut written, tell) = (Written::new(&engine, config.disk), config.tell.clone());
    let disk = Arc::new(DiskReached::default());
    let told = Arc::clone(&disk);
    let watch = AbortOnDropHandle::new(tokio::spawn(async move {
        while !client.is_gone() {
            tokio::time::sleep(EVERY).await;
            if let Some(reached) = written.look(&engine, &id).await {
                // first, so that whoever sees a command's end finds it
                disk.add(reached);
                client.kill_all();
                tell.say(format!(
                    "the limit {reached} was reached by what the container holds beside work tree and home: all of its \
                     commands were ended"
                ));
            }
            disk.close(written.gave_up());
        }
    }));
    (watch, told)
}

/// The image's variables under ours.
fn environment(image: &[(String, String)], folder: &Folder, root: bool) -> Vec<(String, String)> {
    let mut variables: std::collections::BTreeMap<_, _> = image.iter().cloned().collect();
    let path = variables.get("PATH").cloned();
    variables.extend(base_variables(path.as_deref(), folder.certificates().as_deref()));
    if root {
        variables.extend(["USER", "LOGNAME"].map(|name| (name.to_owned(), "root".to_owned())));
    }
    variables.into_iter().collect()
}
