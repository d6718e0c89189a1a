//! `sortie diff ID`

use std::io::{ErrorKind, Write as _};

use anyhow::Context as _;
use sortie_orchestrator::{Store, TaskFolder};

use crate::args::DiffArguments;
use crate::exit::{Exit, Failure};
use crate::home::Places;

pub(crate) fn run(places: &Places, arguments: &DiffArguments) -> anyhow::Result<Exit> {
    super::logs::known_task(&Store::open(&places.home)?, &arguments.id)?;
    let path = TaskFolder::place(&places.home, &arguments.id).join("changes.diff");
    let diff = match std::fs::read(&path) {
        Ok(diff) => diff,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Failure::usage(format!(
                "{} has no diff: it is written when the task ends, if it came as far as a checkout",
                arguments.id
            )));
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    };
    // a reader that went away, such as `head`, is no failure
    drop(std::io::stdout().lock().write_all(&diff));
    Ok(Exit::Done)
}
