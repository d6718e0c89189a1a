//! `sortie env …`: what a task's workspace is made of, and may reach.

mod build;
mod check;
mod chosen;
mod learn;
mod rows;
mod shell;
mod show;

use crate::args::EnvCommand;
use crate::exit::Exit;
use crate::home::Places;

pub(crate) async fn run(places: &Places, command: EnvCommand) -> anyhow::Result<Exit> {
    match command {
        EnvCommand::Show(arguments) => show::run(places, arguments),
        EnvCommand::Check(arguments) => check::run(places, arguments).await,
        EnvCommand::Build(arguments) => build::run(places, arguments).await,
        EnvCommand::Shell(arguments) => shell::run(places, arguments).await,
        EnvCommand::Learn(arguments) => learn::run(places, &arguments),
    }
}
