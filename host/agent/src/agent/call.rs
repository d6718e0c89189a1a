//! One tool call: decided on, written down, made, and what the model sees of it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sortie_core::Actor;
use sortie_core::action::{Effect, ToolCall, ToolResult};
use sortie_core::event::Event;
use sortie_core::text::{one_line, strip_escapes};
use sortie_policy::Permit;
use sortie_policy::ports::{ErrorCode, Invocation, PortError, Tool, ToolOutput};

use super::{Agent, AgentError, Work};
use crate::builtin::{self, ReadOutput, UpdatePlan};
use crate::shorten::{DEFAULT_SHOWN, MOST_SHOWN, shorten};

/// What a tool call came to.
pub(super) struct CallResult {
    pub(super) content: String,
    pub(super) failed: bool,
    blob: Option<String>,
    details: Value,
}

impl CallResult {
    /// What it says may repeat what the model or a plugin wrote, at any length.
    pub(super) fn failure(message: impl AsRef<str>) -> Self {
        let content = shorten(&strip_escapes(message.as_ref()), DEFAULT_SHOWN).text;
        Self { content, failed: true, blob: None, details: Value::Null }
    }

    pub(super) fn success(content: impl Into<String>) -> Self {
        Self { content: content.into(), failed: false, blob: None, details: Value::Null }
    }
}

impl Agent {
    /// Answers a call that is not made. The journal has it like any other: the
    /// conversation goes on from the answer.
    pub(super) fn leave_out(&self, id: &str, name: &str, arguments: &str, why: &str) -> CallResult {
        let result = CallResult::failure(why);
        self.note_start(id, name, arguments, false);
        self.note_end(id, name, Instant::now(), &result);
        result
    }

    fn note_start(&self, id: &str, name: &str, arguments: &str, idempotent: bool) {
        self.journal.append(Event::ToolStarted {
            call_id: id.to_owned(),
            tool: name.to_owned(),
            arguments: arguments.to_owned(),
            idempotent,
        });
    }

    fn note_end(&self, id: &str, name: &str, started: Instant, result: &CallResult) {
        self.journal.append(Event::ToolEnded {
            call_id: id.to_owned(),
            tool: name.to_owned(),
            ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            failed: result.failed,
            content: result.content.clone(),
            blob: result.blob.clone(),
            details: result.details.clone(),
        });
    }

    /// Has the gate decide, or says what the model is told instead. A person
    /// may have to give the permit, who need not answer a cancelled task.
    async fn permit<A: Effect>(&self, actor: &Actor, effect: A) -> Result<Permit<A>, CallResult> {
        tokio::select! {
            // a decision that is there counts: the result of a call that was made is kept
            biased;
            permit = self.gate.permit(actor, effect) => {
                permit.map_err(|refusal| CallResult::failure(refusal.to_string()))
            }
            () = self.cancel.cancelled() => {
                Err(CallResult::failure("the task was cancelled before this was decided on"))
            }
        }
    }

    pub(super) async fn call(
        &self,
        work: &Work,
        id: &str,
        name: &str,
        arguments: &str,
    ) -> Result<CallResult, AgentError> {
        let started = Instant::now();
        let tool = work.tools.get(name);
        self.note_start(id, name, arguments, tool.is_some_and(|tool| tool.effects.idempotent));
        let result = match name {
            builtin::UPDATE_PLAN => self.update_plan(arguments),
            builtin::READ_OUTPUT => self.read_output(arguments).await?,
            _ => self.call_tool(work, id, name, arguments).await?,
        };
        self.meter.count_tool_call(tool.is_some_and(|tool| tool.effects.network));
        self.note_end(id, name, started, &result);
        Ok(result)
    }

    async fn call_tool(
        &self,
        work: &Work,
        id: &str,
        name: &str,
        arguments: &str,
    ) -> Result<CallResult, AgentError> {
        let Some(tool) = work.tools.get(name) else {
            return Ok(CallResult::failure(unknown_tool(work, name)));
        };
        let call = match self.tools.check(name, arguments) {
            Ok(call) => ToolCall { call_id: id.to_owned(), plugin: tool.plugin.clone(), ..call },
            Err(error) => return Ok(CallResult::failure(error.message)),
        };
        let permit = match self.permit(&Actor::Agent, call).await {
            Ok(permit) => permit,
            Err(result) => return Ok(result),
        };
        // the reply, the decision and the intent are durable before the tool acts
        self.journal.commit().await?;
        let invocation = Invocation {
            details: json!({}),
            timeout: self.limits.call.min(self.time_left(work)).max(Duration::from_secs(1)),
            cancel: self.cancel.child_token(),
            by_host: false,
        };
        let result = self.tools.invoke(permit, invocation).await;
        self.show(id, tool, result).await
    }

    /// What the model sees of a tool's result: permitted, and shortened.
    async fn show(
        &self,
        id: &str,
        tool: &Tool,
        result: Result<ToolOutput, PortError>,
    ) -> Result<CallResult, AgentError> {
        let (content, details, failed) = match result {
            Ok(output) => (output.content, output.details, false),
            Err(PortError { code: ErrorCode::Cancelled, .. }) => {
                ("the call was cancelled".into(), Value::Null, true)
            }
            Err(error) => (error.message, Value::Null, true),
        };
        let shown = ToolResult {
            call_id: id.to_owned(),
            tool: tool.spec.name.clone(),
            content: strip_escapes(&content),
            failed,
        };
        let whole = shown.content.clone();
        let content = match self.permit(&Actor::Tool(tool.plugin.clone()), shown).await {
            // the model is on the host's side of every port: taking the permitted text is the effect
            Ok(permit) => permit.action().content.clone(),
            Err(result) => return Ok(result),
        };
        // what a policy took out of the text would still stand in the details
        let details = if content == whole { details } else { Value::Null };
        let short = shorten(&content, self.limits.shown.min(MOST_SHOWN));
        if short.cut == 0 {
            return Ok(CallResult { content: short.text, failed, blob: None, details });
        }
        let blob = self.journal.keep(content.as_bytes()).await?;
        let content = format!(
            "{}\n[{} characters were cut. The whole is output `{}`: read more of it with `read_output`.]",
            short.text,
            short.cut,
            &blob[..16]
        );
        Ok(CallResult { content, failed, blob: Some(blob), details })
    }

    fn update_plan(&self, arguments: &str) -> CallResult {
        match builtin::arguments::<UpdatePlan>(builtin::UPDATE_PLAN, arguments) {
            Ok(plan) => {
                self.journal.append(Event::PlanUpdated { steps: json!(plan.steps) });
                CallResult::success("noted")
            }
            Err(message) => CallResult::failure(message),
        }
    }

    async fn read_output(&self, arguments: &str) -> Result<CallResult, AgentError> {
        let page: ReadOutput = match builtin::arguments(builtin::READ_OUTPUT, arguments) {
            Ok(page) => page,
            Err(message) => return Ok(CallResult::failure(message)),
        };
        Ok(match self.journal.kept(&page.output).await? {
            Some(bytes) => CallResult::success(page.page(&String::from_utf8_lossy(&bytes))),
            None => CallResult::failure(format!("there is no output `{}`", one_line(&page.output, 80))),
        })
    }
}

fn unknown_tool(work: &Work, name: &str) -> String {
    let mut names: Vec<_> = work.conversation.tools.iter().map(|tool| tool.name.as_str()).collect();
    names.sort_unstable();
    format!("there is no tool `{}`; there are: {}", one_line(name, 80), names.join(", "))
}
