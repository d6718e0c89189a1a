//! Folders that root of a set-up filled for a host that was killed. Only their
//! engine's root can give them back, and nobody can clear up before that.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sortie_core::TaskId;
use sortie_orchestrator::TaskFolder;
use sortie_workspace::container::{Container, ContainerConfig, Engine};

use crate::home::Places;
use crate::print;
use crate::workspaces::owner_of_containers;

/// Until an engine that does not answer is left alone.
const ANSWER: Duration = Duration::from_secs(20);

/// Has the engine give them back to the user, and says how many workspaces
/// that were. What it fails at is told, and tried again with the next command.
pub(crate) async fn from_root(places: &Places) -> usize {
    let left = left(&places.home);
    if left.is_empty() {
        return 0;
    }
    let engine = match tokio::time::timeout(ANSWER, Engine::connect()).await {
        Ok(Ok(engine)) => engine,
        Ok(Err(error)) => return untold(&left, &error.to_string()),
        Err(_) => return untold(&left, "the container engine does not answer"),
    };
    let mut reclaimed = 0;
    for (task, config) in left {
        // whoever works on it does so by itself
        let Ok(_lock) = TaskFolder::hold(&places.home, &task) else { continue };
        match Container::reclaim(&engine, &config).await {
            Ok(done) => reclaimed += usize::from(done),
            Err(error) => print::tell(format_args!("{task}: {error}")),
        }
    }
    reclaimed
}

fn untold(left: &[(TaskId, ContainerConfig)], why: &str) -> usize {
    let tasks: Vec<_> = left.iter().map(|(task, _)| task.to_string()).collect();
    let tasks = tasks.join(", ");
    print::tell(format_args!("files of {tasks} are root's, whose engine has to give them back: {why}"));
    0
}

/// Of which tasks there are such, on which nobody works.
fn left(home: &Path) -> Vec<(TaskId, ContainerConfig)> {
    let all = TaskFolder::all(home).into_iter().flat_map(|task| {
        let folder = TaskFolder::place(home, &task);
        [folder.clone(), folder.join("blank")].map(|beside| (task.clone(), config(home, &task, &beside)))
    });
    let mut left: Vec<_> = all.filter(|(_, config)| Container::is_to_reclaim(config)).collect();
    left.retain(|(task, _)| !TaskFolder::is_taken(home, task));
    left
}

/// As much of it as giving back takes.
fn config(home: &Path, task: &TaskId, beside: &Path) -> ContainerConfig {
    let part = |name: &str| -> PathBuf { beside.join(name) };
    ContainerConfig {
        task: task.to_string(),
        owner: owner_of_containers(home),
        ..ContainerConfig::new("", sortie_bundle::init(), part("container"), part("workspace"), part("home"))
    }
}
