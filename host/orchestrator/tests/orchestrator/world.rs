//! Parts that do nothing, and note how the journal stood when they were asked.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use sortie_agent::{Limits, Meter, TaskFacts};
use sortie_core::TaskId;
use sortie_core::action::{
    Against, Change, ChangeKind, Commit, Exec, FileRead, FileWrite, ModelRequest, Push, RepositoryFetch,
    Stage, ToolCall, WorkspaceCreate,
};
use sortie_core::conversation::{Item, Reply, StopReason};
use sortie_core::event::{Event, Report};
use sortie_core::outcome::Usage;
use sortie_environment::{Environment, Install};
use sortie_orchestrator::{
    Adopt, Adopted, Archived, Archiver, Parts, Plan, Remains, RunError, Store, TaskFolder, TaskJournal,
    TaskRecord, TaskRun, Toolmaker, Until,
};
use sortie_policy::ports::{
    Background, BranchState, Chunk, Commands, CommitInfo, Ended, ErrorCode, Exit, FileContent, Files,
    Identity, Invocation, LineMatch, Model, ModelError, PortError, Process, ReplyObserver, Repository,
    SearchQuery, Survey, Tool, ToolOutput, Tools, Workspace, WorkspaceSpec, Workspaces,
};
use sortie_policy::{Chain, Defaults, FactsSource, Gate, Nobody, Permit, Seal};
use sortie_workspace::snapshot::{SnapshotRules, Snapshots};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

fn none() -> PortError {
    PortError::new(ErrorCode::Unavailable, "there is none")
}

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
    pub(crate) archives: Archives,
    pub(crate) keep: bool,
    pub(crate) backend: &'static str,
    /// What the repository describes, and whether its rules say `registries`.
    pub(crate) environment: Option<Environment>,
    pub(crate) wants_registries: bool,
    pub(crate) starts: Starts,
}

impl Default for Ways {
    /// Well, without a set-up.
    fn default() -> Self {
        Self {
            pushes: Pushes::Well,
            breaks: false,
            archives: Archives::Unwanted,
            keep: false,
            backend: "sandbox",
            environment: None,
            wants_registries: false,
            starts: Starts::Well,
        }
    }
}

/// Everything around a run.
pub(crate) struct Surroundings {
    home: Arc<TempDir>,
    id: TaskId,
    seal: Seal,
    cancel: CancellationToken,
    ways: Ways,
    /// What was asked for, each with the events that were durable by then.
    effects: Mutex<Vec<(&'static str, Vec<String>)>>,
    /// The workspaces that were asked for.
    created: Mutex<Vec<WorkspaceCreate>>,
    /// How often what runs in the background was ended.
    background: AtomicUsize,
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

/// One object for all ports.
#[derive(Clone)]
struct Everything(Arc<Surroundings>);

#[async_trait]
impl Repository for Everything {
    async fn fetch_other(&self, _: Permit<RepositoryFetch>) -> Result<String, PortError> {
        unreachable!("nobody names another base")
    }

    async fn fetch(&self, permit: Permit<RepositoryFetch>) -> Result<String, PortError> {
        permit.redeem(self.0.seal)?;
        self.0.note("fetch");
        Ok("b".repeat(40))
    }

    async fn check_out(&self) -> Result<(), PortError> {
        Ok(())
    }

    async fn mark_set_up(&self) -> Result<(), PortError> {
        Ok(())
    }

    async fn changes(&self, _: Against) -> Result<Vec<Change>, PortError> {
        Ok(vec![Change { path: "a".into(), kind: ChangeKind::Modified }])
    }

    async fn state(&self) -> Result<BranchState, PortError> {
        Err(none())
    }

    async fn status(&self, _: Permit<FileRead>) -> Result<Vec<Change>, PortError> {
        Err(none())
    }

    async fn diff(&self, _: Permit<FileRead>) -> Result<String, PortError> {
        Ok("diff".into())
    }

    async fn log(&self, _: Permit<FileRead>) -> Result<Vec<CommitInfo>, PortError> {
        Err(none())
    }

    async fn survey_show(&self, _: &str) -> Result<Vec<String>, PortError> {
        Err(none())
    }

    async fn show(&self, _: Permit<FileRead>) -> Result<String, PortError> {
        Err(none())
    }

    async fn commit(&self, permit: Permit<Commit>) -> Result<String, PortError> {
        permit.redeem(self.0.seal)?;
        self.0.note("commit");
        Ok("c".repeat(40))
    }

    async fn planned_push(&self) -> Result<Option<Push>, PortError> {
        Ok(Some(Push {
            remote: "/origin".into(),
            reference: "refs/heads/sortie/a".into(),
            commit: "c".repeat(40),
            changes: self.changes(Against::Base).await?,
        }))
    }

    async fn push(&self, permit: Permit<Push>) -> Result<(), PortError> {
        permit.redeem(self.0.seal)?;
        self.0.note("push");
        if self.0.ways.pushes == Pushes::Well {
            return Ok(());
        }
        self.0.cancel.cancel();
        // the remote takes its time
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.0.note("pushed");
        if self.0.ways.pushes == Pushes::WhileCancelled { Ok(()) } else { Err(none()) }
    }
}

#[async_trait]
impl Adopt for Everything {
    async fn adopt(&self, limits: Limits) -> Result<Adopted, PortError> {
        let Ways { environment, wants_registries, .. } = self.0.ways.clone();
        Ok(Adopted { install: None, limits, wants_registries, environment })
    }
}

#[async_trait]
impl Workspaces for Everything {
    async fn identify(
        &self,
        permit: Permit<WorkspaceCreate>,
        _: &WorkspaceSpec,
    ) -> Result<Identity, PortError> {
        permit.redeem(self.0.seal)?;
        let image = (self.0.ways.backend != "sandbox").then(|| "sha256:base".to_owned());
        Ok(Identity { id: "none".into(), image })
    }

    async fn discard(&self, _: &str) {
        self.0.note("discard");
    }

    async fn create(
        &self,
        permit: Permit<WorkspaceCreate>,
        _: WorkspaceSpec,
    ) -> Result<Arc<dyn Workspace>, PortError> {
        let create = permit.redeem(self.0.seal)?;
        let is_set_up = create.stage == Stage::SetUp;
        self.0.created.lock().expect("is not poisoned").push(create);
        self.0.note("workspace");
        if is_set_up && self.0.ways.starts != Starts::Well {
            self.0.cancel.cancel();
            let given_up = GivenUp(&self.0);
            let time = if self.0.ways.starts == Starts::Never { 86_400_000 } else { 20 };
            tokio::time::sleep(Duration::from_millis(time)).await;
            std::mem::forget(given_up);
        }
        // somebody tidies up just now
        if !is_set_up && self.0.snapshots().list().iter().any(|one| self.0.snapshots().remove(&one.key)) {
            self.0.note("snapshot removed");
        }
        Ok(Arc::new(self.clone()))
    }
}

/// A command that does nothing, and succeeds.
struct Nothing(bool);

#[async_trait]
impl Process for Nothing {
    async fn next(&mut self, _: Duration) -> Result<Option<Chunk>, PortError> {
        Ok(std::mem::take(&mut self.0).then(|| Chunk::Exit(Ended::of(Exit::Code(0)))))
    }

    async fn write(&mut self, _: &[u8]) -> Result<(), PortError> {
        Err(none())
    }

    async fn close_stdin(&mut self) -> Result<(), PortError> {
        Err(none())
    }

    async fn terminate(&mut self) -> Result<(), PortError> {
        Ok(())
    }

    async fn kill(&mut self) -> Result<(), PortError> {
        Ok(())
    }

    async fn detach(self: Box<Self>) -> Result<String, PortError> {
        Err(none())
    }
}

/// The agent left one command running.
#[async_trait]
impl Commands for Everything {
    async fn spawn(&self, permit: Permit<Exec>) -> Result<Box<dyn Process>, PortError> {
        permit.redeem(self.0.seal)?;
        self.0.note("command");
        Ok(Box::new(Nothing(true)))
    }

    async fn attach(&self, _: &str) -> Result<Box<dyn Process>, PortError> {
        unreachable!("no tool runs")
    }

    async fn end_background(&self) -> Vec<Background> {
        let asked = self.0.background.fetch_add(1, Ordering::SeqCst);
        let asleep = Background {
            id: "p1".into(),
            command: "sleep 9".into(),
            age: Duration::from_secs(2),
            exit: None,
        };
        if asked == 0 { vec![asleep] } else { Vec::new() }
    }
}

#[async_trait]
impl Workspace for Everything {
    fn commands(&self) -> Arc<dyn Commands> {
        Arc::new(self.clone())
    }

    fn files(&self) -> Arc<dyn Files> {
        Arc::new(self.clone())
    }

    async fn commit(&self, _: &str) -> Result<Option<String>, PortError> {
        self.0.note("image");
        Ok(Some("sha256:made".into()))
    }

    async fn search_root(&self, _: &[Vec<u8>]) -> Result<Vec<String>, PortError> {
        Ok(Vec::new())
    }

    async fn stop(&self) {
        self.0.note("stop");
        if self.0.ways.breaks {
            let database = rusqlite::Connection::open(self.0.home.path().join("journal.db")).expect("opens");
            database.execute_batch("ALTER TABLE events RENAME TO gone").expect("is renamed");
        }
    }
}

#[async_trait]
impl Archiver for Everything {
    async fn archive(&self, remains: Remains) -> Result<Archived, PortError> {
        assert!(remains.work_tree.is_dir() && remains.diff.is_file());
        assert_eq!(remains.base, Some("b".repeat(40)));
        self.0.note("archive");
        match self.0.ways.archives {
            Archives::Whole => Ok(Archived::Whole("1 file".into())),
            Archives::Partial => Ok(Archived::Partial("1 file too large".into())),
            Archives::Unwanted => Ok(Archived::Unwanted),
            Archives::Failed => Err(none()),
        }
    }
}

#[async_trait]
impl Files for Everything {
    async fn survey_glob(&self, _: &str, _: u32) -> Result<Survey, PortError> {
        Ok(Survey::default())
    }

    async fn survey_search(&self, _: &SearchQuery) -> Result<Survey, PortError> {
        Ok(Survey::default())
    }

    async fn glob(&self, permit: Permit<FileRead>) -> Result<Vec<String>, PortError> {
        permit.redeem(self.0.seal)?;
        Ok(vec!["Cargo.toml".into()])
    }

    async fn search(&self, _: Permit<FileRead>) -> Result<Vec<LineMatch>, PortError> {
        Err(none())
    }

    async fn read(&self, _: Permit<FileRead>) -> Result<FileContent, PortError> {
        Err(none())
    }

    async fn write(&self, _: Permit<FileWrite>) -> Result<Option<String>, PortError> {
        Err(none())
    }
}

#[async_trait]
impl Toolmaker for Everything {
    async fn tools(&self, _: &Arc<dyn Workspace>) -> Result<Arc<dyn Tools>, PortError> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Tools for Everything {
    fn list(&self) -> Vec<Tool> {
        Vec::new()
    }

    fn check(&self, _: &str, _: &str) -> Result<ToolCall, PortError> {
        Err(none())
    }

    async fn invoke(&self, _: Permit<ToolCall>, _: Invocation) -> Result<ToolOutput, PortError> {
        Err(none())
    }
}

#[async_trait]
impl Model for Everything {
    fn provider(&self) -> &'static str {
        "puppet"
    }

    fn name(&self) -> &'static str {
        "puppet-1"
    }

    fn endpoint(&self) -> &'static str {
        "none"
    }

    async fn respond(
        &self,
        permit: Permit<ModelRequest>,
        _: &dyn ReplyObserver,
    ) -> Result<Reply, ModelError> {
        permit.redeem(self.0.seal).map_err(|error| ModelError::Permit(error.to_string()))?;
        self.0.note("model");
        let arguments = json!({ "outcome": "done", "title": "t", "summary": "s" }).to_string();
        let finish = Item::ToolCall { id: "1".into(), name: "finish".into(), arguments };
        Ok(Reply { items: vec![finish], stop: StopReason::Ended, usage: Usage::default() })
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
        if matches!(event, Event::StepEnded { step, .. } if step == "keep") {
            listener.get().expect("it is there").note("kept");
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
        id: id.clone(),
        seal: gate.seal(),
        cancel: cancel.clone(),
        ways: ways.clone(),
        effects: Mutex::default(),
        created: Mutex::default(),
        background: AtomicUsize::default(),
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
        environment: None,
        secrets: Vec::new(),
        snapshots: true,
        snapshot_rules: SnapshotRules::default(),
        limits: Limits::default(),
        push: true,
        may_push: true,
        keep: ways.keep,
        until: Until::Delivered,
    };
    let parts = Parts {
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
    let ended = Box::pin(TaskRun::run(plan, parts)).await;
    World { ended, work_tree, surroundings }
}
