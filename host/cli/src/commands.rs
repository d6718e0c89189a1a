//! The commands.

mod archive;
mod demo;
mod diff;
mod doctor;
mod env;
mod gc;
mod list;
mod logs;
mod plugin;
mod run;
mod shell;

use crate::args::{Arguments, Command};
use crate::exit::Exit;
use crate::home::Places;
use crate::sweep::{self, Care};

/// Runs a command and says with which code to end.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let places = Places::from_environment()?;
    // two workers: the work is waiting, and each worker's stacks and caches count against the task's memory
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if !matches!(arguments.command, Command::Gc(_)) {
        let swept = runtime.block_on(sweep::left_over(&places, Care::Quick));
        tracing::debug!(?swept, "cleared up after hosts that were killed");
    }
    let exit = runtime.block_on(async {
        match arguments.command {
            Command::Run(arguments) => run::run(&places, *arguments).await,
            Command::Demo(arguments) => demo::run(&places, arguments).await,
            Command::Doctor(arguments) => doctor::run(&places, &arguments).await,
            Command::List(arguments) => list::run(&places, &arguments),
            Command::Logs(arguments) => logs::run(&places, &arguments).await,
            Command::Diff(arguments) => diff::run(&places, &arguments),
            Command::Env(command) => env::run(&places, command).await,
            Command::Archive(command) => archive::run(&places, command),
            Command::Shell(arguments) => shell::run(&places, arguments).await,
            Command::Gc(arguments) => gc::run(&places, &arguments).await,
            Command::Plugin(command) => plugin::run(&places, command).await,
        }
    });
    // a blocking call of a plugin or a policy must not hold the end up
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    exit
}

/// The `sortie` command as the user can type it again.
pub(crate) fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "sortie".into())
}
