//! The Anthropic Messages API.

mod stream;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue, InvalidHeaderValue};
use serde_json::{Value, json};
use sortie_core::Secret;
use sortie_core::action::ModelRequest;
use sortie_core::conversation::{Item, ToolSpec};

use super::{Assembly, Wire};
use crate::json;
use crate::options::{Options, ReasoningEffort};
use crate::spec::Provider;
use crate::turns::{Turn, arguments_object, turns};

/// The Anthropic Messages API.
#[derive(Debug)]
pub(crate) struct Anthropic;

impl Wire for Anthropic {
    fn provider(&self) -> Provider {
        Provider::Anthropic
    }

    fn path(&self) -> &'static str {
        "/v1/messages"
    }

    fn headers(&self, key: Option<&Secret>) -> Result<HeaderMap, InvalidHeaderValue> {
        let mut headers = HeaderMap::new();
        let version = HeaderName::from_static("anthropic-version");
        headers.insert(version, HeaderValue::from_static("2023-06-01"));
        if let Some(key) = key {
            let mut value = HeaderValue::from_str(key.expose())?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_static("x-api-key"), value);
        }
        Ok(headers)
    }

    fn body(&self, request: &ModelRequest, options: &Options) -> Value {
        let conversation = &request.conversation;
        let mut messages: Vec<_> = turns(&conversation.messages).iter().filter_map(message).collect();
        mark_latest(&mut messages);
        let mut body = json!({
            "model": request.model,
            "max_tokens": request.max_output_tokens,
            "messages": messages,
            "stream": true,
        });
        if !conversation.system.is_empty() {
            let mut system = json!({ "type": "text", "text": conversation.system });
            mark(&mut system);
            body["system"] = json!([system]);
        }
        if !conversation.tools.is_empty() {
            let mut tools: Vec<_> = conversation.tools.iter().map(tool).collect();
            tools.last_mut().into_iter().for_each(mark);
            body["tools"] = tools.into();
        }
        match options.reasoning_effort {
            None => {}
            Some(ReasoningEffort::None) => body["thinking"] = json!({ "type": "disabled" }),
            Some(effort) => {
                let effort = if effort == ReasoningEffort::Minimal { ReasoningEffort::Low } else { effort };
                body["thinking"] = json!({ "type": "adaptive" });
                body["output_config"] = json!({ "effort": effort.name() });
            }
        }
        body
    }

    fn assembly(&self) -> Box<dyn Assembly> {
        Box::new(stream::Stream::default())
    }
}

/// Lets the provider cache everything up to here.
fn mark(block: &mut Value) {
    block["cache_control"] = json!({ "type": "ephemeral" });
}

/// Marks the ends of the last two user messages: one to be read from in this
/// request, one in the next. With system and tools these are the four marks
/// that a request may have.
fn mark_latest(messages: &mut [Value]) {
    let users = messages.iter_mut().rev().filter(|message| json::text(message, "role") == "user");
    for message in users.take(2) {
        if let Some(last) = message["content"].as_array_mut().and_then(|blocks| blocks.last_mut()) {
            mark(last);
        }
    }
}

fn tool(tool: &ToolSpec) -> Value {
    json!({ "name": tool.name, "description": tool.description, "input_schema": tool.input_schema })
}

fn message(turn: &Turn<'_>) -> Option<Value> {
    let (role, blocks) = match turn {
        Turn::Assistant(items) => ("assistant", assistant(items)),
        Turn::User { results, texts } => {
            let results = results.iter().map(|result| {
                let id = tool_use_id(result.call_id);
                let mut block =
                    json!({ "type": "tool_result", "tool_use_id": id, "content": result.content });
                if result.failed {
                    block["is_error"] = true.into();
                }
                block
            });
            let texts = texts.iter().map(|text| json!({ "type": "text", "text": text }));
            ("user", results.chain(texts).collect())
        }
    };
    (!blocks.is_empty()).then(|| json!({ "role": role, "content": blocks }))
}

fn assistant(items: &[&Item]) -> Vec<Value> {
    let mut blocks = Vec::new();
    for item in items {
        match item {
            Item::Text { text } => blocks.push(json!({ "type": "text", "text": text })),
            Item::ToolCall { id, name, arguments } => blocks.push(json!({
                "type": "tool_use",
                "id": tool_use_id(id),
                "name": name,
                "input": arguments_object(arguments),
            })),
            Item::Reasoning { provider, data }
                if provider == Provider::Anthropic.name() && is_signed(data) =>
            {
                blocks.push(data.clone());
            }
            Item::Reasoning { .. } => {}
        }
    }
    // a message may not end in thinking
    while blocks.last().is_some_and(|block| json::text(block, "type").ends_with("thinking")) {
        blocks.pop();
    }
    blocks
}

/// Thinking that is not signed is refused.
fn is_signed(thinking: &Value) -> bool {
    let proof = if json::text(thinking, "type") == "redacted_thinking" { "data" } else { "signature" };
    !json::text(thinking, proof).is_empty()
}

/// Ids of another provider's calls may hold what this one refuses.
fn tool_use_id(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}
