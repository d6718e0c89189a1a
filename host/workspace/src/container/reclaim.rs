//! Gives work tree and home back to the workspace's owner after commands were root in them.
//!
//! The host must not touch what they left before that: it may be root's, run as root, or be nobody's to remove. So a
//! note lies beside the folders from before the first such command until they are given back, which a container does
//! in which init is alone (`--give-back`); a host that was killed in between is made up for at the next start.

#![expect(clippy::disallowed_methods, reason = "the note is a file of ours beside the folders")]

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::WaitContainerOptions;
use futures_util::StreamExt as _;

use super::engine::Engine;
use super::error::{ContainerError, reason};
use super::folder::{self, Folder};
use super::services::last_lines;
use super::{ContainerConfig, Made, OWNER_LABEL, TASK_LABEL, shape};
use crate::sandbox::{HOME, Keeper, Owner, WORKSPACE};

/// What it takes to give away what is anybody's, and nothing else.
const CAPABILITIES: [&str; 3] = ["CHOWN", "DAC_OVERRIDE", "FOWNER"];
/// It holds one path at a time.
const MEMORY: u64 = 256 << 20;
/// Ten million files take about a minute.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Writes down that commands are about to be root.
pub(super) fn note(config: &ContainerConfig) -> io::Result<()> {
    std::fs::write(beside(&config.folder, "-root"), b"")
}

/// Gives the folders back if there is a note that they are to be, and says whether there was. Containers that use them
/// are ended first: with a host that was killed they end by themselves, only a moment later.
///
/// Cancel-safe: the note goes last.
pub(super) async fn reclaim(engine: &Engine, config: &ContainerConfig) -> Result<bool, ContainerError> {
    let note = beside(&config.folder, "-root");
    if !note.try_exists()? {
        return Ok(false);
    }
    let labels = [(TASK_LABEL, &config.task), (OWNER_LABEL, &config.owner)];
    let labels = labels.map(|(name, value)| format!("{name}={value}"));
    let others = engine.containers(labels.into()).await?;
    for id in others.into_iter().filter_map(|other| other.id) {
        super::remove(&engine.api, &id).await;
    }
    give_back(engine, config).await?;
    std::fs::remove_file(&note)?;
    Ok(true)
}

fn beside(folder: &Path, ending: &str) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

async fn give_back(engine: &Engine, config: &ContainerConfig) -> Result<(), ContainerError> {
    let failed = |reason: String| ContainerError::NotGivenBack { reason };
    let owner = shape::user(engine.about());
    // nobody calls here
    let (folder, _) = Folder::make(&beside(&config.folder, "-back"), &config.init, b"", None, owner)?;
    let created = engine.api.create_container(None, body(engine, config, &folder, owner)).await;
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

fn body(engine: &Engine, config: &ContainerConfig, folder: &Folder, owner: Owner) -> ContainerCreateBody {
    let arguments = ["--give-back", &owner.to_string(), WORKSPACE, HOME];
    let init = format!("{}/{}", folder::INSIDE, folder::INIT);
    let labels = [(TASK_LABEL, &config.task), (OWNER_LABEL, &config.owner)];
    // init alone is in it, and where nobody counts memory that holds as well
    let kept = engine.about().enforced().memory == Keeper::Cgroup;
    let memory = kept.then(|| shape::signed(MEMORY));
    let host = HostConfig {
        network_mode: Some("none".to_owned()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(CAPABILITIES.map(str::to_owned).into()),
        security_opt: Some(shape::security_options(&engine.security)),
        readonly_rootfs: Some(true),
        privileged: Some(false),
        ipc_mode: Some("private".to_owned()),
        userns_mode: shape::userns(engine.about()),
        memory,
        memory_swap: memory,
        log_config: Some(HostConfigLogConfig { typ: Some("json-file".to_owned()), config: None }),
        mounts: Some(vec![
            shape::mount(&config.work_tree, WORKSPACE.into(), false),
            shape::mount(&config.home, HOME.into(), false),
            shape::mount(folder.path(), folder::INSIDE.into(), true),
        ]),
        init: Some(false),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        image: Some(config.image.clone()),
        entrypoint: Some(vec![init]),
        cmd: Some(arguments.map(str::to_owned).into()),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        user: Some("0:0".to_owned()),
        working_dir: Some("/".to_owned()),
        network_disabled: Some(true),
        labels: Some(labels.map(|(name, value)| (name.to_owned(), value.clone())).into()),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}
