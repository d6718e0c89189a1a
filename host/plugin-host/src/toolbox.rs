//! The tools of a task.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use sortie_core::action::ToolCall;
use sortie_core::text::{one_line, strip_escapes};
use sortie_policy::Permit;
use sortie_policy::ports::{ErrorCode, Invocation, PortError, Tool, ToolOutput, Tools};
use tokio::time::Instant;

use crate::bindings::tool::exports::sortie::tool::tool as wit;
use crate::call::{self, Bounds};
use crate::failure::{Failure, from_guest};
use crate::limits::CONTENT;
use crate::state::{Call, State};
use crate::task::{Task, TaskContext};
use crate::tool::{Loaded, LoadedTool, Offer};
use crate::{json, schema};

/// The tools of a task, each call in an instance of its own.
pub struct Toolbox {
    plugins: Vec<LoadedTool>,
    /// By name: the plugin, and the tool within it.
    places: BTreeMap<String, (usize, usize)>,
    task: Arc<Task>,
}

/// Two plugins offer a tool of one name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tool `{tool}` is offered by plugin `{first}` and by plugin `{second}`")]
pub struct TwiceOffered {
    /// The tool's name.
    pub tool: String,
    /// A plugin that offers it.
    pub first: String,
    /// Another one.
    pub second: String,
}

impl Toolbox {
    /// Puts the tools of some plugins together.
    ///
    /// # Errors
    /// If two of them offer a tool of one name.
    pub fn new(plugins: Vec<LoadedTool>, context: TaskContext) -> Result<Self, TwiceOffered> {
        let mut places: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for (at, plugin) in plugins.iter().enumerate() {
            for (within, tool) in plugin.tools().enumerate() {
                let name = tool.spec.name.clone();
                if let Some((earlier, _)) = places.insert(name.clone(), (at, within)) {
                    let (first, second) = (plugins[earlier].id().to_owned(), plugin.id().to_owned());
                    return Err(TwiceOffered { tool: name, first, second });
                }
            }
        }
        Ok(Self { plugins, places, task: Arc::new(Task::new(context)) })
    }

    fn find(&self, tool: &str) -> Result<(&Arc<Loaded>, &Offer), PortError> {
        let (plugin, offer) = self.places.get(tool).ok_or_else(|| {
            let names: Vec<_> = self.places.keys().map(String::as_str).collect();
            let text = format!("there is no tool `{}`; there are: {}", one_line(tool, 80), names.join(", "));
            PortError::new(ErrorCode::NotFound, text)
        })?;
        let loaded = self.plugins[*plugin].inner();
        Ok((loaded, &loaded.offers[*offer]))
    }

    async fn call(
        &self,
        loaded: &Loaded,
        action: ToolCall,
        invocation: Invocation,
    ) -> Result<ToolOutput, PortError> {
        let Invocation { details, timeout, cancel, by_host: _ } = invocation;
        let time = timeout.min(self.task.context.max_call);
        let deadline = Instant::now() + time;
        let call = Call::new(Arc::clone(&self.task), Arc::clone(&loaded.info), deadline, cancel.clone());
        let (host, log) = (&loaded.host, &self.task.context.log);
        let state = State::new(&loaded.info, host.limits.tool_memory, log, Some(call.clone()), None);
        let tool = action.tool.clone();
        let (guest, request) = (loaded.pre.clone(), request(action, &details));
        let answer = call::run(
            &host.engine,
            &host.tools,
            state,
            Bounds { time, deadline: Some(deadline), cancel: &cancel },
            |store| {
                Box::pin(async move {
                    let instance = guest.instantiate_async(&mut *store).await?;
                    instance.sortie_tool_tool().call_invoke(store, &request).await
                })
            },
        );
        match answer.await {
            Ok(Ok(answer)) => output(&tool, answer),
            Ok(Err(error)) => Err(explained(from_guest(error), &call)),
            Err(failure) => Err(broken(&tool, &failure)),
        }
    }
}

#[async_trait]
impl Tools for Toolbox {
    fn list(&self) -> Vec<Tool> {
        let tool =
            |&(plugin, offer): &(usize, usize)| self.plugins[plugin].inner().offers[offer].tool.clone();
        self.places.values().map(tool).collect()
    }

    fn check(&self, tool: &str, arguments: &str) -> Result<ToolCall, PortError> {
        let (loaded, offer) = self.find(tool)?;
        // a model that has nothing to say may say nothing
        let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
        let arguments = json::parse(arguments).map_err(|error| {
            PortError::new(ErrorCode::Invalid, format!("the arguments of `{tool}`: {error}"))
        })?;
        check_arguments(offer, &arguments)?;
        Ok(ToolCall {
            call_id: String::new(),
            tool: tool.to_owned(),
            plugin: loaded.info.id.to_string(),
            arguments,
        })
    }

    async fn invoke(
        &self,
        permit: Permit<ToolCall>,
        invocation: Invocation,
    ) -> Result<ToolOutput, PortError> {
        let action = permit.redeem(self.task.context.gate.seal())?;
        let (loaded, offer) = self.find(&action.tool)?;
        if action.plugin != *loaded.info.id {
            let text = format!("the permit is for a tool `{}` of another plugin", action.tool);
            return Err(PortError::new(ErrorCode::Invalid, text));
        }
        // again, because a policy may have changed them
        check_arguments(offer, &action.arguments)?;
        Box::pin(self.call(loaded, action, invocation)).await
    }
}

fn check_arguments(offer: &Offer, arguments: &Value) -> Result<(), PortError> {
    schema::check(&offer.validator, arguments).map_err(|error| {
        PortError::new(ErrorCode::Invalid, format!("the arguments of `{}`: {error}", offer.tool.spec.name))
    })
}

fn request(action: ToolCall, details: &Value) -> wit::Call {
    wit::Call {
        id: action.call_id,
        tool: action.tool,
        arguments: action.arguments.to_string(),
        details: details.to_string(),
    }
}

fn output(tool: &str, answer: wit::Output) -> Result<ToolOutput, PortError> {
    if answer.content.len() > CONTENT {
        let text = format!(
            "tool `{tool}` failed: its result of {} bytes is larger than 8 MiB",
            answer.content.len()
        );
        return Err(PortError::new(ErrorCode::TooLarge, text));
    }
    let details = json::parse(&answer.details).and_then(|details| match details {
        Value::Null | Value::Object(_) => Ok(details),
        other => Err(json::JsonError::Kind("an object or null", json::kind(&other))),
    });
    let details = details.map_err(|error| {
        PortError::new(
            ErrorCode::Internal,
            format!("tool `{tool}` failed: the details of its result: {error}"),
        )
    })?;
    Ok(ToolOutput { content: strip_escapes(&answer.content), details })
}

/// A tool's own error, with what `wasi:http` had no words for.
fn explained(mut error: PortError, call: &Call) -> PortError {
    for note in call.take_notes() {
        if !error.message.contains(&note.message) {
            error.message.push('\n');
            error.message.push_str(&note.message);
        }
        if error.code == note.code && error.rule.is_none() {
            error.rule = note.rule;
        }
    }
    error
}

fn broken(tool: &str, failure: &Failure) -> PortError {
    let hint = match failure {
        Failure::Time(_) | Failure::Cancelled | Failure::Crowded => "",
        _ => "; its log has the details",
    };
    PortError::new(failure.code(), format!("tool `{tool}` failed: {failure}{hint}"))
}
