//! A tool call and a policy call, each in a fresh instance, against a child
//! process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use sortie_core::action::{Exec, FileRead, ReadOperation, ToolCall};
use sortie_core::{ActionKind, Actor, Effect as _};
use sortie_plugin_host::{
    HostConfig, Limits, LoadedTool, PluginHost, PluginSpec, Silent, TaskContext, Toolbox,
};
use sortie_policy::ports::{Files as _, Invocation, ToolOutput, Tools as _};
use sortie_policy::{Defaults, Evaluator, FactsSource as _, Gate, Layer, Link, Permit, PolicyEvent};
use sortie_testing::Unkept;
use tokio_util::sync::CancellationToken;

use crate::child::Child;
use crate::cores::Apart;
use crate::table::{Table, Times, micros, ratio};
use crate::world::{PATH, World, still};

/// Times that each thing is done; a few more before, which do not count.
const ROUNDS: usize = 4000;
const WARM_UP: usize = 200;

/// Bytes of the event that the policy decides on.
const EVENT: usize = 2048;

/// A task with the tools of the component `files`.
struct Task {
    gate: Arc<Gate>,
    world: Arc<World>,
    tools: Toolbox,
}

impl Task {
    fn new(tool: LoadedTool, policies: Vec<Link>) -> anyhow::Result<Self> {
        let defaults = Defaults {
            repository: "https://forge.example/team/adder".to_owned(),
            provider: "scripted".to_owned(),
            ..sortie_testing::defaults()
        };
        // what it costs to keep a record is in the turns
        let gate = sortie_testing::gate_with(policies, defaults, Arc::new(still()), Arc::new(Unkept));
        let gate = Arc::new(gate);
        let world = Arc::new(World::new(gate.seal()));
        let context = TaskContext {
            gate: Arc::clone(&gate),
            commands: world.clone(),
            files: world.clone(),
            repository: world.clone(),
            http: world.clone(),
            log: Arc::new(Silent),
            progress: Arc::new(Silent),
            max_call: Duration::from_secs(60),
        };
        Ok(Self { gate, world, tools: Toolbox::new(vec![tool], context)? })
    }

    /// A call as the agent makes it: arguments checked, then permitted.
    async fn permit(&self, arguments: &str) -> anyhow::Result<Permit<ToolCall>> {
        let call = ToolCall { call_id: "c1".to_owned(), ..self.tools.check("read_file", arguments)? };
        Ok(self.gate.permit(&Actor::Agent, call).await?)
    }

    /// The whole call through the component.
    async fn call(&self, arguments: &str) -> anyhow::Result<ToolOutput> {
        let permit = self.permit(arguments).await?;
        let invocation = Invocation {
            details: json!({}),
            timeout: Duration::from_secs(60),
            cancel: CancellationToken::new(),
            by_host: false,
        };
        Ok(self.tools.invoke(permit, invocation).await?)
    }

    /// The same through the child: the same checks and permits on the host's side.
    async fn call_child(&self, child: &mut Child, arguments: &str) -> anyhow::Result<ToolOutput> {
        let permit = self.permit(arguments).await?;
        let call = permit.redeem(self.gate.seal())?;
        let mut answer = child.call(&call.tool, &call.arguments, |params| self.read(params)).await?;
        let content = answer["content"].as_str().unwrap_or_default().to_owned();
        Ok(ToolOutput { content, details: answer["details"].take() })
    }

    async fn read(&self, params: Value) -> anyhow::Result<Value> {
        let path = params["path"].as_str().unwrap_or_default().to_owned();
        let action =
            FileRead { operation: ReadOperation::Read { offset: 0, max: 8 << 20 }, paths: vec![path] };
        let permit = self.gate.permit(&Actor::Tool("files".to_owned()), action).await?;
        let content = self.world.read(permit).await?;
        Ok(json!({ "data": String::from_utf8(content.data)?, "size": content.size, "etag": content.etag }))
    }
}

pub(crate) async fn measure(cache: &Path, table: &mut Table) -> anyhow::Result<()> {
    let config = HostConfig { cache_dir: cache.to_owned(), limits: Limits::default(), log: Arc::new(Silent) };
    let host = PluginHost::new(config)?;
    let grants = json!({ "files": { "read": ["**"], "write": ["**"] } });
    let files = host.load_tool(spec("files", grants, json!({}))?).await?;
    let rules = spec("rules", json!({}), json!({ "default_rules": true, "rule": [] }))?;
    let rules = host.load_policy(rules).await?.into_evaluator(Arc::new(Silent));

    let ungoverned = Task::new(files.clone(), Vec::new())?;
    let governed = Task::new(files, vec![link(Arc::clone(&rules))])?;
    let mut child = Child::start()?;
    let apart = Apart::new(child.id())?;
    let event = event()?;
    let arguments = json!({ "path": PATH }).to_string();
    check(&ungoverned, &mut child, &arguments).await?;

    let (mut tool, mut by_child) = (Times::default(), Times::default());
    let (mut with_rules, mut policy) = (Times::default(), Times::default());
    // by turns, so that what else the machine does falls on all of them
    for round in 0..WARM_UP + ROUNDS {
        if round == WARM_UP {
            (tool, by_child, with_rules, policy) = Default::default();
        }
        tool.time(ungoverned.call(&arguments)).await?;
        by_child.time(ungoverned.call_child(&mut child, &arguments)).await?;
        with_rules.time(governed.call(&arguments)).await?;
        policy.time(rules.evaluate(&event)).await?;
    }
    drop(apart);
    child.stop()?;

    let (tool, by_child) = (tool.median(), by_child.median());
    table.note("tool call with one host import, fresh instance", micros(tool), "µs");
    table.note("  the same work in a JSON-RPC child process", micros(by_child), "µs");
    table.target("  tool call against the child process", ratio(tool, by_child), "times", 0.2);
    table.note("  the same with the first-party rules asked twice", micros(with_rules.median()), "µs");
    table.note("policy call, 2 KB event, fresh instance", micros(policy.median()), "µs");
    table.note("  policy call against the child process", ratio(policy.median(), by_child), "times");
    Ok(())
}

/// Both ways give the same.
async fn check(task: &Task, child: &mut Child, arguments: &str) -> anyhow::Result<()> {
    let (ours, theirs) = (task.call(arguments).await?, task.call_child(child, arguments).await?);
    ensure!(ours == theirs, "the two ways differ: {ours:?} and {theirs:?}");
    Ok(())
}

fn spec(id: &str, grants: Value, settings: Value) -> anyhow::Result<PluginSpec> {
    let component = sortie_bundle::components().iter().find(|component| component.id == id);
    let bytes = component.expect("it is a first-party component").bytes.to_vec();
    let mut spec = PluginSpec::new(id, bytes, "first-party");
    spec.grants = serde_json::from_value(grants)?;
    spec.settings = settings;
    Ok(spec)
}

fn link(evaluator: Arc<dyn Evaluator>) -> Link {
    Link {
        id: "rules".to_owned(),
        layer: Layer::Organisation,
        priority: 0,
        subscribes: ActionKind::ALL.into(),
        mutates: false,
        evaluator,
    }
}

/// A command, long enough for an event of 2 KB, that no rule is against.
fn event() -> anyhow::Result<PolicyEvent> {
    let facts = still().facts();
    let mut command = "cargo test --workspace".to_owned();
    loop {
        let exec = Exec { argv: vec!["sh".to_owned(), "-c".to_owned(), command.clone()], ..Exec::default() };
        let action = exec.action();
        let bytes =
            action.target.len() + action.details.to_string().len() + serde_json::to_string(&facts)?.len();
        if bytes >= EVENT {
            return Ok(PolicyEvent { id: "d1".to_owned(), actor: "agent".to_owned(), action, facts });
        }
        command.push_str(" --exclude=adder");
    }
}
