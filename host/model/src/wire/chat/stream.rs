//! The stream of a Chat Completions reply, with the liberties that servers
//! take: arguments whole or as an object, ids late, missing or all the same,
//! an index missing or always 0, `null` for empty, no finish reason.

use serde_json::{Map, Value};
use sortie_core::conversation::{Item, StopReason};
use sortie_core::outcome::Usage;

use crate::failure::Failure;
use crate::json;
use crate::spec::Provider;
use crate::sse::Event;
use crate::wire::{Assembly, Draft, Step, object, within_bounds};

/// Where servers put the text of reasoning. What came there is sent back there.
pub(super) const REASONING: [&str; 2] = ["reasoning_content", "reasoning"];

/// Collects pieces of text, reasoning and tool calls.
#[derive(Debug, Default)]
pub(super) struct Stream {
    text: String,
    refusal: String,
    reasoning: Map<String, Value>,
    calls: Vec<Call>,
    finish: Option<String>,
    usage: Option<Usage>,
    done: bool,
}

#[derive(Debug, Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl Assembly for Stream {
    fn take(&mut self, event: &Event, delta: &mut dyn FnMut(&str)) -> Result<Step, Failure> {
        if event.data.trim() == "[DONE]" {
            self.done = true;
            return Ok(Step::Done);
        }
        let data = object(event)?;
        if let Some(error) = json::present(&data, "error") {
            return Err(Failure::of_event(error));
        }
        if event.name == "error" {
            return Err(Failure::of_event(&data));
        }
        if let Some(usage) = json::present(&data, "usage") {
            self.usage = Some(Usage {
                input_tokens: json::number(usage, "prompt_tokens").unwrap_or(0),
                output_tokens: json::number(usage, "completion_tokens").unwrap_or(0),
                ..Usage::default()
            });
        }
        let is_first = |choice: &&Value| json::number(choice, "index").unwrap_or(0) == 0;
        if let Some(choice) = json::list(&data, "choices").iter().find(is_first) {
            self.take_choice(choice, delta)?;
        }
        Ok(Step::More)
    }

    fn is_whole(&self) -> bool {
        self.done || self.finish.is_some()
    }

    fn finish(self: Box<Self>) -> Draft {
        let mut stop = match self.finish.as_deref() {
            Some("length") => StopReason::Length,
            Some("content_filter") => StopReason::Declined,
            _ => StopReason::Ended,
        };
        let mut items = Vec::new();
        if !self.reasoning.is_empty() {
            let provider = Provider::OpenAiChat.name().to_owned();
            items.push(Item::Reasoning { provider, data: Value::Object(self.reasoning) });
        }
        if !self.text.is_empty() {
            items.push(Item::Text { text: self.text });
        }
        if !self.refusal.is_empty() {
            stop = StopReason::Declined;
            items.push(Item::Text { text: self.refusal });
        }
        let calls = self.calls.into_iter();
        items.extend(calls.map(|Call { id, name, arguments, .. }| Item::ToolCall { id, name, arguments }));
        Draft { items, stop, usage: self.usage }
    }
}

impl Stream {
    fn take_choice(&mut self, choice: &Value, delta: &mut dyn FnMut(&str)) -> Result<(), Failure> {
        if let Some(piece) = json::present(choice, "delta") {
            self.take_text(piece, delta);
            for call in json::list(piece, "tool_calls") {
                self.take_call(call)?;
            }
        }
        match json::text(choice, "finish_reason") {
            "" => {}
            "error" => return Err(Failure::transient("the model failed in the middle of its reply")),
            finish => self.finish = Some(finish.to_owned()),
        }
        Ok(())
    }

    fn take_text(&mut self, piece: &Value, delta: &mut dyn FnMut(&str)) {
        let content = match piece.get("content") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => parts.iter().map(|part| json::text(part, "text")).collect(),
            _ => String::new(),
        };
        let refusal = json::text(piece, "refusal");
        for text in [content.as_str(), refusal].into_iter().filter(|text| !text.is_empty()) {
            delta(text);
        }
        self.text.push_str(&content);
        self.refusal.push_str(refusal);
        // servers that fill both fill them with the same
        let reasoning = REASONING.into_iter().find(|key| !json::text(piece, key).is_empty());
        if let Some(key) = reasoning {
            let kept = self.reasoning.entry(key).or_insert_with(|| Value::String(String::new()));
            if let Value::String(kept) = kept {
                kept.push_str(json::text(piece, key));
            }
        }
    }

    fn take_call(&mut self, piece: &Value) -> Result<(), Failure> {
        let function = &piece["function"];
        let (id, name) = (json::text(piece, "id"), json::text(function, "name"));
        let index = json::number(piece, "index");
        let call = match self.position(index, id, name) {
            Some(position) => &mut self.calls[position],
            None => {
                within_bounds(self.calls.len())?;
                self.calls.push(Call { index, ..Call::default() });
                self.calls.last_mut().expect("one was pushed")
            }
        };
        if call.id.is_empty() {
            id.clone_into(&mut call.id);
        }
        // in pieces, or the whole name each time
        if call.name != name {
            call.name.push_str(name);
        }
        match json::present(function, "arguments") {
            Some(Value::String(arguments)) => call.arguments.push_str(arguments),
            Some(arguments) => call.arguments = arguments.to_string(),
            None => {}
        }
        Ok(())
    }

    /// The call that a piece belongs to; none if it begins another.
    fn position(&self, index: Option<u64>, id: &str, name: &str) -> Option<usize> {
        // several whole calls, each with index 0, differ by their ids
        let continues = |call: &Call| id.is_empty() || call.id.is_empty() || call.id == id || name.is_empty();
        match index {
            Some(_) => self.calls.iter().rposition(|call| call.index == index && continues(call)),
            None if !id.is_empty() => self.calls.iter().rposition(|call| call.id == id),
            None if !name.is_empty() => None,
            None => self.calls.len().checked_sub(1),
        }
    }
}
