//! A task around the fixtures: a real gate, ports in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sortie_core::action::{Effect, ToolCall};
use sortie_core::event::Event;
use sortie_core::network::NetworkRule;
use sortie_core::{ActionKind, Actor, Decision, Facts, Verdict};
use sortie_plugin_host::{Grants, LoadedTool, PluginLog, ProgressSink, TaskContext, Toolbox};
use sortie_policy::ports::{Invocation, PortError, ToolOutput, Tools as _};
use sortie_policy::{Defaults, Evaluator, Fault, Gate, Link, Permit, PolicyEvent};
use sortie_testing::{Kept, Still, facts};
use tokio_util::sync::CancellationToken;

use crate::components;
use crate::ports::World;

/// A log that remembers.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn shared(&self) -> Arc<dyn PluginLog> {
        Arc::new(self.clone())
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("lock"))
    }
}

impl PluginLog for Log {
    fn line(&self, plugin: &str, level: &str, text: &str) {
        self.0.lock().expect("lock").push(format!("{plugin} {level} {text}"));
    }
}

impl ProgressSink for Log {
    fn progress(&self, plugin: &str, text: &str) {
        self.line(plugin, "progress", text);
    }
}

/// What every fact is.
pub(crate) fn still() -> Still {
    Still::at(Facts { now: jiff::Timestamp::from_second(1_700_000_000).expect("a time"), ..facts() })
}

/// What a gate has decided.
#[derive(Clone, Default)]
pub(crate) struct Decisions(Arc<Kept>);

impl Decisions {
    /// One line each.
    pub(crate) fn take(&self) -> Vec<String> {
        let line = |event| match event {
            Event::Decision { actor, kind, target, decision, .. } => {
                format!("{actor} {kind} {target} {decision}")
            }
            Event::Refused(refused) => format!("{} refused by {}", refused.action, refused.policy),
            other => panic!("no decision: {other:?}"),
        };
        self.0.take().into_iter().map(line).collect()
    }
}

/// Denies what names this.
struct Refuses(&'static str);

#[async_trait::async_trait]
impl Evaluator for Refuses {
    async fn evaluate(&self, event: &PolicyEvent) -> Result<Verdict, Fault> {
        if !event.action.target.contains(self.0) {
            return Ok(Verdict::of(Decision::Abstain));
        }
        let decision = Decision::Deny("the test says so".into());
        Ok(Verdict { decision, rule: Some("by-name".into()), remedy: None })
    }
}

#[expect(clippy::disallowed_methods, reason = "the test assembles a task of its own")]
pub(crate) fn gate(links: Vec<Link>, decisions: &Decisions) -> Arc<Gate> {
    let defaults = Defaults {
        repository: "https://a.example/r".into(),
        provider: "scripted".into(),
        setup_network: NetworkRule::All,
        agent_network: "*.example,unreachable.example:80".parse().expect("a rule"),
        ..sortie_testing::defaults()
    };
    let audit = Arc::clone(&decisions.0);
    Arc::new(sortie_testing::gate_with(links, defaults, Arc::new(still()), audit))
}

pub(crate) fn link(id: &str, kinds: &[ActionKind], evaluator: Arc<dyn Evaluator>) -> Link {
    Link { subscribes: kinds.iter().copied().collect(), ..sortie_testing::link(id, evaluator) }
}

/// What a call takes at most where nothing else is said.
const LONGEST: Duration = Duration::from_secs(120);

/// A task with the fixture's tools.
pub(crate) struct Task {
    pub(crate) tools: Toolbox,
    pub(crate) gate: Arc<Gate>,
    pub(crate) world: Arc<World>,
    pub(crate) log: Log,
    pub(crate) decisions: Decisions,
}

pub(crate) const GRANTS: &str = r#"
    exec = ["true *", "sleep *"]
    files = { read = ["src/**"], write = ["src/out/**"] }
    git = true
    http = ["GET https://*.example", "http://unreachable.example"]
"#;

impl Task {
    pub(crate) async fn new() -> Self {
        Self::with(GRANTS).await
    }

    /// With other grants than [`GRANTS`].
    pub(crate) async fn with(grants: &str) -> Self {
        Self::granted(toml::from_str(grants).expect("grants")).await
    }

    /// As [`Self::with`].
    pub(crate) async fn granted(grants: Grants) -> Self {
        let log = Log::default();
        Self::of(fixtures(&grants, &log).await, log)
    }

    /// With one more policy.
    pub(crate) async fn governed(more: Link) -> Self {
        let log = Log::default();
        let tools = fixtures(&toml::from_str(GRANTS).expect("grants"), &log).await;
        Self::under(vec![more], tools, log, LONGEST)
    }

    /// With calls that take no longer than this.
    pub(crate) async fn within(max_call: Duration) -> Self {
        let log = Log::default();
        let tools = fixtures(&toml::from_str(GRANTS).expect("grants"), &log).await;
        Self::under(Vec::new(), tools, log, max_call)
    }

    pub(crate) fn of(tools: Vec<LoadedTool>, log: Log) -> Self {
        Self::under(Vec::new(), tools, log, LONGEST)
    }

    fn under(mut links: Vec<Link>, tools: Vec<LoadedTool>, log: Log, max_call: Duration) -> Self {
        let (world, decisions) = (World::new(), Decisions::default());
        links.push(link("names", &ActionKind::ALL, Arc::new(Refuses("forbidden"))));
        let gate = gate(links, &decisions);
        world.set_gate(&gate);
        let context = TaskContext {
            gate: Arc::clone(&gate),
            commands: world.clone(),
            files: world.clone(),
            repository: world.clone(),
            http: world.clone(),
            log: log.shared(),
            progress: Arc::new(log.clone()),
            max_call,
        };
        Self { tools: Toolbox::new(tools, context).expect("a toolbox"), gate, world, log, decisions }
    }

    pub(crate) async fn permit(&self, tool: &str, arguments: Value) -> Permit<ToolCall> {
        let mut call = self.tools.check(tool, &arguments.to_string()).expect("good arguments");
        call.call_id = "c1".into();
        self.gate.permit(&Actor::Agent, call).await.expect("permitted")
    }

    /// Calls with this text.
    pub(crate) async fn call(&self, tool: &str, text: &str) -> Result<ToolOutput, PortError> {
        let permit = self.permit(tool, json!({ "text": text })).await;
        self.tools.invoke(permit, invocation(Duration::from_secs(60))).await
    }

    /// The content of a call that succeeds.
    pub(crate) async fn content(&self, tool: &str, text: &str) -> String {
        self.call(tool, text).await.unwrap_or_else(|error| panic!("{tool}: {error}")).content
    }

    /// The error of a call that fails.
    pub(crate) async fn error(&self, tool: &str, text: &str) -> PortError {
        self.call(tool, text).await.expect_err(tool)
    }

    /// Whether the next call is as if nothing had been.
    pub(crate) async fn assert_alive(&self) {
        assert_eq!(self.content("count", "").await, "1");
    }
}

/// The fixture twice: the tools that cost too much, and those that ask for something.
async fn fixtures(grants: &Grants, log: &Log) -> Vec<LoadedTool> {
    let host = components::host(log);
    let mut tools = Vec::new();
    for (id, part) in [("faults", "faults"), ("fixture", "effects")] {
        let mut spec = components::granted(id, components::tool(), grants.clone());
        spec.settings = json!({ "tools": part });
        tools.push(host.load_tool(spec).await.expect("loads"));
    }
    tools
}

pub(crate) fn invocation(timeout: Duration) -> Invocation {
    Invocation { details: json!({ "a": 1 }), timeout, cancel: CancellationToken::new(), by_host: false }
}

/// An action whose target is this text.
pub(crate) fn named(target: &str) -> ToolCall {
    let call = ToolCall {
        call_id: "c1".into(),
        tool: target.into(),
        plugin: "p".into(),
        arguments: json!({ "b": 1 }),
    };
    assert_eq!(call.target(), target);
    call
}
