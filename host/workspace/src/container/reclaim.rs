//! Gives work tree and home back to the workspace's owner after commands were root in them.
//!
//! The host must not touch what they left before that: it may be root's, run as root, or be nobody's to remove. So a
//! note lies beside the folders from before the first such command until they are given back, which a container does
//! in which init is alone (`--give-back`). It names the image, which that container is of as well. A host that was killed
//! in between is made up for at the next start in these folders, and before anybody removes them.

#![expect(clippy::disallowed_methods, reason = "the note is a file of ours beside the folders")]

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::WaitContainerOptions;
use futures_util::StreamExt as _;

use super::engine::Engine;
use super::error::{ContainerError, reason};
use super::folder::{self, Folder};
use super::services::last_lines;
use super::{Container, ContainerConfig, Made, OWNER_LABEL, TASK_LABEL, shape};
use crate::sandbox::{HOME, Keeper, WORKSPACE};

/// What it takes to give away what is anybody's, and nothing else.
const CAPABILITIES: [&str; 3] = ["CHOWN", "DAC_OVERRIDE", "FOWNER"];
/// It holds one path at a time.
const MEMORY: u64 = 256 << 20;
/// Ten million files take about a minute.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Bytes of a note; an image's name has 512 at most.
const NOTE: u64 = 1024;

/// Writes down that commands are about to be root.
pub(super) fn note(config: &ContainerConfig) -> io::Result<()> {
    std::fs::write(place(&config.folder), &config.image)
}

/// Where the note is, of containers with this folder of ours.
fn place(folder: &Path) -> PathBuf {
    beside(folder, "-root")
}

impl Container {
    /// Whether there is something for [`Container::reclaim`] to do. A word about folders that somebody has removed by
    /// now is forgotten.
    pub fn is_to_reclaim(config: &ContainerConfig) -> bool {
        let note = place(&config.folder);
        let there = note.exists() && folders(config).next().is_some();
        if !there {
            // there may be none
            drop(std::fs::remove_file(&note));
        }
        there
    }

    /// Gives work tree and home back to their owner, if a host was killed while commands were root in them, and says
    /// whether that was so. [`Container::start`] does so by itself; whoever wants to read or remove them without a
    /// container calls this first. A folder that is not there any more is left out. Of the configuration only folders,
    /// labels and init count.
    ///
    /// # Errors
    /// If it could not be done; the folders are then not to be touched.
    pub async fn reclaim(engine: &Engine, config: &ContainerConfig) -> Result<bool, ContainerError> {
        reclaim(engine, config).await
    }
}

/// Gives the folders back if there is a note that they are to be, and says whether there was. Containers that use them
/// are ended first: with a host that was killed they end by themselves, only a moment later.
///
/// Cancel-safe: the note goes last.
pub(super) async fn reclaim(engine: &Engine, config: &ContainerConfig) -> Result<bool, ContainerError> {
    let note = place(&config.folder);
    let image = match File::open(&note) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => {
            let mut image = String::new();
            opened?.take(NOTE).read_to_string(&mut image)?;
            image
        }
    };
    let labels = [(TASK_LABEL, &config.task), (OWNER_LABEL, &config.owner)];
    let labels = labels.map(|(name, value)| format!("{name}={value}"));
    let others = engine.containers(labels.into()).await?;
    for id in others.into_iter().filter_map(|other| other.id) {
        super::remove(&engine.api, &id).await;
    }
    let folders: Vec<_> = folders(config).collect();
    if !folders.is_empty() {
        // init needs nothing of an image, and the one that is noted may have gone
        let is_there = !image.is_empty() && engine.has_image(&image).await?;
        let image = if is_there { image } else { engine.blank(&config.owner).await? };
        give_back(engine, config, image, &folders).await?;
    }
    std::fs::remove_file(&note)?;
    Ok(true)
}

/// Those that are there, with where they are inside.
fn folders(config: &ContainerConfig) -> impl Iterator<Item = (&Path, &'static str)> {
    let folders = [(config.work_tree.as_path(), WORKSPACE), (config.home.as_path(), HOME)];
    let is_folder = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_dir());
    folders.into_iter().filter(move |(path, _)| is_folder(path))
}

fn beside(folder: &Path, ending: &str) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(ending);
    name.into()
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
    super::remove(&engine.api, &id).await;
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
