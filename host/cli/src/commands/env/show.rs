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
        let value = one_line(&in_words(&row.value), SHOWN);
        print::give(format_args!("{:width$}  {value}  # {}", row.key, one_line(&row.source, SHOWN)));
    }
    for notice in &notices {
        print::tell(format_args!("note: {}", one_line(notice, 500)));
    }
    Ok(Exit::Done)
}

/// A value as a person reads it: `dockerfile Dockerfile, context .`.
fn in_words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(parts) => {
            let is_said =
                |value: &Value| !value.is_null() && value.as_object().is_none_or(|these| !these.is_empty());
            let said = parts.iter().filter(|(_, value)| is_said(value));
            let words: Vec<_> = said.map(|(key, value)| format!("{key} {}", in_words(value))).collect();
            words.join(", ")
        }
        Value::Array(values) => values.iter().map(in_words).collect::<Vec<_>>().join(", "),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_words_and_no_json() {
        let build = json!({ "dockerfile": "Dockerfile", "context": "ci", "target": null, "args": {} });
        assert_eq!(in_words(&build), "context ci, dockerfile Dockerfile");
        let args = json!({ "args": { "VERSION": "3" }, "dockerfile": "D" });
        assert_eq!(in_words(&args), "args VERSION 3, dockerfile D");
        assert_eq!(in_words(&json!({ "env": "MY_TOKEN" })), "env MY_TOKEN");
        assert_eq!((in_words(&json!(true)), in_words(&json!(512))), ("true".into(), "512".into()));
    }
}
