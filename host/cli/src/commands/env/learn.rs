//! `sortie env learn`: the hosts that a set-up contacted, as the network rule
//! that lets the next one contact these and no others.

#![expect(clippy::disallowed_methods, reason = "writes the user's own settings, as asked")]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use sortie_core::event::Event;
use sortie_core::network::{HostPattern, NetworkRule};
use sortie_core::outcome::RefusedAction;
use sortie_core::{ActionKind, Phase, TaskId};
use sortie_environment::Origin;
use sortie_orchestrator::{Store, StoredEvent};
use toml_edit::{DocumentMut, Item, Key, Table, TableLike, Value, value};

use crate::args::LearnArguments;
use crate::commands::logs::known_task;
use crate::exit::{Exit, Failure};
use crate::home::Places;
use crate::print;
use crate::settings::{named, read_file};

/// Events that are read at a time.
const PAGE: u32 = 500;

pub(crate) fn run(places: &Places, arguments: &LearnArguments) -> anyhow::Result<Exit> {
    let store = Store::open(&places.home)?;
    let task = match &arguments.id {
        Some(id) => known_task(&store, id)?.id,
        None => store.tasks()?.into_iter().next().map(|task| task.id).ok_or_else(|| {
            Failure::usage(format!("there is no task yet; `{} run` makes one", crate::commands::program()))
        })?,
    };
    let Contacts { environment, allowed, refused, .. } = contacts(&store, &task)?;
    let hosts = hosts(&allowed, &refused);
    if hosts.is_empty() {
        let message = format!(
            "the set-up of {task} contacted nobody\nhint: one that began from a snapshot ran none: name the task whose \
             set-up made it; what was refused shows with `setup = \"all\"` under `[network]`"
        );
        return Err(Failure { exit: Exit::Unfinished, message }.into());
    }
    let rule = NetworkRule::Hosts(hosts.into_iter().map(Into::into).collect()).to_string();
    let table = table(places, environment.as_deref(), arguments.write)?;
    let shown = dotted(&table);
    if arguments.write {
        let path = &places.user_settings;
        write(path, &table, &rule)?;
        print::tell(format_args!("{}: `{shown}.setup` is what {task} contacted", path.display()));
    } else {
        print::tell(format_args!("# what the set-up of {task} contacted; --write puts it into the settings"));
    }
    print::give(format!("[{shown}]\nsetup = \"{rule}\""));
    Ok(Exit::Done)
}

fn dotted(table: &[String]) -> String {
    let keys: Vec<_> = table.iter().map(|key| Key::new(key).to_string()).collect();
    keys.join(".")
}

/// The table whose `setup` counts for a task in this environment: its own, if
/// that says anything, else everybody's.
fn table(places: &Places, environment: Option<&str>, is_written: bool) -> anyhow::Result<Vec<String>> {
    let everybodys = || vec!["network".to_owned()];
    let Some(name) = environment else { return Ok(everybodys()) };
    let (user, organisation) = (read_file(&places.user_settings)?, read_file(&places.organisation_settings)?);
    // one that is gone says nothing
    let Ok(environment) = named(name, &user, &organisation) else { return Ok(everybodys()) };
    if environment.setup_network.is_none() {
        return Ok(everybodys());
    }
    if is_written && matches!(environment.origin, Origin::Organisation(_)) {
        return Err(Failure::usage(format!(
            "the organisation's settings say what the set-up of environment `{name}` may contact: {}\nhint: without \
             --write, the rule is printed for whoever keeps them",
            places.organisation_settings.display()
        )));
    }
    Ok(vec!["environments".to_owned(), name.to_owned(), "network".to_owned()])
}

/// Whom a task contacted, as its journal has it.
fn contacts(store: &Store, task: &TaskId) -> anyhow::Result<Contacts> {
    let mut seen = Contacts::default();
    let mut after = 0;
    loop {
        let events = store.events(task, after, PAGE)?;
        let Some(last) = events.last() else { break };
        after = last.seq;
        events.iter().for_each(|event| seen.take(event));
    }
    Ok(seen)
}

/// Connections of the prepare phase.
#[derive(Default)]
struct Contacts {
    /// The environment that the operator named.
    environment: Option<String>,
    is_set_up: bool,
    allowed: Vec<String>,
    refused: Vec<String>,
}

impl Contacts {
    /// Takes an event; one that this version does not know says nothing.
    fn take(&mut self, event: &StoredEvent) {
        match serde_json::from_str(&event.body) {
            Ok(Event::TaskStarted { environment, .. }) => self.environment = environment,
            Ok(Event::PhaseStarted { phase }) => self.is_set_up = phase == Phase::Prepare,
            Ok(Event::Decision { kind: ActionKind::NetworkConnect, target, decision, .. })
                if self.is_set_up && decision == "allow" =>
            {
                self.allowed.push(target);
            }
            Ok(Event::Refused(RefusedAction { action, .. })) if self.is_set_up => {
                self.refused.extend(action.split_once(' ').map(|(_, target)| target.to_owned()));
            }
            _ => {}
        }
    }
}

/// Hosts that set-up was let through to, in order of name. What was refused
/// for its address was not contacted.
fn hosts(allowed: &[String], refused: &[String]) -> Vec<HostPattern> {
    let contacted = allowed.iter().filter(|target| !refused.contains(target));
    let hosts = contacted.filter_map(|target| {
        let (host, port) = target.rsplit_once(':')?;
        HostPattern::only(host, port.parse().ok()?)
    });
    let mut hosts: Vec<_> = hosts.collect();
    hosts.sort_by_key(ToString::to_string);
    hosts.dedup();
    hosts
}

/// Sets the rule in a table of a settings file and leaves everything else in it as it
/// is, comments too. The file is there as it was or as it will be, and never
/// in between.
fn write(path: &Path, table: &[String], rule: &str) -> anyhow::Result<()> {
    // a file with a mistake in it is nobody's to write to
    read_file(path)?;
    let named = || format!("cannot write `{}`", path.display());
    // a link stays one
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let text = match std::fs::read_to_string(&target) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(named),
    };
    let text = with_rule(&text, table, rule)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(named)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(named)?;
    file.write_all(text.as_bytes()).with_context(named)?;
    let mode = std::fs::metadata(&target).map_or(0o644, |there| there.permissions().mode() & 0o777);
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).with_context(named)?;
    file.as_file().sync_all().with_context(named)?;
    file.persist(&target).with_context(named)?;
    Ok(())
}

fn with_rule(text: &str, table: &[String], rule: &str) -> Result<String, String> {
    let mut settings: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    if settings.is_empty() {
        // what comments there are stay above
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        return Ok(format!("{text}{gap}[{}]\nsetup = {}\n", dotted(table), Value::from(rule)));
    }
    let mut within: &mut dyn TableLike = settings.as_table_mut();
    for key in table {
        let item = within.entry(key).or_insert(Item::Table(Table::new()));
        within = item.as_table_like_mut().ok_or_else(|| format!("`{key}` is no table"))?;
    }
    match within.get_mut("setup") {
        // with the comment that stands behind it
        Some(Item::Value(setup)) => {
            let decor = setup.decor().clone();
            *setup = rule.into();
            *setup.decor_mut() = decor;
        }
        _ => drop(within.insert("setup", value(rule))),
    }
    Ok(settings.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    fn learnt(events: &[Json]) -> String {
        let mut contacts = Contacts::default();
        for (seq, event) in (1..).zip(events) {
            contacts.take(&StoredEvent { seq, at: String::new(), body: event.to_string() });
        }
        NetworkRule::Hosts(hosts(&contacts.allowed, &contacts.refused).into_iter().map(Into::into).collect())
            .to_string()
    }

    fn network() -> Vec<String> {
        vec!["network".to_owned()]
    }

    fn phase(name: &str) -> Json {
        json!({ "type": "phase.started", "phase": name })
    }

    fn decision(target: &str, decision: &str) -> Json {
        json!({ "type": "decision", "id": "d1", "actor": "host", "kind": "network-connect", "target": target,
            "digest": "", "decision": decision, "policy": "default", "rule": null, "reason": null, "remedy": null })
    }

    #[test]
    fn what_set_up_was_let_through_to_is_learnt_and_nothing_else() {
        let refused = json!({ "type": "refused", "action": "network-connect private.example:443", "policy": "egress",
            "rule": "public-addresses", "reason": "it is not public", "remedy": null });
        let rule = learnt(&[
            decision("before.example:443", "allow"),
            phase("prepare"),
            decision("b.example:443", "allow"),
            decision("a.example:8443", "allow"),
            decision("b.example:80", "allow"),
            decision("denied.example:443", "deny"),
            decision("private.example:443", "allow"),
            refused,
            decision("a.example,all:443", "allow"),
            decision("::1:8080", "allow"),
            json!({ "type": "of a later version" }),
            phase("work"),
            decision("agent.example:443", "allow"),
        ]);
        assert_eq!(rule, "[::1]:8080,a.example:8443,b.example");
    }

    #[test]
    fn the_rule_is_set_and_all_else_is_left_as_it_is() {
        for (before, after) in [
            ("", "[network]\nsetup = \"a.example\"\n"),
            ("model = \"x/y\" # mine\n", "model = \"x/y\" # mine\n\n[network]\nsetup = \"a.example\"\n"),
            (
                "[network]\n# why\nagent = \"none\"\nsetup = \"all\" # kept\n\n[limits]\nturns = 1\n",
                "[network]\n# why\nagent = \"none\"\nsetup = \"a.example\" # kept\n\n[limits]\nturns = 1\n",
            ),
            ("network = { agent = \"none\" }\n", "network = { agent = \"none\" , setup = \"a.example\" }\n"),
            ("network.agent = \"none\"\n", "network.agent = \"none\"\nnetwork.setup = \"a.example\"\n"),
        ] {
            let written = with_rule(before, &network(), "a.example").expect("it is TOML");
            let read = |text: &str| text.parse::<toml::Table>().expect("it is TOML");
            assert_eq!(read(&written), read(after), "{written}");
            for line in before.lines().filter(|line| line.contains('#') && !line.contains("setup")) {
                assert!(written.contains(line), "{written}");
            }
        }
        assert!(
            with_rule("[network]\nsetup = \"all\" # why\n", &network(), "a.example")
                .expect("TOML")
                .contains("# why")
        );
        assert!(with_rule("network = 1", &network(), "a.example").is_err());
        assert!(with_rule("[network", &network(), "a.example").is_err());
    }

    #[test]
    fn a_settings_file_keeps_its_mode_and_its_place_behind_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("real.toml"), folder.path().join("config.toml"));
        std::fs::write(&file, "# mine\n").expect("is written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("is set");
        std::os::unix::fs::symlink(&file, &link).expect("is linked");
        write(&link, &network(), "a.example").expect("is written");
        assert!(link.is_symlink());
        assert_eq!(file.metadata().expect("is there").permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&file).expect("is there");
        assert_eq!(text, "# mine\n[network]\nsetup = \"a.example\"\n");
        std::fs::write(&file, "nonsense = 1\n").expect("is written");
        assert!(write(&link, &network(), "b.example").is_err());
        assert_eq!(std::fs::read_to_string(&file).expect("is there"), "nonsense = 1\n");
    }
}
