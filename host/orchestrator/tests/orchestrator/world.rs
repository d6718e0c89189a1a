//! Parts that do nothing, and note how the journal stood when they were asked.

mod ports;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock};

use sortie_agent::{Limits, Meter, TaskFacts};
use sortie_core::TaskId;
use sortie_core::action::WorkspaceCreate;
use sortie_core::event::{Event, Report};
use sortie_core::secret::Secret;
use sortie_environment::{Environment, Install};
use sortie_orchestrator::{Plan, RunError, Store, TaskFolder, TaskJournal, TaskRecord, TaskRun, Until};
use sortie_policy::{Chain, Defaults, FactsSource, Gate, Nobody, Seal};
use sortie_workspace::snapshot::{SnapshotRules, Snapshots};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use self::ports::Everything;

/// How a push goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushes {
    /// At once.
    Well,
    /// Somebody cancels the task meanwhile, and it still goes well.
    WhileCancelled,
    /// Somebody cancels the task, and it fails of that.
    UntilCancelled,
}

/// What comes of archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Archives {
    Whole,
    Partial,
    Unwanted,
    Failed,
}

/// How the workspace of a set-up starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Starts {
    /// At once.
    Well,
    /// Somebody cancels the task meanwhile, and it starts.
    WhileCancelled,
    /// Somebody cancels the task meanwhile, and it never does.
    Never,
}

/// How things go.
#[derive(Clone, Debug)]
pub(crate) struct Ways {
    pub(crate) pushes: Pushes,
    /// The disk fails once the workspace has stopped.
    pub(crate) breaks: bool,
    /// How often it is in vain to end a workspace.
    pub(crate) stuck: i32,
    pub(crate) archives: Archives,
    pub(crate) keep: bool,
    pub(crate) backend: &'static str,
    /// What the repository describes, and whether its rules say `registries`.
    pub(crate) environment: Option<Environment>,
    pub(crate) wants_registries: bool,
    pub(crate) starts: Starts,
    /// What the operator named, and the value that it binds.
    pub(crate) operator: Option<Environment>,
    pub(crate) secret: Option<&'static str>,
    /// What a command leaves in its home.
    pub(crate) leaves: fn(&Path),
    /// What is said of a search beside them.
    pub(crate) beside: Result<Vec<String>, String>,
}

impl Default for Ways {
    /// Well, without a set-up.
    fn default() -> Self {
        Self {
            pushes: Pushes::Well,
            breaks: false,
            stuck: 0,
            archives: Archives::Unwanted,
            keep: false,
            backend: "sandbox",
            environment: None,
            wants_registries: false,
            starts: Starts::Well,
            operator: None,
            secret: None,
            leaves: |_| (),
            beside: Ok(Vec::new()),
        }
    }
}

/// Leaves files of root's, as a container writes it down; for [`Ways::leaves`].
pub(crate) fn roots_files(home: &Path) {
    let note = home.parent().expect("the task's folder").join("container-root");
    std::fs::write(note, "image").expect("is written");
}

/// Everything around a run.
pub(crate) struct Surroundings {
    home: Arc<TempDir>,
    home_of_commands: PathBuf,
    id: TaskId,
    seal: Seal,
    cancel: CancellationToken,
    ways: Ways,
    /// What was asked for, each with the events that were durable by then.
    effects: Mutex<Vec<(&'static str, Vec<String>)>>,
    /// The workspaces that were asked for.
    created: Mutex<Vec<WorkspaceCreate>>,
    /// The events as people and programs are shown them.
    shown: Mutex<Vec<String>>,
    /// How often what runs in the background was ended.
    background: AtomicUsize,
    stuck: AtomicI32,
}

impl Surroundings {
    fn note(&self, effect: &'static str) {
        let store = Store::open(self.home.path()).expect("the journal opens");
        let events = store.events(&self.id, 0, 1000).expect("the journal is read");
        let events = events.into_iter().map(|event| event.body).collect();
        self.effects.lock().expect("is not poisoned").push((effect, events));
    }

    fn snapshots(&self) -> Snapshots {
        Snapshots::new(self.home.path(), None)
    }
}

/// Notes that somebody gave up waiting, unless it is forgotten.
struct GivenUp<'a>(&'a Surroundings);

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        self.0.note("given up");
    }
}

/// What is left of a run.
pub(crate) struct World {
    pub(crate) ended: Result<(Report, Option<RunError>), RunError>,
    pub(crate) work_tree: PathBuf,
    pub(crate) surroundings: Arc<Surroundings>,
}

impl World {
    /// What was asked for, in order.
    pub(crate) fn effects(&self) -> Vec<&'static str> {
        let effects = self.surroundings.effects.lock().expect("is not poisoned");
        effects.iter().map(|(effect, _)| *effect).collect()
    }

    /// All that anybody was shown, or finds in the journal or the report.
    pub(crate) fn told(&self) -> String {
        let Surroundings { shown, home, id, .. } = &*self.surroundings;
        let store = Store::open(home.path()).expect("the journal opens");
        let events = store.events(id, 0, 1000).expect("the journal is read");
        let (report, _) = self.ended.as_ref().expect("there is a report");
        let report = serde_json::to_string(report).expect("a report is JSON");
        let shown = shown.lock().expect("is not poisoned").join("\n");
        [shown, report, events.into_iter().map(|event| event.body).collect()].join("\n")
    }

    /// The events that were durable when this was asked for.
    pub(crate) fn durable_at(&self, effect: &str) -> String {
        let effects = self.surroundings.effects.lock().expect("is not poisoned");
        let (_, events) = effects.iter().find(|(known, _)| *known == effect).expect("it happened");
        events.join("\n")
    }
}

/// Runs a task to its end.
pub(crate) async fn run(pushes: Pushes, breaks: bool) -> World {
    run_with(Ways { pushes, breaks, ..Ways::default() }).await
}

/// Runs a task to its end, with things that go like this.
pub(crate) async fn run_with(ways: Ways) -> World {
    run_in(Arc::new(tempfile::tempdir().expect("a folder")), "task-7k2m9q", ways).await
}

impl World {
    /// Runs another task in the same place.
    pub(crate) async fn another(&self) -> Self {
        let Surroundings { home, ways, .. } = &*self.surroundings;
        run_in(Arc::clone(home), "task-aaaaaa", ways.clone()).await
    }

    /// The workspaces that were asked for.
    pub(crate) fn created(&self) -> Vec<WorkspaceCreate> {
        self.surroundings.created.lock().expect("is not poisoned").clone()
    }
}

async fn run_in(home: Arc<TempDir>, id: &str, ways: Ways) -> World {
    let id: TaskId = id.parse().expect("an id");
    let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let folder = TaskFolder::create(home.path(), &id, owner).expect("is made");
    let store = Arc::new(Store::open(home.path()).expect("opens"));
    let record = TaskRecord {
        id: id.clone(),
        created_at: "2026-01-01T00:00:00Z".into(),
        prompt: "mend it".into(),
        repository: "/r".into(),
        branch: "sortie/a".into(),
        model: "puppet/puppet-1".into(),
        outcome: None,
    };
    store.add_task(&record).expect("is added");
    // who listens is told of a step's end before that is on the disk
    let listening: Arc<OnceLock<Arc<Surroundings>>> = Arc::default();
    let listener = Arc::clone(&listening);
    let listener = Box::new(move |event: &Event| {
        let surroundings: &Arc<Surroundings> = listener.get().expect("it is there");
        let shown = serde_json::to_string(event).expect("an event is JSON");
        surroundings.shown.lock().expect("is not poisoned").push(shown);
        if matches!(event, Event::StepEnded { step, .. } if step == "keep") {
            surroundings.note("kept");
        }
    });
    let journal = TaskJournal::new(store, id.clone(), folder.blobs(), listener).expect("there is a journal");
    let facts = TaskFacts { task: id.to_string(), repository: "/r".into(), branch: "sortie/a".into() };
    let meter = Arc::new(Meter::new(facts));
    let defaults =
        Defaults { repository: "/r".into(), provider: "puppet".into(), ..sortie_testing::defaults() };
    let gate = Arc::new(Gate::new(
        Chain::new(vec![sortie_testing::allowing()]),
        defaults,
        Arc::clone(&meter) as Arc<dyn FactsSource>,
        Arc::new(journal.clone()),
        Arc::new(Nobody),
    ));
    let cancel = CancellationToken::new();
    let surroundings = Arc::new(Surroundings {
        home,
        home_of_commands: folder.home(),
        id: id.clone(),
        seal: gate.seal(),
        cancel: cancel.clone(),
        ways: ways.clone(),
        effects: Mutex::default(),
        shown: Mutex::default(),
        created: Mutex::default(),
        background: AtomicUsize::default(),
        stuck: ways.stuck.into(),
    });
    drop(listening.set(Arc::clone(&surroundings)));
    let everything = Everything(Arc::clone(&surroundings));
    let work_tree = folder.work_tree();
    let plan = Plan {
        id,
        prompt: "mend it".into(),
        repository: "/r".into(),
        base: None,
        branch: "sortie/a".into(),
        backend: ways.backend.into(),
        image: None,
        image_registries: Default::default(),
        install: Install::Skip,
        environment: ways.operator,
        secrets: ways.secret.map(|secret| ("TOKEN".to_owned(), Secret::new(secret))).into_iter().collect(),
        snapshots: true,
        snapshot_rules: SnapshotRules::default(),
        limits: Limits::default(),
        push: true,
        may_push: true,
        keep: ways.keep,
        until: Until::Delivered,
    };
    let run = TaskRun {
        plan,
        gate,
        journal,
        meter,
        folder,
        repository: Arc::new(everything.clone()),
        adopt: Arc::new(everything.clone()),
        files: Arc::new(everything.clone()),
        snapshots: surroundings.snapshots(),
        workspaces: Arc::new(everything.clone()),
        network: Arc::default(),
        tools: Arc::new(everything.clone()),
        archiver: Arc::new(everything.clone()),
        model: Arc::new(everything),
        cancel,
    };
    let ended = Box::pin(run.run()).await;
    World { ended, work_tree, surroundings }
}
