//! The Chat Completions API, as OpenAI and many other servers speak it.

mod stream;

use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use http::header::InvalidHeaderValue;
use serde_json::{Value, json};
use sortie_core::Secret;
use sortie_core::action::ModelRequest;
use sortie_core::conversation::{Item, ToolSpec};

use super::{Assembly, Wire, bearer};
use crate::options::Options;
use crate::spec::Provider;
use crate::turns::{Turn, arguments_text, turns};

/// The Chat Completions API.
#[derive(Debug)]
pub(crate) struct Chat {
    /// The bound on the reply is named `max_completion_tokens`. OpenAI takes
    /// no other name for models that reason; others know `max_tokens` alone.
    bounds_completion: AtomicBool,
    /// The server was asked to name the bound otherwise already.
    renamed: AtomicBool,
    /// The server refuses `stream_options`.
    without_stream_options: AtomicBool,
}

impl Chat {
    /// For OpenAI itself, or for another server.
    pub(crate) fn new(is_openai: bool) -> Self {
        Self {
            bounds_completion: AtomicBool::new(is_openai),
            renamed: AtomicBool::new(false),
            without_stream_options: AtomicBool::new(false),
        }
    }
}

impl Wire for Chat {
    fn provider(&self) -> Provider {
        Provider::OpenAiChat
    }

    fn path(&self) -> &'static str {
        "/chat/completions"
    }

    fn headers(&self, key: Option<&Secret>) -> Result<HeaderMap, InvalidHeaderValue> {
        bearer(key)
    }

    fn body(&self, request: &ModelRequest, options: &Options) -> Value {
        let conversation = &request.conversation;
        let mut messages = Vec::new();
        if !conversation.system.is_empty() {
            messages.push(json!({ "role": "system", "content": conversation.system }));
        }
        messages.extend(turns(&conversation.messages).iter().flat_map(input));
        let mut body = json!({ "model": request.model, "messages": messages, "stream": true });
        let completion = self.bounds_completion.load(Ordering::Relaxed);
        let bound = if completion { "max_completion_tokens" } else { "max_tokens" };
        body[bound] = request.max_output_tokens.into();
        if !self.without_stream_options.load(Ordering::Relaxed) {
            body["stream_options"] = json!({ "include_usage": true });
        }
        if !conversation.tools.is_empty() {
            body["tools"] = conversation.tools.iter().map(tool).collect();
        }
        if let Some(effort) = options.reasoning_effort {
            body["reasoning_effort"] = effort.name().into();
        }
        body
    }

    fn assembly(&self) -> Box<dyn Assembly> {
        Box::new(stream::Stream::default())
    }

    fn adapt(&self, message: &str) -> bool {
        if message.contains("stream_options") {
            return !self.without_stream_options.swap(true, Ordering::Relaxed);
        }
        let named = ["max_tokens", "max_completion_tokens"];
        // a bound that is too high is named too, and no other name would help
        let refused = ["nsupported", "not supported", "nrecognized", "nknown", "xtra", "not permitted"];
        let names_the_bound = named.iter().any(|name| message.contains(name));
        let is_refused = names_the_bound && refused.iter().any(|word| message.contains(word));
        if !is_refused || self.renamed.swap(true, Ordering::Relaxed) {
            return false;
        }
        self.bounds_completion.fetch_xor(true, Ordering::Relaxed);
        true
    }
}

fn tool(tool: &ToolSpec) -> Value {
    let function = json!({
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.input_schema,
    });
    json!({ "type": "function", "function": function })
}

fn input(turn: &Turn<'_>) -> Vec<Value> {
    match turn {
        Turn::Assistant(items) => assistant(items).into_iter().collect(),
        Turn::User { results, texts } => {
            let results = results.iter().map(
                |result| json!({ "role": "tool", "tool_call_id": result.call_id, "content": result.content }),
            );
            // some chat templates refuse two messages of the user in a row
            let text = (!texts.is_empty()).then(|| json!({ "role": "user", "content": texts.join("\n\n") }));
            results.chain(text).collect()
        }
    }
}

fn assistant(items: &[&Item]) -> Option<Value> {
    let mut texts = Vec::new();
    let mut calls = Vec::new();
    let mut message = json!({ "role": "assistant" });
    for item in items {
        match item {
            Item::Text { text } => texts.push(text.as_str()),
            Item::ToolCall { id, name, arguments } => calls.push(json!({
                "id": id,
                "type": "function",
                "function": { "name": name, "arguments": arguments_text(arguments) },
            })),
            Item::Reasoning { provider, data } if provider == Provider::OpenAiChat.name() => {
                for key in stream::REASONING {
                    if let Some(reasoning) = data.get(key) {
                        message[key] = reasoning.clone();
                    }
                }
            }
            Item::Reasoning { .. } => {}
        }
    }
    if texts.is_empty() && calls.is_empty() {
        return None;
    }
    message["content"] = if texts.is_empty() { Value::Null } else { texts.join("\n").into() };
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    Some(message)
}
