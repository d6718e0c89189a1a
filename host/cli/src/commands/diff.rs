//! `sortie diff ID`

use std::io::{ErrorKind, IsTerminal as _};

use anyhow::Context as _;
use sortie_core::TaskId;
use sortie_core::text::strip_escapes;
use sortie_orchestrator::{Store, TaskFolder};
use sortie_workspace::archive::Archives;

use crate::args::DiffArguments;
use crate::exit::{Exit, Failure};
use crate::home::Places;
use crate::print;

pub(crate) fn run(places: &Places, arguments: &DiffArguments) -> anyhow::Result<Exit> {
    super::logs::known_task(&Store::open(&places.home)?, &arguments.id)?;
    let path = TaskFolder::place(&places.home, &arguments.id).join("changes.diff");
    let diff = match std::fs::read(&path) {
        Ok(diff) => diff,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(missing(places, &arguments.id));
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    };
    // byte for byte for programs; a terminal would obey what a model wrote into a file
    print::give_bytes(&if std::io::stdout().is_terminal() { for_terminal(&diff) } else { diff });
    Ok(Exit::Done)
}

/// Why there is no diff, and what to do.
fn missing(places: &Places, id: &TaskId) -> anyhow::Error {
    let program = super::program();
    Failure::usage(if Archives::new(&places.home).path(id).exists() {
        format!(
            "{id} has no diff here\nhint: `{program} archive restore {id}` unpacks its archive, with `changes.diff` if \
             it came as far as a checkout"
        )
    } else if TaskFolder::place(&places.home, id).is_dir() {
        format!(
            "{id} has no diff: it is written when the task ends, if it came as far as a checkout\nhint: `{program} \
             shell {id}` enters what there is"
        )
    } else {
        format!("{id} has no diff: its folder was removed, and there is no archive of it")
    })
}

fn for_terminal(diff: &[u8]) -> Vec<u8> {
    strip_escapes(&String::from_utf8_lossy(diff)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::for_terminal;

    #[test]
    fn a_change_does_not_steer_the_terminal_that_shows_it() {
        assert_eq!(for_terminal(b"+a\x1b]0;owned\x07\x1b[2J\tb\xff\r\n"), "+a\tb\u{fffd}\r\n".as_bytes());
    }
}
