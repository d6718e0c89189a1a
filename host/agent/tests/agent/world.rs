//! A model that says what it is told to, tools that do nothing, a journal in
//! memory, and one list of all that happened.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use sortie_agent::{Agent, AgentError, Brief, Ended, Journal, JournalError, Limits, Meter, TaskFacts};
use sortie_core::action::{ActionKind, ModelRequest, ToolCall};
use sortie_core::conversation::{Conversation, Item, Message, Reply, StopReason, ToolSpec};
use sortie_core::digest::Digest;
use sortie_core::event::Event;
use sortie_core::outcome::Usage;
use sortie_core::{Decision, Verdict};
use sortie_policy::ports::{
    ErrorCode, Invocation, Model, ModelError, PortError, ReplyObserver, Tool, ToolEffects, ToolOutput, Tools,
};
use sortie_policy::{
    Answer, Approver, Audit, AuditError, Chain, Defaults, Evaluator, FactsSource, Fault, Gate, Layer, Link,
    Permit, PolicyEvent, Question, Seal,
};
use tokio_util::sync::CancellationToken;

/// One thing that happened.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// An event was appended.
    Event(Box<Event>),
    /// What was appended is durable.
    Committed,
    /// The model was asked.
    Asked,
    /// A tool acted.
    Acted(String),
}

/// All that happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Step>>>);

impl Log {
    fn note(&self, step: Step) {
        self.0.lock().expect("is not poisoned").push(step);
    }

    pub(crate) fn steps(&self) -> Vec<Step> {
        self.0.lock().expect("is not poisoned").clone()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        let event = |step| if let Step::Event(event) = step { Some(*event) } else { None };
        self.steps().into_iter().filter_map(event).collect()
    }

    /// The tools that acted.
    pub(crate) fn acted(&self) -> Vec<String> {
        let acted = |step| if let Step::Acted(what) = step { Some(what) } else { None };
        self.steps().into_iter().filter_map(acted).collect()
    }
}

/// A journal in memory.
#[derive(Default)]
pub(crate) struct Memory {
    log: Log,
    blobs: Mutex<HashMap<String, Vec<u8>>>,
    /// The disk takes nothing any more.
    pub(crate) full: AtomicBool,
}

#[async_trait]
impl Journal for Memory {
    fn append(&self, event: Event) {
        self.log.note(Step::Event(Box::new(event)));
    }

    async fn commit(&self) -> Result<(), JournalError> {
        if self.full.load(Ordering::Relaxed) {
            return Err(JournalError("the disk is full".into()));
        }
        self.log.note(Step::Committed);
        Ok(())
    }

    async fn keep(&self, bytes: &[u8]) -> Result<String, JournalError> {
        let digest = Digest::of(bytes).to_string();
        self.blobs.lock().expect("is not poisoned").insert(digest.clone(), bytes.to_vec());
        Ok(digest)
    }

    async fn kept(&self, digest: &str) -> Result<Option<Vec<u8>>, JournalError> {
        let blobs = self.blobs.lock().expect("is not poisoned");
        Ok(blobs.iter().find(|(name, _)| name.starts_with(digest)).map(|(_, bytes)| bytes.clone()))
    }
}

/// What the model does when it is asked.
pub(crate) enum Says {
    Reply(Reply),
    /// Nothing, for ever.
    Nothing,
    /// Cancels the task, then nothing.
    Cancels,
}

struct Puppet {
    says: Mutex<VecDeque<Says>>,
    asked: Mutex<Vec<Conversation>>,
    log: Log,
    cancel: CancellationToken,
    seal: Seal,
}

#[async_trait]
impl Model for Puppet {
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
        let request = permit.redeem(self.seal).map_err(|error| ModelError::Permit(error.to_string()))?;
        self.log.note(Step::Asked);
        self.asked.lock().expect("is not poisoned").push((*request.conversation).clone());
        let next = self.says.lock().expect("is not poisoned").pop_front();
        match next {
            Some(Says::Reply(reply)) => return Ok(reply),
            Some(Says::Cancels) => self.cancel.cancel(),
            Some(Says::Nothing) => {}
            None => {
                let message = "it has no more to say".to_owned();
                return Err(ModelError::Protocol { provider: "puppet".into(), message });
            }
        }
        std::future::pending().await
    }
}

/// `echo` gives its `text` back; the others do what their names say.
struct Props {
    log: Log,
    cancel: CancellationToken,
    seal: Seal,
}

const TOOLS: [&str; 6] = ["cancels", "echo", "fails", "fetches", "secretive", "waits"];

#[async_trait]
impl Tools for Props {
    fn list(&self) -> Vec<Tool> {
        let tool = |name: &str| Tool {
            plugin: "props".into(),
            spec: ToolSpec { name: name.into(), description: String::new(), input_schema: json!({}) },
            effects: ToolEffects {
                network: name == "fetches",
                idempotent: name == "echo",
                ..ToolEffects::default()
            },
        };
        TOOLS.iter().map(|name| tool(name)).collect()
    }

    fn check(&self, tool: &str, arguments: &str) -> Result<ToolCall, PortError> {
        let invalid = |why: String| PortError::new(ErrorCode::Invalid, format!("malformed arguments: {why}"));
        let arguments: Value = serde_json::from_str(arguments).map_err(|error| invalid(error.to_string()))?;
        if !arguments.is_object() {
            return Err(invalid(format!("`{arguments}` is no object")));
        }
        Ok(ToolCall { call_id: String::new(), tool: tool.into(), plugin: String::new(), arguments })
    }

    async fn invoke(
        &self,
        permit: Permit<ToolCall>,
        invocation: Invocation,
    ) -> Result<ToolOutput, PortError> {
        let call = permit.redeem(self.seal)?;
        self.log.note(Step::Acted(call.call_id.clone()));
        let output = |content: &str| ToolOutput { content: content.into(), details: json!({}) };
        match call.tool.as_str() {
            "fails" => Err(PortError::new(ErrorCode::NotFound, "no such \u{1b}[31mfile")),
            "secretive" => Ok(ToolOutput {
                content: "the password is hunter2".into(),
                details: json!({ "password": "hunter2" }),
            }),
            "waits" => {
                tokio::time::sleep(invocation.timeout).await;
                Ok(output("waited"))
            }
            "cancels" => {
                self.cancel.cancel();
                invocation.cancel.cancelled().await;
                Err(PortError::new(ErrorCode::Cancelled, "cancelled"))
            }
            _ => Ok(output(call.arguments["text"].as_str().unwrap_or_default())),
        }
    }
}

struct Recorder(Arc<Memory>);

impl Audit for Recorder {
    fn record(&self, decision: Event) -> Result<(), AuditError> {
        self.0.append(decision);
        Ok(())
    }
}

/// Cancels the task instead of answering.
struct Leaves(CancellationToken);

#[async_trait]
impl Approver for Leaves {
    async fn ask(&self, _: Question) -> Answer {
        self.0.cancel();
        std::future::pending().await
    }
}

/// Answers each event of one kind with what the function says.
pub(crate) struct Policy {
    pub(crate) on: ActionKind,
    pub(crate) decide: fn(&Value) -> Decision,
}

#[async_trait]
impl Evaluator for Policy {
    async fn evaluate(&self, event: &PolicyEvent) -> Result<Verdict, Fault> {
        Ok(Verdict::of((self.decide)(&event.action.details)))
    }
}

/// An agent and what surrounds it.
pub(crate) struct World {
    pub(crate) agent: Agent,
    pub(crate) log: Log,
    pub(crate) journal: Arc<Memory>,
    pub(crate) meter: Arc<Meter>,
    model: Arc<Puppet>,
}

impl World {
    pub(crate) fn new(says: impl IntoIterator<Item = Says>) -> Self {
        Self::with(says, Limits::default(), None)
    }

    pub(crate) fn limited(says: impl IntoIterator<Item = Says>, limits: Limits) -> Self {
        Self::with(says, limits, None)
    }

    pub(crate) fn governed(says: impl IntoIterator<Item = Says>, policy: Policy) -> Self {
        Self::with(says, Limits::default(), Some(policy))
    }

    fn with(says: impl IntoIterator<Item = Says>, limits: Limits, policy: Option<Policy>) -> Self {
        let (log, cancel) = (Log::default(), CancellationToken::new());
        let journal = Arc::new(Memory { log: log.clone(), ..Memory::default() });
        let meter = Arc::new(Meter::new(TaskFacts {
            task: "task-7k2m9q".into(),
            repository: "/r".into(),
            branch: "b".into(),
        }));
        let link = policy.map(|policy| Link {
            id: "house".into(),
            layer: Layer::Organisation,
            priority: 0,
            subscribes: [policy.on].into(),
            mutates: true,
            evaluator: Arc::new(policy),
        });
        let defaults =
            Defaults { repository: "/r".into(), provider: "puppet".into(), ..sortie_testing::defaults() };
        let gate = Arc::new(Gate::new(
            Chain::new(link.into_iter().collect()),
            defaults,
            Arc::clone(&meter) as Arc<dyn FactsSource>,
            Arc::new(Recorder(Arc::clone(&journal))),
            Arc::new(Leaves(cancel.clone())),
        ));
        let seal = gate.seal();
        let model = Arc::new(Puppet {
            says: Mutex::new(says.into_iter().collect()),
            asked: Mutex::default(),
            log: log.clone(),
            cancel: cancel.clone(),
            seal,
        });
        let agent = Agent {
            gate,
            model: Arc::clone(&model) as Arc<dyn Model>,
            tools: Arc::new(Props { log: log.clone(), cancel: cancel.clone(), seal }),
            journal: Arc::clone(&journal) as Arc<dyn Journal>,
            meter: Arc::clone(&meter),
            limits,
            cancel,
        };
        Self { agent, log, journal, meter, model }
    }

    pub(crate) async fn try_work(&self) -> Result<Ended, AgentError> {
        self.agent.work(&Brief { task: "mend it".into(), ..Brief::default() }).await
    }

    pub(crate) async fn work(&self) -> Ended {
        self.try_work().await.expect("the work ends")
    }

    /// The conversations that the model was sent.
    pub(crate) fn asked(&self) -> Vec<Conversation> {
        self.model.asked.lock().expect("is not poisoned").clone()
    }

    /// What the model was told since its last reply, at its last turn.
    pub(crate) fn told(&self) -> Vec<String> {
        let last = self.asked().pop().expect("the model was asked");
        let said = |message: &Message| matches!(message, Message::Assistant { .. });
        let start = last.messages.iter().rposition(said).map_or(0, |at| at + 1);
        let text = |message: &Message| match message {
            Message::User { text } => text.clone(),
            Message::ToolResult { content, .. } => content.clone(),
            Message::Assistant { .. } => String::new(),
        };
        last.messages[start..].iter().map(text).collect()
    }
}

pub(crate) fn reply(items: Vec<Item>) -> Reply {
    let usage = Usage { input_tokens: 10, output_tokens: 1, ..Usage::default() };
    Reply { items, stop: StopReason::Ended, usage }
}

pub(crate) fn says(text: &str) -> Says {
    Says::Reply(reply(vec![Item::Text { text: text.into() }]))
}

/// A reply with these calls: id, tool, arguments.
pub(crate) fn calls(calls: &[(&str, &str, Value)]) -> Says {
    let call = |(id, name, arguments): &(&str, &str, Value)| Item::ToolCall {
        id: (*id).into(),
        name: (*name).into(),
        arguments: arguments.as_str().map_or_else(|| arguments.to_string(), Into::into),
    };
    Says::Reply(reply(calls.iter().map(call).collect()))
}

pub(crate) fn call(id: &str, tool: &str, arguments: Value) -> Says {
    calls(&[(id, tool, arguments)])
}

pub(crate) fn finish(outcome: &str) -> Says {
    call("end", "finish", json!({ "outcome": outcome, "title": "Mend it", "summary": "It is mended." }))
}
