//! What a host that was killed left with a container engine: containers that
//! do not end by themselves, such as services, and folders that root of a
//! set-up filled. Only that engine's root can give those back, and nobody can
//! clear up before that.

use std::path::Path;
use std::time::Duration;

use sortie_core::TaskId;
use sortie_orchestrator::{TaskFolder, WorkspaceParts};
use sortie_workspace::container::{Container, ContainerConfig, ContainerError, Engine, EngineError};

use crate::home::Places;
use crate::print;
use crate::workspaces::owner_of_containers;

/// What was cleared up with the engine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reclaimed {
    /// Containers that were ended.
    pub(crate) containers: usize,
    /// Workspaces that were root's.
    pub(crate) workspaces: usize,
}

/// Ends those containers and has the folders given back to the user, for at
/// most as long as `patience` says, whatever the engine does. What it fails at
/// is told, and tried again with the next command.
pub(crate) async fn from_engine(places: &Places, patience: Duration) -> Reclaimed {
    let left = left(&places.home);
    let mut done = Reclaimed::default();
    if left.is_empty() {
        return done;
    }
    // cancel-safe: what tells of a folder or a container goes after it
    match tokio::time::timeout(patience, all(&places.home, &left, &mut done)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => untold(&left, &error.to_string()),
        Err(_) => untold(
            &left,
            &format!("that takes longer than {} s; `sortie gc` has more patience", patience.as_secs()),
        ),
    }
    done
}

/// One after the other. An engine that does not answer is not asked again.
async fn all(
    home: &Path,
    left: &[(TaskId, ContainerConfig)],
    done: &mut Reclaimed,
) -> Result<(), EngineError> {
    let engine = Engine::connect().await?;
    for (task, config) in left {
        // whoever works on it does so by itself
        let Ok(_lock) = TaskFolder::hold(home, task) else { continue };
        match Container::reclaim(&engine, config).await {
            Ok(of_this) => {
                done.containers += of_this.containers;
                done.workspaces += usize::from(of_this.folders);
            }
            Err(ContainerError::Engine(error @ EngineError::Silent { .. })) => return Err(error),
            Err(error) => print::tell(format_args!("{task}: {error}")),
        }
    }
    Ok(())
}

fn untold(left: &[(TaskId, ContainerConfig)], why: &str) {
    for (is_roots, what) in [
        (true, "are root's, and their container engine has to give them back"),
        (false, "may have containers, and their container engine has to end them"),
    ] {
        let of_these = left.iter().filter(|(_, config)| Container::is_roots(&config.folder) == is_roots);
        let mut tasks: Vec<_> = of_these.map(|(task, _)| task.to_string()).collect();
        tasks.dedup();
        if !tasks.is_empty() {
            let whose = if is_roots { "files of " } else { "" };
            print::tell(format_args!("{whose}{} {what}: {why}", tasks.join(", ")));
        }
    }
}

/// Of which tasks there are such, on which nobody works.
fn left(home: &Path) -> Vec<(TaskId, ContainerConfig)> {
    let all = TaskFolder::all(home).into_iter().flat_map(|task| {
        WorkspaceParts::all(home, &task).map(|parts| (task.clone(), config(home, &task, &parts)))
    });
    let is_left = |config: &ContainerConfig| Container::is_left(&config.folder);
    let mut left: Vec<_> = all.filter(|(_, config)| is_left(config)).collect();
    left.retain(|(task, config)| {
        let Ok(_lock) = TaskFolder::hold(home, task) else { return false };
        // for this no engine is needed
        if let Err(error) = Container::forget_gone(config) {
            tracing::warn!(%task, %error, "a note of folders that are gone stays");
        }
        is_left(config)
    });
    left
}

/// As much of it as this takes.
fn config(home: &Path, task: &TaskId, parts: &WorkspaceParts) -> ContainerConfig {
    ContainerConfig {
        task: task.to_string(),
        owner: owner_of_containers(home),
        ..ContainerConfig::new("", sortie_bundle::init(), parts.container(), parts.work_tree(), parts.home())
    }
}
