//! A reply in each wire API: reasoning, text beyond ASCII, two tool calls, and
//! everything around them that must not matter.

use serde_json::{Value, json};
use sortie_core::conversation::{Item, Reply, StopReason};
use sortie_core::outcome::Usage;

/// The providers that speak HTTP.
pub(crate) const PROVIDERS: [&str; 3] = ["openai", "openai-chat", "anthropic"];

/// The stream of a reply with reasoning, text and two calls.
pub(crate) fn working(provider: &str) -> String {
    match provider {
        "openai" => named(&responses()),
        "openai-chat" => chat(),
        _ => named(&anthropic()),
    }
}

/// The reply that [`working`] makes.
pub(crate) fn worked(provider: &str) -> Reply {
    let data = match provider {
        "openai" => json!({ "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA=" }),
        "openai-chat" => json!({ "reasoning_content": "Hm… look." }),
        _ => json!({ "type": "thinking", "thinking": "Hm… look.", "signature": "c2ln" }),
    };
    let call = |id: &str, name: &str, arguments: &str| Item::ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
    };
    Reply {
        items: vec![
            Item::Reasoning { provider: provider.into(), data },
            Item::Text { text: "Größe 🦀 prüfen".into() },
            call("call_a", "look", "{}"),
            call("call_b", "shell", "{\"command\": \"printf 'ü\\n'\"}"),
        ],
        stop: StopReason::Ended,
        usage: Usage { input_tokens: 120, output_tokens: 45, ..Usage::default() },
    }
}

/// The stream of a reply that is this text and nothing else.
pub(crate) fn saying(provider: &str, text: &str) -> String {
    match provider {
        "openai" => {
            let item = json!({ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": text }] });
            named(&[
                json!({ "type": "response.output_text.delta", "delta": text }),
                json!({ "type": "response.output_item.done", "output_index": 0, "item": item }),
                json!({ "type": "response.completed", "response": { "usage": { "input_tokens": 7, "output_tokens": 3 } } }),
            ])
        }
        "openai-chat" => unnamed(&[
            json!({ "choices": [{ "index": 0, "delta": { "role": "assistant", "content": text } }] }),
            json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }],
                    "usage": { "prompt_tokens": 7, "completion_tokens": 3 } }),
        ]),
        _ => named(&[
            json!({ "type": "message_start", "message": { "usage": { "input_tokens": 7, "output_tokens": 1 } } }),
            json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
            json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": text } }),
            json!({ "type": "content_block_stop", "index": 0 }),
            json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": 3 } }),
            json!({ "type": "message_stop" }),
        ]),
    }
}

/// The stream of a reply with one call.
pub(crate) fn calling(provider: &str, name: &str, arguments: &str) -> String {
    match provider {
        "openai" => named(&[
            json!({ "type": "response.output_item.done", "output_index": 0, "item":
                { "type": "function_call", "call_id": "call_1", "name": name, "arguments": arguments } }),
            json!({ "type": "response.completed", "response": {} }),
        ]),
        "openai-chat" => unnamed(&[
            json!({ "choices": [{ "index": 0, "finish_reason": "tool_calls", "delta": { "tool_calls": [
                { "index": 0, "id": "call_1", "function": { "name": name, "arguments": arguments } } ] } }] }),
        ]),
        _ => named(&[
            json!({ "type": "content_block_start", "index": 0, "content_block":
                { "type": "tool_use", "id": "call_1", "name": name, "input": {} } }),
            json!({ "type": "content_block_delta", "index": 0, "delta":
                { "type": "input_json_delta", "partial_json": arguments } }),
            json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use" }, "usage": { "output_tokens": 3 } }),
            json!({ "type": "message_stop" }),
        ]),
    }
}

/// The stream of a reply that holds nothing.
pub(crate) fn silent(provider: &str) -> String {
    match provider {
        "openai" => named(&[json!({ "type": "response.completed", "response": { "output": [] } })]),
        "openai-chat" => {
            unnamed(&[json!({ "choices": [{ "delta": { "content": "" }, "finish_reason": "stop" }] })])
        }
        _ => named(&[
            json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": 0 } }),
            json!({ "type": "message_stop" }),
        ]),
    }
}

/// An error in the middle of a stream.
pub(crate) fn failing(provider: &str, code: &str, message: &str) -> String {
    match provider {
        "openai" => named(&[
            json!({ "type": "response.created" }),
            json!({ "type": "error", "code": code, "message": message }),
        ]),
        "openai-chat" => unnamed(&[json!({ "error": { "code": code, "message": message } })]),
        _ => named(&[json!({ "type": "error", "error": { "type": code, "message": message } })]),
    }
}

fn named(events: &[Value]) -> String {
    let event =
        |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default());
    events.iter().map(event).collect()
}

pub(crate) fn unnamed(events: &[Value]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect::<String>() + "data: [DONE]\n\n"
}

fn responses() -> Vec<Value> {
    let call = |index, id: &str, name: &str, arguments: &str| {
        json!({ "type": "response.output_item.done", "output_index": index, "item": {
            "type": "function_call", "id": "fc_1", "call_id": id, "name": name, "arguments": arguments } })
    };
    vec![
        json!({ "type": "response.created", "response": { "status": "in_progress", "output": [] } }),
        json!({ "type": "response.output_item.added", "output_index": 0, "item": { "type": "reasoning" } }),
        json!({ "type": "response.output_item.done", "output_index": 0, "item":
            { "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA=" } }),
        json!({ "type": "response.output_text.delta", "output_index": 1, "delta": "Größe 🦀" }),
        json!({ "type": "response.output_text.delta", "output_index": 1, "delta": " prüfen" }),
        json!({ "type": "response.output_item.done", "output_index": 1, "item": { "type": "message", "content":
            [{ "type": "output_text", "text": "Größe 🦀" }, { "type": "output_text", "text": " prüfen" }] } }),
        json!({ "type": "response.of_a_later_time", "output_index": 9, "item": { "type": "surprise" } }),
        json!({ "type": "response.function_call_arguments.delta", "output_index": 2, "delta": "{}" }),
        call(2, "call_a", "look", "{}"),
        call(3, "call_b", "shell", "{\"command\": \"printf 'ü\\n'\"}"),
        json!({ "type": "response.completed", "response": { "status": "completed", "incomplete_details": null,
            "usage": { "input_tokens": 120, "input_tokens_details": { "cached_tokens": 100 }, "output_tokens": 45,
                "output_tokens_details": { "reasoning_tokens": 30 } } } }),
    ]
}

fn chat() -> String {
    let chunk = |delta: Value| json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }], "usage": null });
    let call = |call: Value| chunk(json!({ "tool_calls": [call] }));
    let start = "\u{feff}: a comment\r\n\r\n";
    start.to_owned()
        + &unnamed(&[
            chunk(json!({ "role": "assistant", "content": null, "tool_calls": null })),
            chunk(json!({ "reasoning_content": "Hm…" })),
            chunk(json!({ "reasoning_content": " look.", "content": "" })),
            chunk(json!({ "content": "Größe 🦀" })),
            chunk(json!({ "content": " prüfen" })),
            call(json!({ "index": 0, "id": "call_a", "type": "function", "function": { "name": "look", "arguments": "" } })),
            call(json!({ "index": 1, "id": "call_b", "type": "function", "function": { "name": "shell" } })),
            call(json!({ "index": 1, "function": { "arguments": "{\"command\":" } })),
            call(json!({ "index": 0, "function": { "arguments": "{}" } })),
            call(json!({ "index": 1, "function": { "arguments": " \"printf 'ü\\n'\"}" } })),
            json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "tool_calls" }] }),
            json!({ "choices": [], "usage": { "prompt_tokens": 120, "completion_tokens": 45,
                "prompt_tokens_details": { "cached_tokens": 100 } } }),
        ])
        .replace("\n\n", "\r\n\r\n")
}

fn anthropic() -> Vec<Value> {
    let delta =
        |index, delta: Value| json!({ "type": "content_block_delta", "index": index, "delta": delta });
    let begin = |index, block: Value| json!({ "type": "content_block_start", "index": index, "content_block": block });
    let json = |text: &str| json!({ "type": "input_json_delta", "partial_json": text });
    vec![
        json!({ "type": "message_start", "message": { "role": "assistant", "content": [], "usage": {
            "input_tokens": 10, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 90, "output_tokens": 1 } } }),
        json!({ "type": "ping" }),
        begin(0, json!({ "type": "thinking", "thinking": "", "signature": "" })),
        delta(0, json!({ "type": "thinking_delta", "thinking": "Hm… " })),
        delta(0, json!({ "type": "thinking_delta", "thinking": "look." })),
        delta(0, json!({ "type": "signature_delta", "signature": "c2ln" })),
        json!({ "type": "content_block_stop", "index": 0 }),
        begin(1, json!({ "type": "text", "text": "" })),
        delta(1, json!({ "type": "text_delta", "text": "Größe 🦀" })),
        delta(1, json!({ "type": "delta_of_a_later_time", "text": "x" })),
        delta(1, json!({ "type": "text_delta", "text": " prüfen" })),
        json!({ "type": "content_block_stop", "index": 1 }),
        json!({ "type": "event_of_a_later_time" }),
        begin(2, json!({ "type": "tool_use", "id": "call_a", "name": "look", "input": {} })),
        json!({ "type": "content_block_stop", "index": 2 }),
        begin(3, json!({ "type": "tool_use", "id": "call_b", "name": "shell", "input": {} })),
        delta(3, json("")),
        delta(3, json("{\"command\": \"prin")),
        delta(3, json("tf 'ü\\n'\"}")),
        json!({ "type": "content_block_stop", "index": 3 }),
        begin(4, json!({ "type": "block_of_a_later_time" })),
        json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use", "stop_sequence": null },
            "usage": { "output_tokens": 45 } }),
        json!({ "type": "message_stop" }),
    ]
}
