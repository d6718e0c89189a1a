//! `sortie env …`: what a task's workspace is made of, and may reach.

mod learn;

use crate::args::EnvCommand;
use crate::exit::Exit;
use crate::home::Places;

pub(crate) async fn run(places: &Places, command: EnvCommand) -> anyhow::Result<Exit> {
    match command {
        EnvCommand::Learn(arguments) => learn::run(places, &arguments),
    }
}
