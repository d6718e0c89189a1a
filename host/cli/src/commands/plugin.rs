//! `sortie plugin list`

use serde_json::json;

use crate::args::PluginCommand;
use crate::exit::Exit;
use crate::home::Places;
use crate::plugins::{self, Sinks};
use crate::print;
use crate::settings::read_file;

pub(crate) async fn run(places: &Places, command: PluginCommand) -> anyhow::Result<Exit> {
    let PluginCommand::List(arguments) = command;
    let user = read_file(&places.user_settings)?;
    let organisation = read_file(&places.organisation_settings)?;
    let host = plugins::host(places, &Sinks::default())?;
    let loaded = plugins::load(&host, plugins::wanted(&user, &organisation)?).await?;
    for tool in &loaded.tools {
        let names: Vec<_> = tool.tools().map(|tool| tool.spec.name.clone()).collect();
        let line = if arguments.json {
            json!({ "id": tool.id(), "kind": "tool", "sha256": tool.digest().to_string(), "tools": names,
                "imports": tool.imports() })
            .to_string()
        } else {
            format!("{:<14} tool    {:.12}  {}", tool.id(), tool.digest().to_string(), names.join(", "))
        };
        print::give(line);
    }
    for policy in &loaded.policies {
        let (id, digest) = (policy.plugin.id(), policy.plugin.digest().to_string());
        let layer = format!("{:?}", policy.wanted.layer).to_lowercase();
        let line = if arguments.json {
            json!({ "id": id, "kind": "policy", "sha256": digest, "layer": layer, "actions": policy.wanted.actions,
                "mutates": policy.wanted.mutates })
            .to_string()
        } else {
            format!("{id:<14} policy  {digest:.12}  {layer}")
        };
        print::give(line);
    }
    Ok(Exit::Done)
}
