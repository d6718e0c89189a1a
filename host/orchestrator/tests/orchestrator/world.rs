//! Parts that do nothing, and note how the journal stood when they were asked.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::json;
use sortie_agent::{Limits, Meter, TaskFacts};
use sortie_core::action::{
    ActionKind, Against, Change, ChangeKind, Commit, Exec, FileRead, FileWrite, ModelRequest, Push,
    RepositoryFetch, ToolCall, WorkspaceCreate,
};
use sortie_core::conversation::{Item, Reply, StopReason};
use sortie_core::event::Report;
use sortie_core::network::NetworkRule;
use sortie_core::outcome::Usage;
use sortie_core::{Decision, TaskId, Verdict};
use sortie_orchestrator::{
    Adopt, Adopted, Archived, Archiver, Install, Parts, Plan, Remains, RunError, Store, TaskFolder,
    TaskJournal, TaskRecord, TaskRun, Toolmaker, Until,
};
use sortie_policy::ports::{
    Background, BranchState, Commands, CommitInfo, ErrorCode, FileContent, Files, Identity, Invocation,
    LineMatch, Model, ModelError, PortError, Process, ReplyObserver, Repository, SearchQuery, Survey, Tool,
    ToolOutput, Tools, Workspace, WorkspaceSpec, Workspaces,
};
use sortie_policy::{
    Chain, Defaults, Evaluator, FactsSource, Fault, Gate, Layer, Link, Nobody, Permit, PolicyEvent,
    Registries, Seal,
};
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

/// Everything around a run.
pub(crate) struct Surroundings {
    home: TempDir,
    id: TaskId,
    seal: Seal,
    cancel: CancellationToken,
    pushes: Pushes,
    /// The disk fails once the workspace has stopped.
    breaks: bool,
    archives: Archives,
    /// What was asked for, each with the events that were durable by then.
    effects: Mutex<Vec<(&'static str, Vec<String>)>>,
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
        if self.0.pushes == Pushes::Well {
            return Ok(());
        }
        self.0.cancel.cancel();
        // the remote takes its time
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        self.0.note("pushed");
        if self.0.pushes == Pushes::WhileCancelled { Ok(()) } else { Err(none()) }
    }
}

#[async_trait]
impl Adopt for Everything {
    async fn adopt(&self, limits: Limits) -> Result<Adopted, PortError> {
        Ok(Adopted { install: None, limits, wants_registries: false, environment: None })
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
        Ok(Identity { id: "none".into(), image: None })
    }

    async fn discard(&self, _: &str) {}

    async fn create(
        &self,
        permit: Permit<WorkspaceCreate>,
        _: WorkspaceSpec,
    ) -> Result<Arc<dyn Workspace>, PortError> {
        permit.redeem(self.0.seal)?;
        self.0.note("workspace");
        Ok(Arc::new(self.clone()))
    }
}

/// Nothing is installed; the agent left one command running.
#[async_trait]
impl Commands for Everything {
    async fn spawn(&self, _: Permit<Exec>) -> Result<Box<dyn Process>, PortError> {
        unreachable!("nothing is installed")
    }

    async fn attach(&self, _: &str) -> Result<Box<dyn Process>, PortError> {
        unreachable!("no tool runs")
    }

    async fn end_background(&self) -> Vec<Background> {
        let asked = self.0.background.fetch_add(1, Ordering::SeqCst);
        let asleep = Background {
            id: "p1".into(),
            command: "sleep 9".into(),
            age: std::time::Duration::from_secs(2),
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
        Ok(None)
    }

    async fn search_root(&self, _: &[Vec<u8>]) -> Result<Vec<String>, PortError> {
        Ok(Vec::new())
    }

    async fn stop(&self) {
        self.0.note("stop");
        if self.0.breaks {
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
        match self.0.archives {
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

    async fn glob(&self, _: Permit<FileRead>) -> Result<Vec<String>, PortError> {
        Err(none())
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

struct AllowAll;

#[async_trait]
impl Evaluator for AllowAll {
    async fn evaluate(&self, _: &PolicyEvent) -> Result<Verdict, Fault> {
        Ok(Verdict::of(Decision::Allow))
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
    run_with(pushes, breaks, Archives::Unwanted, false).await
}

/// Runs a task to its end, with archives that go like this.
pub(crate) async fn run_with(pushes: Pushes, breaks: bool, archives: Archives, keep: bool) -> World {
    let home = tempfile::tempdir().expect("a folder");
    let id: TaskId = "task-7k2m9q".parse().expect("an id");
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
    let journal =
        TaskJournal::new(store, id.clone(), folder.blobs(), Box::new(|_| {})).expect("there is a journal");
    let facts = TaskFacts { task: id.to_string(), repository: "/r".into(), branch: "sortie/a".into() };
    let meter = Arc::new(Meter::new(facts));
    let defaults = Defaults {
        repository: "/r".into(),
        provider: "puppet".into(),
        setup_network: NetworkRule::None,
        agent_network: NetworkRule::None,
        registries: Registries::default(),
    };
    let link = Link {
        id: "allow".into(),
        layer: Layer::User,
        priority: 0,
        subscribes: ActionKind::ALL.into_iter().collect(),
        mutates: false,
        evaluator: Arc::new(AllowAll),
    };
    let gate = Arc::new(Gate::new(
        Chain::new(vec![link]),
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
        pushes,
        breaks,
        archives,
        effects: Mutex::default(),
        background: AtomicUsize::default(),
    });
    let everything = Everything(Arc::clone(&surroundings));
    let work_tree = folder.work_tree();
    let plan = Plan {
        id,
        prompt: "mend it".into(),
        repository: "/r".into(),
        base: None,
        branch: "sortie/a".into(),
        backend: "sandbox".into(),
        image: None,
        install: Install::Skip,
        environment: None,
        secrets: Vec::new(),
        snapshots: true,
        snapshot_rules: SnapshotRules::default(),
        limits: Limits::default(),
        push: true,
        keep,
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
        snapshots: Snapshots::new(surroundings.home.path(), None),
        workspaces: Arc::new(everything.clone()),
        network: Arc::default(),
        tools: Arc::new(everything.clone()),
        archiver: Arc::new(everything.clone()),
        model: Arc::new(everything),
        cancel,
    };
    let ended = TaskRun::run(plan, parts).await;
    World { ended, work_tree, surroundings }
}
