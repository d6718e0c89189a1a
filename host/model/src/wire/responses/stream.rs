//! The stream of a Responses reply.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sortie_core::conversation::{Item, StopReason};
use sortie_core::outcome::Usage;

use crate::failure::Failure;
use crate::json;
use crate::spec::Provider;
use crate::sse::Event;
use crate::wire::{Assembly, Draft, Step, object, within_bounds};

/// Collects the output items, each of which one event holds whole.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// By their index in the output.
    output: BTreeMap<u64, Value>,
    /// The whole response, once it came.
    response: Option<Value>,
}

impl Assembly for Stream {
    fn take(&mut self, event: &Event, delta: &mut dyn FnMut(&str)) -> Result<Step, Failure> {
        if event.data.trim() == "[DONE]" {
            return Ok(Step::More);
        }
        let mut data = object(event)?;
        match json::text(&data, "type") {
            "response.output_text.delta" | "response.refusal.delta" => delta(json::text(&data, "delta")),
            "response.output_item.done" => {
                within_bounds(self.output.len())?;
                let next = self.output.keys().next_back().map_or(0, |last| last + 1);
                let index = json::number(&data, "output_index").unwrap_or(next);
                self.output.insert(index, data["item"].take());
            }
            "response.completed" | "response.incomplete" => {
                self.response = Some(data["response"].take());
                return Ok(Step::Done);
            }
            "response.failed" => return Err(Failure::of_event(&data["response"]["error"])),
            "error" => return Err(Failure::of_event(json::present(&data, "error").unwrap_or(&data))),
            _ => {}
        }
        Ok(Step::More)
    }

    fn is_whole(&self) -> bool {
        self.response.is_some()
    }

    fn finish(self: Box<Self>) -> Draft {
        let response = self.response.unwrap_or_default();
        let mut output: Vec<_> = self.output.into_values().collect();
        if output.is_empty() {
            output = json::list(&response, "output").iter().take(super::super::MOST_ITEMS).cloned().collect();
        }
        let mut stop = match json::text(&response["incomplete_details"], "reason") {
            "" => StopReason::Ended,
            "content_filter" => StopReason::Declined,
            _ => StopReason::Length,
        };
        if output.iter().any(has_refusal) {
            stop = StopReason::Declined;
        }
        let usage = json::present(&response, "usage").map(usage);
        Draft { items: output.into_iter().flat_map(items).collect(), stop, usage }
    }
}

fn usage(usage: &Value) -> Usage {
    Usage {
        input_tokens: json::number(usage, "input_tokens").unwrap_or(0),
        output_tokens: json::number(usage, "output_tokens").unwrap_or(0),
        ..Usage::default()
    }
}

fn has_refusal(item: &Value) -> bool {
    json::list(item, "content").iter().any(|part| json::text(part, "type") == "refusal")
}

fn items(item: Value) -> Vec<Item> {
    let provider = || Provider::OpenAi.name().to_owned();
    match json::text(&item, "type") {
        "message" => {
            let parts = json::list(&item, "content").iter();
            let text = |part: &Value| match json::text(part, "type") {
                "refusal" => json::text(part, "refusal").to_owned(),
                _ => json::text(part, "text").to_owned(),
            };
            let text = parts.map(text).collect::<Vec<_>>().concat();
            // the provider wants to be told again what the text was for
            let phase =
                json::present(&item, "phase").map(|phase| json!({ "type": "message", "phase": phase }));
            let phase = phase.map(|data| Item::Reasoning { provider: provider(), data });
            if text.is_empty() { vec![] } else { phase.into_iter().chain([Item::Text { text }]).collect() }
        }
        "function_call" => vec![Item::ToolCall {
            id: json::text(&item, "call_id").to_owned(),
            name: json::text(&item, "name").to_owned(),
            arguments: json::text(&item, "arguments").to_owned(),
        }],
        "reasoning" => vec![Item::Reasoning { provider: provider(), data: item }],
        _ => vec![],
    }
}
