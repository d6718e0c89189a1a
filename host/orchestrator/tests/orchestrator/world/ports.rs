//! The ports of a run, all by one object.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use sortie_agent::Limits;
use sortie_core::action::{
    Against, Change, ChangeKind, Commit, Exec, FileRead, FileWrite, ModelRequest, Push, RepositoryFetch,
    Stage, ToolCall, WorkspaceCreate,
};
use sortie_core::conversation::{Item, Reply, StopReason};
use sortie_core::outcome::Usage;
use sortie_orchestrator::{Adopt, Adopted, Archived, Archiver, Remains, Toolmaker};
use sortie_policy::Permit;
use sortie_policy::ports::{
    Background, BranchState, Chunk, Commands, CommitInfo, Ended, ErrorCode, Exit, FileContent, Files,
    Identity, Invocation, LineMatch, Model, ModelError, PortError, Process, ReplyObserver, Repository,
    SearchQuery, Survey, Tool, ToolOutput, Tools, Workspace, WorkspaceSpec, Workspaces,
};

use super::{Archives, GivenUp, Pushes, Starts, Surroundings, Ways};

fn none() -> PortError {
    PortError::new(ErrorCode::Unavailable, "there is none")
}

/// One object for all ports.
#[derive(Clone)]
pub(super) struct Everything(pub(super) Arc<Surroundings>);

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
        Ok(Adopted { install: None, limits, setup_networks: Vec::new(), wants_registries, environment })
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
        (self.0.ways.leaves)(&self.0.home_of_commands);
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
        self.0.ways.beside.clone().map_err(|why| PortError::new(ErrorCode::Unavailable, why))
    }

    async fn stop(&self) -> Result<(), PortError> {
        self.0.note("stop");
        if self.0.stuck.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Err(PortError::new(ErrorCode::Unavailable, "it runs on"));
        }
        if self.0.ways.breaks {
            let database = rusqlite::Connection::open(self.0.home.path().join("journal.db")).expect("opens");
            database.execute_batch("ALTER TABLE events RENAME TO gone").expect("is renamed");
        }
        Ok(())
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
