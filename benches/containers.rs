//! A container against what Docker's own command does with the same image.

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use sortie_workspace::container::{Container, ContainerConfig, Engine, TASK_LABEL};
use sortie_workspace::sandbox::Owner;

use crate::exec::{on_the_host, through_init};
use crate::table::{Table, Times, micros, millis, ratio};

/// Names the image; it needs `/bin/true`.
const IMAGE: &str = "SORTIE_IMAGE";
/// Containers that are started.
const CONTAINERS: usize = 11;
/// Commands by Docker's own command.
const BY_DOCKER: usize = 50;
/// Commands through init for each of those.
const THROUGH_INIT: usize = 20;
/// Its label, to find it by.
const TASK: &str = "benchmark";

pub(crate) async fn measure(table: &mut Table) -> anyhow::Result<()> {
    let Ok(image) = std::env::var(IMAGE) else {
        eprintln!("  left out: {IMAGE} names no image");
        return Ok(());
    };
    let engine = Engine::connect().await?;
    let folders = tempfile::tempdir()?;
    let config = config(&image, folders.path())?;

    let (mut ours, mut theirs) = (Times::default(), Times::default());
    for _ in 0..CONTAINERS {
        let container = ours.time(Box::pin(first_exec(&engine, config.clone()))).await?;
        container.stop().await;
        theirs.time(docker(&["run", "--rm", "--network", "none", &image, "/bin/true"])).await?;
    }
    let container = Container::start(&engine, config).await?;
    let id = id()?;
    let (mut bare, mut through, mut by_docker) = (Times::default(), Times::default(), Times::default());
    // by turns, so that what else the machine does falls on all of them
    for _ in 0..BY_DOCKER {
        by_docker.time(docker(&["exec", &id, "/bin/true"])).await?;
        for _ in 0..THROUGH_INIT {
            bare.time(on_the_host()).await?;
            through.time(through_init(&container)).await?;
        }
    }
    container.stop().await;

    table.note("start of a container with its first exec", millis(ours.median()), "ms");
    table.note("  `docker run` of the same image", millis(theirs.median()), "ms");
    table.target("  start against `docker run`", ratio(ours.median(), theirs.median()), "times", 1.1);
    table.note("exec of /bin/true through init in a container", micros(through.median()), "µs");
    table.target(
        "  exec through init against fork and exec",
        ratio(through.median(), bare.median()),
        "times",
        1.3,
    );
    table.target(
        "  exec through init against `docker exec`",
        ratio(through.median(), by_docker.median()),
        "times",
        0.05,
    );
    Ok(())
}

async fn first_exec(engine: &Engine, config: ContainerConfig) -> anyhow::Result<Container> {
    let container = Container::start(engine, config).await?;
    through_init(&container).await?;
    Ok(container)
}

fn config(image: &str, folders: &Path) -> anyhow::Result<ContainerConfig> {
    let (work_tree, home) = (folders.join("work"), folders.join("home"));
    let owner = Owner::current();
    for folder in [&work_tree, &home] {
        std::fs::create_dir(folder)?;
        chown(folder, Some(owner.uid), Some(owner.gid))?;
    }
    let (init, folder) = (sortie_bundle::init(), folders.join("container"));
    Ok(ContainerConfig {
        task: TASK.to_owned(),
        owner: TASK.to_owned(),
        ..ContainerConfig::new(image, init, folder, work_tree, home)
    })
}

fn id() -> anyhow::Result<String> {
    let filter = format!("label={TASK_LABEL}={TASK}");
    let output = Command::new("docker").args(["ps", "--quiet", "--filter", &filter]).output()?;
    Ok(String::from_utf8(output.stdout)?.lines().next().context("the container is not there")?.to_owned())
}

async fn docker(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("docker").args(arguments).stdin(Stdio::null()).status()?;
    ensure!(status.success(), "docker {arguments:?} ended with {status}");
    Ok(())
}
