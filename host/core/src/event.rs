//! What happens in a task: the lines of its journal and of `--json`.
//!
//! *Intents* are durable before the effect they announce, *outcomes* after
//! it. Keys and types are only ever added.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::action::ActionKind;
use crate::conversation::Reply;
use crate::facts::Phase;
use crate::outcome::{NetworkUse, Outcome, RefusedAction, TestCounts, Usage};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// The first event of a task.
    #[serde(rename = "task.started")]
    TaskStarted {
        /// Its id.
        task: String,
        /// The task in words.
        prompt: String,
        /// The repository, without credentials.
        repository: String,
        /// Provider and name of the model; empty for a task that ends with its
        /// set-up.
        model: String,
        /// The workspace's backend.
        workspace: String,
        /// The environment that the operator named, of their settings.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        environment: Option<String>,
        /// The branch that will be delivered; empty for a task that ends with
        /// its set-up.
        branch: String,
    },
    /// A phase begins.
    #[serde(rename = "phase.started")]
    PhaseStarted {
        /// Which one.
        phase: Phase,
    },
    /// A phase ended.
    #[serde(rename = "phase.ended")]
    PhaseEnded {
        /// Which one.
        phase: Phase,
        /// How long it took.
        ms: u64,
    },
    /// A step of the host begins: `clone`, `install`, `baseline`, `commit` and the like. An intent.
    #[serde(rename = "step.started")]
    StepStarted {
        /// Its name.
        step: String,
        /// What it works on, such as a command line.
        detail: String,
    },
    /// A step ended. An outcome.
    #[serde(rename = "step.ended")]
    StepEnded {
        /// Its name.
        step: String,
        /// How long it took.
        ms: u64,
        /// Whether it succeeded.
        ok: bool,
        /// What came of it: a commit id, a count, an error.
        detail: String,
    },
    /// A tool or a step says how far it is. Shown, not journalled.
    #[serde(rename = "progress")]
    Progress {
        /// What it says.
        text: String,
    },
    /// The agent takes the task up. With the events below, from which every
    /// later message follows, the conversation can be built again.
    #[serde(rename = "conversation.started")]
    ConversationStarted {
        /// The system prompt.
        system: String,
        /// The first message.
        message: String,
    },
    /// The platform says something to the model, such as that a budget is
    /// nearly spent.
    #[serde(rename = "conversation.told")]
    ConversationTold {
        /// What it says.
        text: String,
    },
    /// The model is asked. An intent.
    #[serde(rename = "model.requested")]
    ModelRequested {
        /// Number of the turn, from 1.
        turn: u32,
    },
    /// Text of a reply as it arrives. Shown, not journalled.
    #[serde(rename = "model.delta")]
    ModelDelta {
        /// The new piece.
        text: String,
    },
    /// A request failed and will be made again.
    #[serde(rename = "model.retried")]
    ModelRetried {
        /// Why.
        reason: String,
        /// Milliseconds until then.
        wait_ms: u64,
    },
    /// The model's whole reply. An outcome, and the intent of its tool calls.
    #[serde(rename = "model.replied")]
    ModelReplied {
        /// Number of the turn.
        turn: u32,
        /// The reply.
        reply: Reply,
    },
    /// A tool call begins. An intent.
    #[serde(rename = "tool.started")]
    ToolStarted {
        /// Id of the call.
        call_id: String,
        /// The tool.
        tool: String,
        /// Its arguments, as the model wrote them.
        arguments: String,
        /// Whether an interrupted call may be run again.
        idempotent: bool,
    },
    /// A tool call ended. An outcome.
    #[serde(rename = "tool.ended")]
    ToolEnded {
        /// Id of the call.
        call_id: String,
        /// The tool.
        tool: String,
        /// How long it took.
        ms: u64,
        /// Whether it failed.
        failed: bool,
        /// What the model read.
        content: String,
        /// Digest of the blob that holds the whole output, if it was shortened.
        blob: Option<String>,
        /// The tool's result for programs.
        details: Value,
    },
    /// A command that a tool started lives on in the background. The decision
    /// on it, which came before, is the intent.
    #[serde(rename = "process.started")]
    ProcessStarted {
        /// Its id.
        id: String,
        /// Its arguments in one line.
        command: String,
    },
    /// A command in the background ended: by itself, by a tool, or with the
    /// work. An outcome.
    #[serde(rename = "process.ended")]
    ProcessEnded {
        /// Its id.
        id: String,
        /// Its arguments in one line.
        command: String,
        /// How long it ran.
        ms: u64,
        /// How it ended, in words: `exit code 0`, `killed by signal 15`, `timed out`.
        exit: String,
    },
    /// A decision of the gate.
    #[serde(rename = "decision")]
    Decision {
        /// Id of the event that was decided.
        id: String,
        /// Who wanted to act.
        actor: String,
        /// Kind of the action.
        kind: ActionKind,
        /// What it acts on.
        target: String,
        /// SHA-256 of the action's details as permitted.
        digest: String,
        /// `allow`, `deny` or `fault`.
        decision: String,
        /// The policy that decided; `default` if all abstained.
        policy: String,
        /// Its rule.
        rule: Option<String>,
        /// Why.
        reason: Option<String>,
        /// What would allow it.
        remedy: Option<String>,
    },
    /// What the gate let pass was refused by the port that was to do it: an
    /// address that is not public, or bytes beyond the task's.
    #[serde(rename = "refused")]
    Refused(RefusedAction),
    /// The package managers named the hosts that they would contact.
    #[serde(rename = "registries.learned")]
    RegistriesLearned {
        /// The managers that were asked.
        managers: Vec<String>,
        /// Their hosts, as network rules take them.
        hosts: Vec<String>,
    },
    /// The environment of the task is there.
    #[serde(rename = "environment.ready")]
    EnvironmentReady {
        /// Who says what it is.
        environment: String,
        /// The image of its container, as it was named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<String>,
        /// Whether the repository named that image, and nobody else.
        #[serde(default)]
        image_of_repository: bool,
        /// The image that the agent's container begins from, by id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image_id: Option<String>,
        /// What became of set-up.
        set_up: SetUpState,
    },
    /// The tests ran.
    #[serde(rename = "tests.ran")]
    TestsRan {
        /// `baseline`, `work` or `final`.
        stage: String,
        /// The command.
        command: Vec<String>,
        /// The numbers; none if there were no tests to run.
        counts: Option<TestCounts>,
        /// Names of failed tests, at most 100.
        failures: Vec<String>,
    },
    /// The plan, as the model last wrote it.
    #[serde(rename = "plan.updated")]
    PlanUpdated {
        /// Its steps: an array of `{step, status}`.
        steps: Value,
    },
    /// Something that the user should know.
    #[serde(rename = "warning")]
    Warning {
        /// What.
        text: String,
    },
    /// A line of a plugin's log.
    #[serde(rename = "plugin.log")]
    PluginLog {
        /// The plugin.
        plugin: String,
        /// `debug`, `info`, `warn` or `error`.
        level: String,
        /// The line.
        text: String,
    },
    /// The last event of a task.
    #[serde(rename = "task.ended")]
    TaskEnded(Box<Report>),
}

impl Event {
    /// Whether the event is shown only, and not kept in the journal.
    pub fn is_ephemeral(&self) -> bool {
        matches!(self, Self::Progress { .. } | Self::ModelDelta { .. })
    }
}

/// What is said of a task at its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Its id.
    pub task: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The delivered branch, if one was.
    pub branch: Option<String>,
    /// The delivered commit, if one was.
    pub commit: Option<String>,
    /// What was done, or why not, in the model's or the platform's words.
    pub summary: String,
    /// The tests.
    pub tests: TestReport,
    /// What the model cost.
    pub usage: Usage,
    /// What was refused on the way.
    pub refused: Vec<RefusedAction>,
    /// Commands that still ran in the background at the end of the work, and
    /// were ended with it.
    #[serde(default)]
    pub background: Vec<LeftRunning>,
    /// What went over the network, of commands and of tools.
    #[serde(default)]
    pub network: NetworkUse,
}

/// A command that the work left running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftRunning {
    /// Its id.
    pub id: String,
    /// Its arguments in one line.
    pub command: String,
    /// How long it ran.
    pub ms: u64,
}

/// The tests of a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TestReport {
    /// Before the work.
    pub baseline: Option<TestCounts>,
    /// After it.
    #[serde(rename = "final")]
    pub last: Option<TestCounts>,
    /// Whether the final run came after the last change of the work tree.
    pub after_last_edit: bool,
}

/// What became of set-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SetUpState {
    /// There was nothing to do.
    #[default]
    None,
    /// Its commands ran, and what they made serves this task alone.
    Ran,
    /// Its commands ran, and what they made is kept for later tasks.
    Kept,
    /// What an earlier task's set-up made was taken up.
    TakenUp,
}
