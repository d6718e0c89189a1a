//! `sortie gc`: removes what nobody needs, or says what that would be.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use sortie_core::TaskId;
use sortie_delivery::{MirrorBounds, Mirrors};
use sortie_orchestrator::{Store, TaskFolder, WorkspaceParts};
use sortie_workspace::container::{Engine, EngineError, Snapshot as Image};
use sortie_workspace::snapshot::{SnapshotRules, Snapshots};

use crate::archiver::size;
use crate::args::GcArguments;
use crate::commands::shell;
use crate::exit::Exit;
use crate::home::Places;
use crate::retention::{self, Surplus};
use crate::settings::{SettingsFile, archive, mirrors, read_file, snapshots};
use crate::sweep::{self, Care, Swept};
use crate::workspaces::owner_of_containers;
use crate::{print, snapshots as kept};

/// Until an engine that does not answer is left alone.
const ANSWER: Duration = Duration::from_secs(20);

/// How old a container has to be: one that is being made has nobody yet.
const CONTAINER: Duration = Duration::from_secs(120);

/// How old an image of a Dockerfile has to be at least: the task that built it
/// has to begin its containers first.
const UNUSED_BUILD: Duration = Duration::from_secs(3600);

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
        swept = sweep::left_over(places, Care::Whole).await;
    }
    let user = read_file(&places.user_settings)?;
    let organisation = read_file(&places.organisation_settings)?;
    let mut all = All::new();
    let (archives, folders) = of_tasks(places, &user, &organisation, dry)?;
    all.extend([("archives", archives), ("task_folders", folders)]);
    all.insert("snapshots", of_set_ups(places, &user, &organisation, dry).await);
    all.insert("mirrors", of_remotes(places, &user, &organisation, dry));
    // after the snapshots, whose images go with them
    match tokio::time::timeout(ANSWER, of_engine(places, snapshots(&user, &organisation), dry)).await {
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
        let kind = kind.replace('_', " ");
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

/// Archives, and folders of tasks; without a journal those alone that go with
/// an archive.
fn of_tasks(
    places: &Places,
    user: &SettingsFile,
    organisation: &SettingsFile,
    dry: bool,
) -> anyhow::Result<(Going, Going)> {
    let (rules, now) = (archive(user, organisation).retention, SystemTime::now());
    // on a full disk it does not open, and then room is wanted most
    let store = Store::open(&places.home).map_err(|error| {
        print::tell(format_args!("folders of tasks stay that go with no archive: {error}"));
    });
    let of = if dry { retention::surplus } else { retention::enforce };
    let Surplus { archives, folders } = of(&places.home, store.as_ref().ok(), rules, now)?;
    let archives = archives.into_iter().map(|archive| (archive.task.to_string(), archive.bytes));
    let folders = folders.into_iter().map(|folder| (folder.task.to_string(), folder.bytes.unwrap_or(0)));
    Ok((archives.collect(), folders.collect()))
}

/// Snapshots; where the settings want none, all of them.
async fn of_set_ups(places: &Places, user: &SettingsFile, organisation: &SettingsFile, dry: bool) -> Going {
    let none = SnapshotRules { total: 0, ..SnapshotRules::default() };
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

/// Mirrors; where the settings want none, all of them.
fn of_remotes(places: &Places, user: &SettingsFile, organisation: &SettingsFile, dry: bool) -> Going {
    let none = MirrorBounds { number: 0, ..MirrorBounds::default() };
    let there = Mirrors::bounded(&places.home, mirrors(user, organisation).unwrap_or(none));
    let now = SystemTime::now();
    let going = if dry {
        there.superfluous(now)
    } else {
        there.sweep();
        there.enforce(now)
    };
    going.into_iter().map(|mirror| (mirror.url, mirror.bytes)).collect()
}

/// Containers that nobody holds, and images that nobody needs.
async fn of_engine(
    places: &Places,
    rules: Option<SnapshotRules>,
    dry: bool,
) -> Result<(Going, Going), EngineError> {
    let engine = Engine::connect().await?;
    let owner = owner_of_containers(&places.home);
    let is_alive = |task: &str| task.parse().is_ok_and(|task| TaskFolder::is_taken(&places.home, &task));
    let containers = engine.abandoned(&owner, CONTAINER, is_alive).await?;
    if !dry {
        engine.sweep(&owner, CONTAINER, is_alive).await?;
    }
    let mut images = Going::default();
    let made = engine.snapshots(&owner).await?;
    let built = engine.builds(&owner).await?;
    let store = Store::open(&places.home).ok();
    // nobody would know of an image that a killed set-up left
    let is_ready =
        |task: &TaskId| store.as_ref().is_none_or(|store| shell::is_ready(store, task).unwrap_or(true));
    for image in going(places, rules, is_ready, (made, built)) {
        if dry || engine.remove_image(&image.id).await.is_ok() {
            images.add(image.name, image.bytes);
        }
    }
    Ok((containers.into_iter().map(|id| (id, 0)).collect(), images))
}

/// Of the images that set-ups `made`, those that no snapshot goes with, of
/// tasks whose workspace is gone or never was ready; of those that were `built`
/// from Dockerfiles, the ones that are as old as an unused snapshot may be.
///
/// A task that ends while this looks has kept its snapshot before: hence the
/// order of the questions, images before tasks and tasks before snapshots.
fn going(
    places: &Places,
    rules: Option<SnapshotRules>,
    is_ready: impl Fn(&TaskId) -> bool,
    (mut made, mut built): (Vec<Image>, Vec<Image>),
) -> Vec<Image> {
    let has_workspace = |task: &TaskId| WorkspaceParts::own(&places.home, task).are_there();
    let is_needed =
        |task: &TaskId| TaskFolder::is_taken(&places.home, task) || (has_workspace(task) && is_ready(task));
    made.retain(|image| !image.task.parse().is_ok_and(|task| is_needed(&task)));
    let kept = Snapshots::new(&places.home, None).list();
    made.retain(|image| kept.iter().all(|one| one.about.image.as_ref() != Some(&image.id)));
    let unused = rules.map_or(UNUSED_BUILD, |rules| rules.unused.max(UNUSED_BUILD));
    // one that a task has found may be what its container begins from
    let is_quiet = TaskFolder::all(&places.home).iter().all(|task| !TaskFolder::is_taken(&places.home, task));
    built.retain(|image| is_quiet && image.created.elapsed().is_ok_and(|age| age > unused));
    // what was made from others goes before them
    made.sort_by_key(|image| std::cmp::Reverse(image.created));
    made.into_iter().chain(built).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(task: &str, id: &str, age: Duration) -> Image {
        let created = SystemTime::now() - age;
        let (id, task) = (id.to_owned(), task.to_owned());
        Image { name: format!("sortie-task:{task}-0"), key: String::new(), id, task, bytes: 1, created }
    }

    #[test]
    fn images_of_tasks_stay_as_long_as_their_workspaces_and_builds_as_long_as_unused_snapshots() {
        let home = tempfile::tempdir().expect("a folder");
        let places = Places {
            home: home.path().to_owned(),
            user_settings: home.path().join("none"),
            organisation_settings: home.path().join("none"),
            component_cache: home.path().join("components"),
        };
        let owner = sortie_workspace::sandbox::Owner::current();
        let owner = (owner.uid, owner.gid);
        let folder = |id: &str| {
            let id = id.parse().expect("an id");
            TaskFolder::create(home.path(), &id, owner).expect("is made")
        };
        // one runs with its work tree on its way out, one was kept, one has ended, one is of nobody, and one was killed
        // in its set-up
        let runs = folder("task-aaaaaa");
        runs.remove_workspace().expect("is removed");
        drop((folder("task-bbbbbb"), folder("task-eeeeee")));
        folder("task-cccccc").remove_workspace().expect("is removed");
        let moment = Duration::from_secs(1);
        let made = ["task-aaaaaa", "task-bbbbbb", "task-cccccc", "task-dddddd", "task-eeeeee", "", "../.."];
        let made = made.iter().map(|task| image(task, task, moment)).collect::<Vec<_>>();
        let day = Duration::from_secs(86_400);
        let built = vec![image("", "old", 15 * day), image("", "new", 13 * day)];
        let ids = |rules| -> Vec<_> {
            let is_ready = |task: &TaskId| task.as_str() == "task-bbbbbb";
            let going = going(&places, rules, is_ready, (made.clone(), built.clone()));
            let mut ids: Vec<_> = going.into_iter().map(|image| image.id).collect();
            ids.sort();
            ids
        };
        let rules = SnapshotRules { unused: 14 * day, ..SnapshotRules::default() };
        assert_eq!(ids(Some(rules)), ["", "../..", "task-cccccc", "task-dddddd", "task-eeeeee"]);
        assert_eq!(ids(None), ids(Some(rules)), "somebody works");
        drop(runs);
        let all = ["", "../..", "old", "task-aaaaaa", "task-cccccc", "task-dddddd", "task-eeeeee"];
        assert_eq!(ids(Some(rules)), all);
        let both = ["", "../..", "new", "old", "task-aaaaaa", "task-cccccc", "task-dddddd", "task-eeeeee"];
        assert_eq!(ids(Some(SnapshotRules { unused: moment, ..rules })), both);
        assert_eq!(ids(None), both);
    }
}
