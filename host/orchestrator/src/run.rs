//! One task, phase by phase.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sortie_agent::{Agent, AgentError, Ended, Journal, JournalError, Limits, Meter};
use sortie_core::event::{Event, LeftRunning, Report, SetUpState, TestReport};
use sortie_core::image::{ImageRegistries, UnwantedImage};
use sortie_core::network::NetworkRule;
use sortie_core::secret::Secret;
use sortie_core::{Outcome, Phase, TaskId};
use sortie_environment::{Environment, Install, NeedsContainer, NoSetUp};
use sortie_policy::ports::{
    ErrorCode, Files, Model, NetworkMeter, PortError, Repository, Tools, Workspace, Workspaces,
};
use sortie_policy::{Gate, Refusal};
use sortie_workspace::snapshot::{SnapshotRules, Snapshots};
use tokio_util::sync::CancellationToken;

use crate::archive::Archiver;
use crate::folder::TaskFolder;
use crate::journal::TaskJournal;
use crate::tests_run::TestRun;

/// How long a step has to end by itself once the task is cancelled.
const FAREWELL: Duration = Duration::from_secs(3);

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Id of the task.
    pub id: TaskId,
    /// The task in words.
    pub prompt: String,
    /// The repository, without credentials: the target of the fetch action.
    pub repository: String,
    /// The base asked for; none for the repository's HEAD.
    pub base: Option<String>,
    /// The branch that will be delivered.
    pub branch: String,
    /// The workspace's backend.
    pub backend: String,
    /// The image of a container.
    pub image: Option<String>,
    /// Where the repository may name images from, beside the engine's own registry.
    pub image_registries: ImageRegistries,
    /// How dependencies are installed, where no environment says it.
    pub install: Install,
    /// The environment that the operator named for this task.
    pub environment: Option<Environment>,
    /// What that environment binds, by the variable that holds it.
    pub secrets: Vec<(String, Secret)>,
    /// Whether set-up is kept for later tasks, and taken from earlier ones.
    pub snapshots: bool,
    /// How much of it is kept.
    pub snapshot_rules: SnapshotRules,
    /// The budgets.
    pub limits: Limits,
    /// Whether the branch is pushed at the end.
    pub push: bool,
    /// Whether a policy might allow that push. Where it is certain that none
    /// will, the gate is asked before any work.
    pub may_push: bool,
    /// Whether work tree and home stay in place after the end.
    pub keep: bool,
    /// How far it goes.
    pub until: Until,
}

/// How far a task goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// To the end of set-up: what that made is kept for later tasks. No test
    /// runs, no model is asked, nothing is archived.
    SetUp,
    /// To the delivery.
    #[default]
    Delivered,
}

/// What the repository's own settings change in a plan.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// How dependencies are installed, if the repository says so.
    pub install: Option<Install>,
    /// The budgets, no larger than before.
    pub limits: Limits,
    /// Its own network rules of set-up, each of which has to let a connection
    /// through.
    pub setup_networks: Vec<NetworkRule>,
    /// Whether its own network rules say `registries`.
    pub wants_registries: bool,
    /// The environment that the repository describes.
    pub environment: Option<Environment>,
}

/// Reads the repository's own settings from the fresh checkout.
#[async_trait]
pub trait Adopt: Send + Sync {
    /// Takes them over, for tools and policies as well.
    ///
    /// # Errors
    /// `Invalid` if they are malformed, or set what a repository may not set.
    async fn adopt(&self, limits: Limits) -> Result<Adopted, PortError>;
}

/// Makes the tools of a task, once its workspace runs.
#[async_trait]
pub trait Toolmaker: Send + Sync {
    /// The tools that act on this workspace.
    ///
    /// # Errors
    /// If they do not fit together, or the repository's settings for them
    /// are wrong.
    async fn tools(&self, workspace: &Arc<dyn Workspace>) -> Result<Arc<dyn Tools>, PortError>;
}

/// Why a task could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The gate refused something that the platform cannot do without.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A port failed.
    #[error("{step}: {error}")]
    Port {
        /// What was being done.
        step: &'static str,
        /// What failed.
        error: PortError,
    },
    /// A command of set-up failed that must not.
    #[error("set-up failed: `{command}`: {failure}")]
    SetUp {
        /// The command, in one line.
        command: String,
        /// How it ended, with its last lines.
        failure: String,
    },
    /// Nobody but the repository says what would be given an operator's secrets.
    #[error(transparent)]
    NoSetUp(#[from] NoSetUp),
    /// The sandbox has not what the environment asks for.
    #[error(transparent)]
    NeedsContainer(#[from] NeedsContainer),
    /// The repository names an image that it may not.
    #[error(transparent)]
    UnwantedImage(#[from] UnwantedImage),
    /// Set-up left a secret where the agent would find it.
    #[error(
        "set-up left the secret `{name}` in {shown}: the agent would find it there\nhint: remove it at the end of \
         set-up, or hand it over without a file"
    )]
    LeftSecret {
        /// The variable that held it.
        name: String,
        /// Where it was found.
        shown: String,
    },
    /// The agent could not work.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The journal does not take events.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Somebody cancelled the task.
    #[error("cancelled")]
    Cancelled,
}

impl RunError {
    /// How a task ends that fails like this.
    fn outcome(&self) -> Outcome {
        match self {
            Self::Refused(_) | Self::Agent(AgentError::Refused(_)) => Outcome::Refused,
            Self::Cancelled | Self::Port { error: PortError { code: ErrorCode::Cancelled, .. }, .. } => {
                Outcome::Cancelled
            }
            _ => Outcome::Failed,
        }
    }
}

/// A task on its way through the phases, with the parts that it needs; put
/// together by `assemble.rs`.
pub struct TaskRun {
    /// What is to be done.
    pub plan: Plan,
    /// Decides on everything.
    pub gate: Arc<Gate>,
    /// Where everything is written down.
    pub journal: TaskJournal,
    /// Counts, and says which phase it is.
    pub meter: Arc<Meter>,
    /// The task's folder, locked.
    pub folder: TaskFolder,
    /// Fetches, commits and pushes.
    pub repository: Arc<dyn Repository>,
    /// Reads the repository's own settings.
    pub adopt: Arc<dyn Adopt>,
    /// The files of the work tree.
    pub files: Arc<dyn Files>,
    /// What earlier set-ups left.
    pub snapshots: Snapshots,
    /// Makes the workspace.
    pub workspaces: Arc<dyn Workspaces>,
    /// Counts the bytes of the task's connections.
    pub network: Arc<NetworkMeter>,
    /// Makes the tools.
    pub tools: Arc<dyn Toolmaker>,
    /// Keeps what is left.
    pub archiver: Arc<dyn Archiver>,
    /// The model.
    pub model: Arc<dyn Model>,
    /// Ends the task.
    pub cancel: CancellationToken,
}

/// What a workspace was made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct MadeOf {
    /// The commit that the task begins from, once it is known.
    pub(crate) base: Option<String>,
    /// The image, as it was named.
    pub(crate) image: Option<String>,
    /// The image that the agent's container began from, by id.
    pub(crate) image_id: Option<String>,
    /// Images that set-up made for this task alone, each from the one before.
    pub(crate) own_images: Vec<String>,
    /// Whether set-up ended, and nothing of its secrets was found.
    pub(crate) is_clean: bool,
}

/// What the phases learn on their way.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) workspace: Option<Arc<dyn Workspace>>,
    pub(crate) made_of: MadeOf,
    baseline: Option<TestRun>,
    last: Option<TestRun>,
    pub(crate) delivered: Option<String>,
    pub(crate) background: Vec<LeftRunning>,
}

impl TaskRun {
    /// Leads a task through its phases and writes its report. The report is
    /// the last event of the journal; the error beside it, if there is one,
    /// says why the task could not go on.
    ///
    /// # Errors
    /// If the journal cannot take the report.
    pub async fn run(self) -> Result<(Report, Option<RunError>), RunError> {
        self.journal.mask(self.plan.secrets.iter().map(|(_, secret)| secret.clone()).collect());
        // else it asks no model and delivers nothing
        let is_whole = self.plan.until == Until::Delivered;
        self.journal_append(Event::TaskStarted {
            task: self.plan.id.to_string(),
            prompt: self.plan.prompt.clone(),
            repository: self.plan.repository.clone(),
            model: if is_whole { self.model_name() } else { String::new() },
            workspace: self.plan.backend.clone(),
            environment: self
                .plan
                .environment
                .as_ref()
                .and_then(|these| Some(these.origin.name()?.to_owned())),
            branch: if is_whole { self.plan.branch.clone() } else { String::new() },
        });
        let mut progress = Progress::default();
        let ended = self.phases(&mut progress).await;
        let (ended, error) = match ended {
            Ok(ended) => (ended, None),
            Err(error) => {
                let summary = error.to_string();
                (Ended { outcome: error.outcome(), title: String::new(), summary }, Some(error))
            }
        };
        // also where the work did not come to its end
        self.end_background(&mut progress).await;
        let report = self.phase(Phase::Archive, self.archive(ended, progress)).await;
        let outcome = report.outcome;
        self.journal.end(Event::TaskEnded(Box::new(report.clone())), outcome).await?;
        Ok((report, error))
    }

    async fn phases(&self, progress: &mut Progress) -> Result<Ended, RunError> {
        if self.plan.until == Until::SetUp {
            let begun = self.phase(Phase::Prepare, self.prepare_set_up(progress)).await?;
            let summary = match begun.set_up.state {
                SetUpState::None => "There is no set-up.",
                SetUpState::Ran => "Set-up is done; nothing of it is kept for later tasks.",
                SetUpState::Kept => "Set-up is done; what it made is kept for later tasks.",
                SetUpState::TakenUp => "Set-up was done before; what it made is kept for later tasks.",
            };
            let summary = summary.to_owned();
            return Ok(Ended { outcome: Outcome::Done, title: String::new(), summary });
        }
        let prepared = self.phase(Phase::Prepare, self.prepare(progress)).await?;
        progress.baseline.clone_from(&prepared.baseline);
        let agent = Agent {
            gate: Arc::clone(&self.gate),
            model: Arc::clone(&self.model),
            tools: Arc::clone(&prepared.tools),
            journal: Arc::new(self.journal.clone()),
            meter: Arc::clone(&self.meter),
            limits: prepared.limits,
            cancel: self.cancel.clone(),
        };
        let ended = self.phase(Phase::Work, self.work(&agent, &prepared)).await;
        self.end_background(progress).await;
        let mut ended = ended?;
        if !matches!(ended.outcome, Outcome::Done | Outcome::Partial) {
            return Ok(ended);
        }
        progress.last = self.phase(Phase::Verify, self.verify(&prepared, &mut ended)).await?;
        progress.delivered = self.phase(Phase::Deliver, self.deliver(&ended)).await?;
        Ok(ended)
    }

    /// Runs a phase between its two events.
    async fn phase<T>(&self, phase: Phase, work: impl Future<Output = T>) -> T {
        self.meter.enter(phase);
        self.journal_append(Event::PhaseStarted { phase });
        let started = Instant::now();
        // the phases' futures are large; on the heap they do not add up in this one
        let result = Box::pin(work).await;
        for notice in self.repository.take_notices() {
            self.warn(notice);
        }
        self.journal_append(Event::PhaseEnded { phase, ms: millis(started) });
        result
    }

    /// Runs a step between its intent, which is durable before it begins, and
    /// its outcome.
    pub(crate) async fn step<T, E: Display>(
        &self,
        step: &str,
        detail: impl Into<String>,
        done: impl FnOnce(&T) -> String,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, RunError>
    where
        RunError: From<StepError<E>>,
    {
        if self.cancel.is_cancelled() {
            return Err(RunError::Cancelled);
        }
        self.journal_append(Event::StepStarted { step: step.into(), detail: detail.into() });
        self.journal.commit().await?;
        let started = Instant::now();
        let mut work = std::pin::pin!(work);
        let result = tokio::select! {
            result = &mut work => Some(result),
            // dropped at once, Git would be killed over its lock files, and a push that the remote has taken
            // would not be told
            () = self.cancel.cancelled() => tokio::time::timeout(FAREWELL, work).await.ok(),
        };
        let Some(result) = result else {
            self.end_step(step, started, Err("cancelled".into()));
            return Err(RunError::Cancelled);
        };
        self.end_step(step, started, result.as_ref().map(done).map_err(ToString::to_string));
        match result {
            Err(_) if self.cancel.is_cancelled() => Err(RunError::Cancelled),
            result => result.map_err(|error| StepError(error).into()),
        }
    }

    pub(crate) fn end_step(&self, step: &str, started: Instant, result: Result<String, String>) {
        let ok = result.is_ok();
        let detail = result.unwrap_or_else(|error| error);
        self.journal_append(Event::StepEnded { step: step.into(), ms: millis(started), ok, detail });
    }

    pub(crate) fn journal_append(&self, event: Event) {
        Journal::append(&self.journal, event);
    }

    pub(crate) fn warn(&self, text: impl Into<String>) {
        self.journal_append(Event::Warning { text: text.into() });
    }

    /// The model as `--model` takes it.
    fn model_name(&self) -> String {
        let separator = if self.model.provider() == "scripted" { ':' } else { '/' };
        format!("{}{separator}{}", self.model.provider(), self.model.name())
    }

    pub(crate) fn report(&self, ended: Ended, progress: Progress) -> Report {
        let delivered = progress.delivered;
        Report {
            task: self.plan.id.to_string(),
            outcome: ended.outcome,
            branch: delivered.as_ref().map(|_| self.plan.branch.clone()),
            commit: delivered,
            // whoever shows this has it from here, and not by way of the journal
            summary: self.scrub(&ended.summary),
            tests: TestReport {
                baseline: progress.baseline.and_then(|run| run.counts),
                after_last_edit: progress.last.as_ref().is_some_and(|run| run.counts.is_some()),
                last: progress.last.and_then(|run| run.counts),
            },
            usage: self.meter.usage(),
            refused: self.journal.refused(),
            background: progress.background,
            network: self.network.used(),
        }
    }
}

/// An error of a step, on its way to a [`RunError`].
pub(crate) struct StepError<E>(E);

impl From<StepError<RunError>> for RunError {
    fn from(error: StepError<RunError>) -> Self {
        error.0
    }
}

pub(crate) fn port(step: &'static str) -> impl FnOnce(PortError) -> RunError {
    move |error| RunError::Port { step, error }
}

pub(crate) fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
