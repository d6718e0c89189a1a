//! Clears up with the engine after a host that was killed, and gives work tree and home back to the workspace's owner
//! after commands were root in them.
//!
//! The host must not touch what those left before that: it may be root's, run as root, or be nobody's to remove. So a
//! note lies beside the folders from before the first such command until they are given back, which a container does
//! in which init is alone (`--give-back`). A host that was killed in between is made up for at the next start in these
//! folders, and before anybody removes them: whoever would asks [`Container::is_roots`], and leaves them alone.

use std::io;
use std::path::Path;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::WaitContainerOptions;
use futures_util::StreamExt as _;

use super::engine::Engine;
use super::error::{ContainerError, reason};
use super::folder::{self, Folder};
use super::notes::{Notes, beside};
use super::services::last_lines;
use super::{Container, ContainerConfig, Made, OWNER_LABEL, TASK_LABEL, shape};
use crate::sandbox::{HOME, Keeper, WORKSPACE};

/// What it takes to give away what is anybody's, and nothing else.
const CAPABILITIES: [&str; 3] = ["CHOWN", "DAC_OVERRIDE", "FOWNER"];
/// It holds one path at a time.
const MEMORY: u64 = 256 << 20;
/// Ten million files take about a minute.
const TIMEOUT: Duration = Duration::from_secs(600);

/// What there was to clear up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Containers that were ended.
    pub containers: usize,
    /// Whether work tree and home were given back.
    pub folders: bool,
}

impl Container {
    /// Whether a host that works, or was killed, has left [`Container::reclaim`] something to do. `folder` is that of
    /// a configuration.
    pub fn is_left(folder: &Path) -> bool {
        let notes = Notes::beside(folder);
        notes.is_made() || notes.is_root()
    }

    /// Whether work tree and home are those of commands that are, or were, root. Nobody but they and
    /// [`Container::reclaim`] is to touch them then. `folder` is that of a configuration.
    pub fn is_roots(folder: &Path) -> bool {
        Notes::beside(folder).is_root()
    }

    /// Forgets that commands were root where somebody has removed both folders by now. For whom nobody else works on
    /// the task.
    ///
    /// # Errors
    /// If the word about it cannot be removed.
    pub fn forget_gone(config: &ContainerConfig) -> io::Result<()> {
        match folders(config).next() {
            Some(_) => Ok(()),
            None => Notes::beside(&config.folder).give_up_root(),
        }
    }

    /// Ends the containers that a host left that was killed, and gives work tree and home back to their owner if
    /// commands were root in them. [`Container::start`] does so by itself; whoever wants to read or remove the folders
    /// without a container calls this first. A folder that is not there any more is left out. Of the configuration
    /// only folders, labels and init count.
    ///
    /// # Errors
    /// If it could not be done; folders that were root's are then not to be touched.
    pub async fn reclaim(engine: &Engine, config: &ContainerConfig) -> Result<Reclaimed, ContainerError> {
        reclaim(engine, config).await
    }
}

/// As [`Container::reclaim`]. Containers that use the folders are ended first: with a host that was killed they end by
/// themselves, only a moment later; services do not.
///
/// Cancel-safe: the notes go last.
pub(super) async fn reclaim(engine: &Engine, config: &ContainerConfig) -> Result<Reclaimed, ContainerError> {
    let notes = Notes::beside(&config.folder);
    let mut done = Reclaimed::default();
    let root = notes.root_image()?;
    if root.is_none() && !notes.is_made() {
        return Ok(done);
    }
    // from before the question: what comes after it has no answer
    let is_settled = !notes.is_made() || notes.is_settled();
    let labels = [(TASK_LABEL, &config.task), (OWNER_LABEL, &config.owner)];
    let labels = labels.map(|(name, value)| format!("{name}={value}"));
    let others = engine.containers(labels.into()).await?;
    for id in others.into_iter().filter_map(|other| other.id) {
        super::remove(&engine.api, &id).await.map_err(|reason| ContainerError::Step {
            step: "remove a container of a host that was killed",
            reason,
        })?;
        done.containers += 1;
    }
    if let Some(image) = root {
        let folders: Vec<_> = folders(config).collect();
        if !folders.is_empty() {
            notes.make()?;
            // init needs nothing of an image, and the one that is noted may have gone
            let is_there = !image.is_empty() && engine.has_image(&image).await?;
            let image = if is_there { image } else { engine.blank(&config.owner).await? };
            give_back(engine, config, image, &folders).await?;
            done.folders = true;
        }
        notes.give_up_root()?;
    }
    if is_settled {
        notes.unmake()?;
    }
    Ok(done)
}

/// Those that are there, with where they are inside.
fn folders(config: &ContainerConfig) -> impl Iterator<Item = (&Path, &'static str)> {
    let folders = [(config.work_tree.as_path(), WORKSPACE), (config.home.as_path(), HOME)];
    let is_folder = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_dir());
    folders.into_iter().filter(move |(path, _)| is_folder(path))
}

/// `folders` come with where they are inside.
async fn give_back(
    engine: &Engine,
    config: &ContainerConfig,
    image: String,
    folders: &[(&Path, &str)],
) -> Result<(), ContainerError> {
    let failed = |reason: String| ContainerError::NotGivenBack { reason };
    let owner = shape::user(engine.about());
    // nobody calls here
    let (folder, _) = Folder::make(&beside(&config.folder, "-back"), &config.init, b"", None, owner)?;
    let body = body(engine, config, image, &folder, folders);
    let created = engine.api.create_container(None, body).await;
    let id = created.map_err(|error| failed(reason(&error)))?.id;
    let made = Made::new(engine.api.clone(), id.clone());
    engine.api.start_container(&id, None).await.map_err(|error| failed(reason(&error)))?;
    let mut end = engine.api.wait_container(&id, None::<WaitContainerOptions>);
    let end = tokio::time::timeout(TIMEOUT, end.next()).await;
    let outcome = match end {
        Ok(Some(Ok(_))) => Ok(()),
        Ok(Some(Err(error))) => {
            let said = last_lines(&engine.api, &id).await;
            Err(failed(said.last().cloned().unwrap_or_else(|| reason(&error))))
        }
        Ok(None) => Err(failed("the engine lost the container".to_owned())),
        Err(_) => Err(failed(format!("it takes longer than {} s", TIMEOUT.as_secs()))),
    };
    super::remove(&engine.api, &id).await.map_err(failed)?;
    made.keep();
    outcome
}

fn body(
    engine: &Engine,
    config: &ContainerConfig,
    image: String,
    folder: &Folder,
    folders: &[(&Path, &str)],
) -> ContainerCreateBody {
    let owner = shape::user(engine.about()).to_string();
    let inside = folders.iter().map(|(_, inside)| *inside);
    let arguments = ["--give-back", &owner].into_iter().chain(inside).map(str::to_owned);
    let mounts = folders.iter().map(|(path, inside)| shape::mount(path, inside.into(), false));
    let init = format!("{}/{}", folder::INSIDE, folder::INIT);
    let labels = [(TASK_LABEL, &config.task), (OWNER_LABEL, &config.owner)];
    // init alone is in it, and where nobody counts memory that holds as well
    let kept = engine.about().enforced().memory == Keeper::Cgroup;
    let memory = kept.then(|| shape::signed(MEMORY));
    let host = HostConfig {
        network_mode: Some("none".to_owned()),
        cap_add: Some(CAPABILITIES.map(str::to_owned).into()),
        readonly_rootfs: Some(true),
        memory,
        memory_swap: memory,
        log_config: Some(HostConfigLogConfig { typ: Some("json-file".to_owned()), config: None }),
        mounts: Some(mounts.chain([shape::mount(folder.path(), folder::INSIDE.into(), true)]).collect()),
        ..shape::confined(engine.about(), &engine.security)
    };
    ContainerCreateBody {
        image: Some(image),
        entrypoint: Some(vec![init]),
        cmd: Some(arguments.collect()),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        user: Some("0:0".to_owned()),
        working_dir: Some("/".to_owned()),
        network_disabled: Some(true),
        labels: Some(labels.map(|(name, value)| (name.to_owned(), value.clone())).into()),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}
