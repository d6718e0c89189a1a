//! The stream of a Messages reply: blocks that begin, grow and end.

use std::collections::BTreeMap;

use serde_json::Value;
use sortie_core::conversation::{Item, StopReason};
use sortie_core::outcome::Usage;

use crate::failure::Failure;
use crate::json;
use crate::spec::Provider;
use crate::sse::Event;
use crate::wire::{Assembly, Draft, Step, object, within_bounds};

/// Collects blocks.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// By their index in the message.
    blocks: BTreeMap<u64, Block>,
    stop_reason: String,
    /// Why the provider declined.
    explanation: String,
    tokens: Option<Tokens>,
    done: bool,
}

/// A block as it began, and what came since.
#[derive(Debug)]
struct Block {
    start: Value,
    text: String,
    arguments: String,
    signature: String,
}

/// The counts, each the latest that came: they are sums, not differences.
#[derive(Clone, Copy, Debug, Default)]
struct Tokens {
    input: u64,
    cache_read: u64,
    cache_written: u64,
    output: u64,
}

impl Tokens {
    fn update(&mut self, usage: &Value) {
        let counts = [
            ("input_tokens", &mut self.input),
            ("cache_read_input_tokens", &mut self.cache_read),
            ("cache_creation_input_tokens", &mut self.cache_written),
            ("output_tokens", &mut self.output),
        ];
        for (key, count) in counts {
            *count = json::number(usage, key).unwrap_or(*count);
        }
    }

    fn usage(self) -> Usage {
        let input_tokens = self.input.saturating_add(self.cache_read).saturating_add(self.cache_written);
        Usage { input_tokens, output_tokens: self.output, ..Usage::default() }
    }
}

impl Assembly for Stream {
    fn take(&mut self, event: &Event, delta: &mut dyn FnMut(&str)) -> Result<Step, Failure> {
        if event.data.trim() == "[DONE]" {
            return Ok(Step::More); // of gateways that end every stream so
        }
        let mut data = object(event)?;
        match json::text(&data, "type") {
            "message_start" => self.take_usage(&data["message"]),
            "content_block_start" => {
                within_bounds(self.blocks.len())?;
                let index = json::number(&data, "index").unwrap_or(self.blocks.len() as u64);
                let block = Block::begin(data["content_block"].take());
                if !block.text.is_empty() && block.is("text") {
                    delta(&block.text);
                }
                self.blocks.insert(index, block);
            }
            "content_block_delta" => self.take_delta(&data, delta)?,
            "message_delta" => {
                self.take_usage(&data);
                let change = &data["delta"];
                if let Some(Value::String(reason)) = json::present(change, "stop_reason") {
                    reason.clone_into(&mut self.stop_reason);
                }
                json::text(&change["stop_details"], "explanation").clone_into(&mut self.explanation);
            }
            "message_stop" => {
                self.done = true;
                return Ok(Step::Done);
            }
            "error" => return Err(Failure::of_event(json::present(&data, "error").unwrap_or(&data))),
            _ => {}
        }
        Ok(Step::More)
    }

    fn is_whole(&self) -> bool {
        self.done
    }

    fn finish(self: Box<Self>) -> Draft {
        let stop = match self.stop_reason.as_str() {
            "max_tokens" | "model_context_window_exceeded" => StopReason::Length,
            "refusal" => StopReason::Declined,
            _ => StopReason::Ended,
        };
        let mut items: Vec<_> = self.blocks.into_values().filter_map(Block::item).collect();
        if items.is_empty() && !self.explanation.is_empty() {
            items.push(Item::Text { text: self.explanation });
        }
        Draft { items, stop, usage: self.tokens.map(Tokens::usage) }
    }
}

impl Stream {
    fn take_usage(&mut self, value: &Value) {
        if let Some(usage) = json::present(value, "usage") {
            self.tokens.get_or_insert_default().update(usage);
        }
    }

    fn take_delta(&mut self, data: &Value, delta: &mut dyn FnMut(&str)) -> Result<(), Failure> {
        let index = json::number(data, "index").unwrap_or(0);
        let Some(block) = self.blocks.get_mut(&index) else {
            return Err(Failure::transient(format!("the stream continues block {index}, which never began")));
        };
        let change = &data["delta"];
        match json::text(change, "type") {
            "text_delta" => {
                let text = json::text(change, "text");
                block.text.push_str(text);
                if !text.is_empty() {
                    delta(text);
                }
            }
            "thinking_delta" => block.text.push_str(json::text(change, "thinking")),
            "signature_delta" => json::text(change, "signature").clone_into(&mut block.signature),
            "input_json_delta" => block.arguments.push_str(json::text(change, "partial_json")),
            _ => {}
        }
        Ok(())
    }
}

impl Block {
    fn begin(start: Value) -> Self {
        let text = ["text", "thinking"].map(|key| json::text(&start, key)).concat();
        Self { start, text, arguments: String::new(), signature: String::new() }
    }

    fn is(&self, kind: &str) -> bool {
        json::text(&self.start, "type") == kind
    }

    /// None for blocks of types that were not asked for, and for empty text.
    fn item(mut self) -> Option<Item> {
        match json::text(&self.start, "type") {
            "text" => (!self.text.is_empty()).then_some(Item::Text { text: self.text }),
            "tool_use" => Some(Item::ToolCall {
                id: json::text(&self.start, "id").to_owned(),
                name: json::text(&self.start, "name").to_owned(),
                arguments: self.arguments(),
            }),
            "thinking" => {
                self.start["thinking"] = std::mem::take(&mut self.text).into();
                if !self.signature.is_empty() {
                    self.start["signature"] = std::mem::take(&mut self.signature).into();
                }
                Some(self.reasoning())
            }
            "redacted_thinking" => Some(self.reasoning()),
            _ => None,
        }
    }

    fn reasoning(self) -> Item {
        Item::Reasoning { provider: Provider::Anthropic.name().to_owned(), data: self.start }
    }

    /// Usually in pieces; some servers send them with the beginning.
    fn arguments(&self) -> String {
        if !self.arguments.is_empty() {
            return self.arguments.clone();
        }
        json::present(&self.start, "input").map_or_else(|| "{}".to_owned(), Value::to_string)
    }
}
