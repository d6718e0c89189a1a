//! The OpenAI Responses API.
//!
//! Nothing is stored at the provider (`store: false`), so reasoning comes back
//! encrypted and is sent along with what follows it.

mod stream;

use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use http::header::InvalidHeaderValue;
use serde_json::{Value, json};
use sortie_core::Secret;
use sortie_core::action::ModelRequest;
use sortie_core::conversation::{Item, ToolSpec};

use super::{Assembly, Wire, bearer};
use crate::json;
use crate::options::Options;
use crate::spec::Provider;
use crate::turns::{Turn, arguments_text, turns};

/// The OpenAI Responses API.
#[derive(Debug, Default)]
pub(crate) struct Responses {
    /// The model does not encrypt its reasoning, and refuses to be asked.
    without_reasoning: AtomicBool,
}

impl Wire for Responses {
    fn provider(&self) -> Provider {
        Provider::OpenAi
    }

    fn path(&self) -> &'static str {
        "/responses"
    }

    fn headers(&self, key: Option<&Secret>) -> Result<HeaderMap, InvalidHeaderValue> {
        bearer(key)
    }

    fn body(&self, request: &ModelRequest, options: &Options) -> Value {
        let conversation = &request.conversation;
        let mut body = json!({
            "model": request.model,
            "input": turns(&conversation.messages).iter().flat_map(input).collect::<Vec<_>>(),
            "max_output_tokens": request.max_output_tokens,
            "store": false,
            "stream": true,
        });
        if !conversation.system.is_empty() {
            body["instructions"] = conversation.system.as_str().into();
        }
        if !conversation.tools.is_empty() {
            body["tools"] = conversation.tools.iter().map(tool).collect();
        }
        if !self.without_reasoning.load(Ordering::Relaxed) {
            body["include"] = json!(["reasoning.encrypted_content"]);
        }
        if let Some(effort) = options.reasoning_effort {
            body["reasoning"] = json!({ "effort": effort.name() });
        }
        body
    }

    fn assembly(&self) -> Box<dyn Assembly> {
        Box::new(stream::Stream::default())
    }

    fn adapt(&self, message: &str) -> bool {
        let named = ["encrypted content", "encrypted_content"];
        let message = message.to_lowercase();
        named.iter().any(|name| message.contains(name))
            && !self.without_reasoning.swap(true, Ordering::Relaxed)
    }
}

/// `strict` would want every property to be required.
fn tool(tool: &ToolSpec) -> Value {
    json!({
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.input_schema,
        "strict": false,
    })
}

fn input(turn: &Turn<'_>) -> Vec<Value> {
    match turn {
        Turn::Assistant(items) => assistant(items),
        Turn::User { results, texts } => {
            let results = results.iter().map(|result| {
                json!({ "type": "function_call_output", "call_id": result.call_id, "output": result.content })
            });
            let texts = texts.iter().map(|text| json!({ "role": "user", "content": text }));
            results.chain(texts).collect()
        }
    }
}

fn assistant(items: &[&Item]) -> Vec<Value> {
    let mut input = Vec::new();
    let mut phase = None;
    for item in items {
        match item {
            Item::Reasoning { provider, data } if provider == Provider::OpenAi.name() => {
                match json::text(data, "type") {
                    "message" => phase = json::present(data, "phase"),
                    _ if can_be_sent_back(data) => input.push(data.clone()),
                    _ => {}
                }
            }
            Item::Reasoning { .. } => {}
            Item::Text { text } => {
                let mut message = json!({ "role": "assistant", "content": text });
                if let Some(phase) = phase.take() {
                    message["phase"] = phase.clone();
                }
                input.push(message);
            }
            Item::ToolCall { id, name, arguments } => input.push(json!({
                "type": "function_call",
                "call_id": id,
                "name": name,
                "arguments": arguments_text(arguments),
            })),
        }
    }
    // reasoning that nothing follows is refused
    while input.last().is_some_and(|item| json::text(item, "type") == "reasoning") {
        input.pop();
    }
    input
}

/// Reasoning without its content is a reference to what the provider did not store.
fn can_be_sent_back(reasoning: &Value) -> bool {
    json::text(reasoning, "type") == "reasoning"
        && (!json::text(reasoning, "encrypted_content").is_empty()
            || !json::list(reasoning, "content").is_empty())
}
