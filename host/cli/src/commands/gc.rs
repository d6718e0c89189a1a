//! `sortie gc`: removes what nobody needs, or says what that would be.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use sortie_delivery::Mirrors;
use sortie_orchestrator::TaskFolder;
use sortie_workspace::archive::Archives;
use sortie_workspace::container::{Engine, EngineError};
use sortie_workspace::snapshot::Snapshots;

use crate::archiver::size;
use crate::args::GcArguments;
use crate::exit::Exit;
use crate::home::Places;
use crate::settings::{SettingsFile, archive, read_file, snapshots};
use crate::sweep::{self, Swept, UNUSED};
use crate::workspaces::owner_of_containers;
use crate::{print, snapshots as kept};

/// Until an engine that does not answer is left alone.
const ANSWER: Duration = Duration::from_secs(20);

/// How old a container has to be: one that is being made has nobody yet.
const CONTAINER: Duration = Duration::from_secs(120);

/// How old an image has to be: its snapshot is written after it.
const IMAGE: Duration = Duration::from_secs(3600);

/// Things of one kind that go, or would.
#[derive(Debug, Default)]
struct Going {
    names: Vec<String>,
    bytes: u64,
}

impl Going {
    fn add(&mut self, name: String, bytes: u64) {
        self.names.push(name);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl FromIterator<(String, u64)> for Going {
    fn from_iter<I: IntoIterator<Item = (String, u64)>>(things: I) -> Self {
        let mut going = Self::default();
        things.into_iter().for_each(|(name, bytes)| going.add(name, bytes));
        going
    }
}

/// By what people call them; the words are those of the JSON.
type All = BTreeMap<&'static str, Going>;

pub(crate) async fn run(places: &Places, arguments: &GcArguments) -> anyhow::Result<Exit> {
    let dry = arguments.dry_run;
    let mut swept = Swept::default();
    if !dry {
        // settings that are wrong keep nothing from being cleared up but what has rules
        swept = sweep::left_over(places);
        swept.components = sweep::components(places, Some(UNUSED));
    }
    let user = read_file(&places.user_settings)?;
    let organisation = read_file(&places.organisation_settings)?;
    let mut all = All::new();
    all.insert("archives", archives(places, &user, &organisation, dry)?);
    all.insert("snapshots", of_set_ups(places, &user, &organisation, dry).await);
    all.insert("mirrors", mirrors(places, dry));
    // after the snapshots, whose images go with them
    match tokio::time::timeout(ANSWER, of_engine(places, dry)).await {
        Ok(Ok((containers, images))) => all.extend([("containers", containers), ("images", images)]),
        Ok(Err(EngineError::Absent { .. })) => {}
        Ok(Err(error)) => print::tell(format_args!("containers and images are left as they are: {error}")),
        Err(_) => print::tell("containers and images are left as they are: their engine does not answer"),
    }
    all.retain(|kind, going| *kind == "archives" || !going.names.is_empty());
    if arguments.json {
        print::give(as_json(&all, swept, dry));
    } else {
        tell(&all, swept, dry);
    }
    Ok(Exit::Done)
}

fn as_json(all: &All, swept: Swept, dry: bool) -> Value {
    let mut object = json!({ "dry_run": dry, "left_over": swept.counts() });
    for (kind, going) in all {
        object[*kind] = json!(going.names);
        object[format!("{}_bytes", kind.trim_end_matches('s'))] = json!(going.bytes);
    }
    object
}

fn tell(all: &All, swept: Swept, dry: bool) {
    for (what, count) in swept.counts().iter().filter(|(_, count)| **count > 0) {
        print::give(format_args!("{count:>5} {what}"));
    }
    let would = if dry { "would go: " } else { "" };
    for (kind, going) in all.iter().filter(|(_, going)| !going.names.is_empty()) {
        let bytes = if going.bytes > 0 { format!(", {}", size(going.bytes)) } else { String::new() };
        print::give(format_args!("{would}{:>5} {kind}{bytes}", going.names.len()));
        if dry {
            going.names.iter().for_each(|name| print::give(format_args!("      {name}")));
        }
    }
    if swept.is_empty() && all.values().all(|going| going.names.is_empty()) {
        print::tell(if dry { "nothing would be removed" } else { "nothing to remove" });
    }
    if dry {
        print::tell("what killed processes left goes with the next command, whichever that is");
    }
}

fn archives(
    places: &Places,
    user: &SettingsFile,
    organisation: &SettingsFile,
    dry: bool,
) -> anyhow::Result<Going> {
    let retention = archive(user, organisation).retention;
    let (archives, now) = (Archives::new(&places.home), SystemTime::now());
    let going = if dry { archives.superfluous(retention, now)? } else { archives.enforce(retention, now)? };
    Ok(going.into_iter().map(|archive| (archive.task.to_string(), archive.bytes)).collect())
}

/// Snapshots; where the settings want none, all of them.
async fn of_set_ups(places: &Places, user: &SettingsFile, organisation: &SettingsFile, dry: bool) -> Going {
    let none = sortie_workspace::snapshot::SnapshotRules { total: 0, ..Default::default() };
    let rules = snapshots(user, organisation).unwrap_or(none);
    let there = Snapshots::new(&places.home, None);
    let mut going = there.superfluous(rules, SystemTime::now());
    if !dry {
        kept::enforce(&places.home, rules).await;
        let left: HashSet<_> = there.list().into_iter().map(|one| one.key).collect();
        going.retain(|one| !left.contains(&one.key));
    }
    let name = |one: &sortie_workspace::snapshot::Listed| format!("{} of {}", one.key, one.about.repository);
    going.iter().map(|one| (name(one), one.about.bytes.saturating_add(one.about.image_bytes))).collect()
}

fn mirrors(places: &Places, dry: bool) -> Going {
    let (mirrors, now) = (Mirrors::new(&places.home), SystemTime::now());
    let going = if dry {
        mirrors.superfluous(now)
    } else {
        mirrors.sweep();
        mirrors.enforce(now)
    };
    going.into_iter().map(|mirror| (mirror.url, mirror.bytes)).collect()
}

/// Containers that nobody holds, and images of snapshots that are no more.
async fn of_engine(places: &Places, dry: bool) -> Result<(Going, Going), EngineError> {
    let engine = Engine::connect().await?;
    let owner = owner_of_containers(&places.home);
    let is_alive = |task: &str| task.parse().is_ok_and(|task| TaskFolder::is_taken(&places.home, &task));
    let containers = engine.abandoned(&owner, CONTAINER, is_alive).await?;
    if !dry {
        engine.sweep(&owner, CONTAINER, is_alive).await?;
    }
    let mut images = Going::default();
    let there = Snapshots::new(&places.home, None).list();
    let wanted: HashSet<_> = there.into_iter().filter_map(|one| one.about.image).collect();
    let now = SystemTime::now();
    for image in engine.snapshots(&owner).await? {
        let is_new = now.duration_since(image.created).is_ok_and(|age| age < IMAGE);
        if is_new || wanted.contains(&image.id) {
            continue;
        }
        if dry || engine.remove_image(&image.id).await.is_ok() {
            images.add(image.name, image.bytes);
        }
    }
    Ok((containers.into_iter().map(|id| (id, 0)).collect(), images))
}
