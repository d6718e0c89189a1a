//! `sortie env show`: what a task's workspace would be made of, and why.

use serde_json::{Value, json};
use sortie_core::text::one_line;

use super::chosen::Chosen;
use crate::args::ShowArguments;
use crate::exit::Exit;
use crate::home::Places;
use crate::print;

/// Characters of a value that are shown to people.
const SHOWN: usize = 300;

pub(super) fn run(places: &Places, arguments: ShowArguments) -> anyhow::Result<Exit> {
    let chosen = Chosen::read(places, arguments.of)?;
    let (rows, commit) = (chosen.rows(), chosen.files.commit());
    let mut notices = chosen.choice.notices.clone();
    notices.extend(chosen.choice.set_up().err().map(|error| format!("a task would be refused: {error}")));
    let unbound = chosen.unbound();
    if !unbound.is_empty() {
        let names = one_line(&unbound.join(", "), SHOWN);
        notices.push(format!("secrets that nobody bound: {names}; `[environments.NAME.secrets]` binds them"));
    }
    if arguments.json {
        print::give(json!({
            "repository": chosen.repository,
            "commit": commit,
            "environment": chosen.environment().origin.to_string(),
            "values": rows,
            "notices": notices,
        }));
        return Ok(Exit::Done);
    }
    print::give(format_args!(
        "repository   {} at {}",
        one_line(&chosen.repository, SHOWN),
        &commit[..12.min(commit.len())]
    ));
    print::give(format_args!("environment  {}", chosen.environment().origin));
    let width = rows.iter().map(|row| row.key.chars().count()).max().unwrap_or_default().min(40);
    print::give("");
    for row in &rows {
        let value = match &row.value {
            Value::String(text) => one_line(text, SHOWN),
            value => one_line(&value.to_string(), SHOWN),
        };
        print::give(format_args!("{:width$}  {value}  # {}", row.key, one_line(&row.source, SHOWN)));
    }
    for notice in &notices {
        print::tell(format_args!("note: {}", one_line(notice, 500)));
    }
    Ok(Exit::Done)
}
