//! `sortie env shell`: a person in the workspace that a task would begin with.

use sortie_core::{Outcome, TaskId};
use sortie_orchestrator::task_images;
use sortie_workspace::container::Engine;

use super::build::prepare;
use crate::args::{EnvironmentArguments, EnvironmentShellArguments, ShellArguments};
use crate::commands::shell;
use crate::exit::{Exit, of_task, told};
use crate::home::Places;
use crate::print;
use crate::settings::{read_file, resolve};
use crate::workspaces::{SANDBOX, owner_of_containers};

pub(super) async fn run(places: &Places, arguments: EnvironmentShellArguments) -> anyhow::Result<Exit> {
    let EnvironmentShellArguments { of, command } = arguments;
    let is_container = is_container(places, of.clone())?;
    let (env, network, accept) = (of.env.clone(), of.network.clone(), of.accept.clone());
    // what set-up prints is no part of what the command does
    let (report, error) = prepare(places, of, print::listener(false), true).await?;
    if report.outcome != Outcome::Done {
        print::tell(format_args!(
            "{}\nhint: `{} shell {}` enters what there is",
            report.summary,
            crate::commands::program(),
            report.task
        ));
        return Ok(of_task(report.outcome, error.as_ref()));
    }
    let id: TaskId = report.task.parse()?;
    let folder = shell::open(places, &id)?;
    // if this process is killed, the next command removes it
    folder.lend()?;
    let visit = ShellArguments {
        id: id.clone(),
        command,
        keep: false,
        workspace: None,
        image: None,
        network,
        env,
        accept,
    };
    let exit = shell::run_in(places, &folder, visit).await;
    folder.return_borrowed()?;
    if is_container && let Err(error) = remove_images(places, &id).await {
        print::tell(format_args!("the image that set-up made is not removed: {}", told(&error)));
    }
    exit
}

/// Removes the images that set-up made for this task alone, the last first:
/// each was made from the one before.
async fn remove_images(places: &Places, id: &TaskId) -> anyhow::Result<()> {
    let engine = Engine::connect().await?;
    let mut images = engine.snapshots(&owner_of_containers(&places.home)).await?;
    images.retain(|image| image.name.starts_with(&task_images(id)));
    images.sort_by(|one, other| other.name.cmp(&one.name));
    for image in images {
        engine.remove_image(&image.id).await?;
    }
    Ok(())
}

/// Whether the flag or the settings say so.
fn is_container(places: &Places, of: EnvironmentArguments) -> anyhow::Result<bool> {
    let user = read_file(&places.user_settings)?;
    let organisation = read_file(&places.organisation_settings)?;
    let settings = resolve(&of.into_task(), &user, &organisation)?;
    Ok(settings.workspace.backend.is_some_and(|backend| backend != SANDBOX))
}
