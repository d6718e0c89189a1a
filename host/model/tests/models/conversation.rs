//! Whole conversations with tools, and the exact requests that they make.

use serde_json::{Value, json};
use sortie_core::conversation::{Conversation, Item, Message, StopReason};
use sortie_core::outcome::Usage;
use sortie_model::{Options, ReasoningEffort};

use crate::server::{Response, Server};
use crate::transcripts::{PROVIDERS, saying, worked, working};
use crate::world::{KEY, World, opening, options};

/// The conversation after the calls of [`worked`] were answered.
fn answered(provider: &str) -> Conversation {
    let mut conversation = opening();
    let result = |id: &str, content: &str, failed| Message::ToolResult {
        call_id: id.into(),
        content: content.into(),
        failed,
    };
    conversation.messages.extend([
        Message::Assistant { items: worked(provider).items },
        result("call_a", "a.rs", false),
        result("call_b", "no such command", true),
        Message::User { text: "Hurry.".into() },
    ]);
    conversation
}

#[tokio::test]
async fn a_conversation_with_tools_runs_to_its_end() {
    for provider in PROVIDERS {
        let server =
            Server::with([Response::stream(working(provider)), Response::stream(saying(provider, "Done."))])
                .await;
        let world = World::at(&server, provider);
        let first = world.ask(opening()).await.expect("replies");
        assert_eq!(first, worked(provider), "{provider}");
        let last = world.ask(answered(provider)).await.expect("replies");
        assert_eq!(last.items, [Item::Text { text: "Done.".into() }], "{provider}");
        assert_eq!(last.stop, StopReason::Ended);
        assert_eq!(last.usage, Usage { input_tokens: 7, output_tokens: 3, ..Usage::default() }, "{provider}");
        assert_eq!(world.watcher.text(), "Größe 🦀 prüfenDone.");
        assert_eq!(world.watcher.retries(), []);
    }
}

/// The bodies of the first and of the second request.
async fn requests(provider: &str, options: Options) -> (Value, Value, Vec<crate::server::Request>) {
    let server = Server::answering({
        let provider = provider.to_owned();
        move |_, _| Response::stream(saying(&provider, "Done."))
    })
    .await;
    let world = World::at_with(&server, provider, options);
    world.ask(opening()).await.expect("replies");
    world.ask(answered(provider)).await.expect("replies");
    let requests = server.requests();
    (requests[0].body.clone(), requests[1].body.clone(), requests)
}

#[tokio::test]
async fn responses_requests_have_the_form_of_their_api() {
    let options = Options { reasoning_effort: Some(ReasoningEffort::High), ..options() };
    let (first, second, requests) = requests("openai", options).await;
    assert!(requests[0].head.starts_with("POST /v1/responses HTTP/1.1"));
    assert_eq!(requests[0].header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    let expected = json!({
        "model": "test-model",
        "instructions": "You mend programs.",
        "input": [{ "role": "user", "content": "Mend it." }],
        "tools": [
            { "type": "function", "name": "look", "description": "Looks.", "parameters": { "type": "object" }, "strict": false },
            { "type": "function", "name": "shell", "description": "Runs.", "strict": false,
              "parameters": { "type": "object", "properties": { "command": { "type": "string" } } } },
        ],
        "max_output_tokens": 1000,
        "include": ["reasoning.encrypted_content"],
        "reasoning": { "effort": "high" },
        "store": false,
        "stream": true,
    });
    assert_eq!(first, expected);
    let input = json!([
        { "role": "user", "content": "Mend it." },
        { "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA=" },
        { "role": "assistant", "content": "Größe 🦀 prüfen" },
        { "type": "function_call", "call_id": "call_a", "name": "look", "arguments": "{}" },
        { "type": "function_call", "call_id": "call_b", "name": "shell", "arguments": "{\"command\": \"printf 'ü\\n'\"}" },
        { "type": "function_call_output", "call_id": "call_a", "output": "a.rs" },
        { "type": "function_call_output", "call_id": "call_b", "output": "no such command" },
        { "role": "user", "content": "Hurry." },
    ]);
    assert_eq!(second["input"], input);
}

#[tokio::test]
async fn chat_requests_have_the_form_of_their_api() {
    let options = Options { reasoning_effort: Some(ReasoningEffort::Low), ..options() };
    let (first, second, requests) = requests("openai-chat", options).await;
    assert!(requests[0].head.starts_with("POST /v1/chat/completions HTTP/1.1"));
    assert_eq!(requests[0].header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    let shell = json!({ "name": "shell", "description": "Runs.",
        "parameters": { "type": "object", "properties": { "command": { "type": "string" } } } });
    let expected = json!({
        "model": "test-model",
        "messages": [
            { "role": "system", "content": "You mend programs." },
            { "role": "user", "content": "Mend it." },
        ],
        "tools": [
            { "type": "function", "function": { "name": "look", "description": "Looks.", "parameters": { "type": "object" } } },
            { "type": "function", "function": shell },
        ],
        "max_tokens": 1000,
        "reasoning_effort": "low",
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    assert_eq!(first, expected);
    let messages = json!([
        { "role": "system", "content": "You mend programs." },
        { "role": "user", "content": "Mend it." },
        { "role": "assistant", "content": "Größe 🦀 prüfen", "reasoning_content": "Hm… look.", "tool_calls": [
            { "id": "call_a", "type": "function", "function": { "name": "look", "arguments": "{}" } },
            { "id": "call_b", "type": "function",
              "function": { "name": "shell", "arguments": "{\"command\": \"printf 'ü\\n'\"}" } },
        ] },
        { "role": "tool", "tool_call_id": "call_a", "content": "a.rs" },
        { "role": "tool", "tool_call_id": "call_b", "content": "no such command" },
        { "role": "user", "content": "Hurry." },
    ]);
    assert_eq!(second["messages"], messages);
}

#[tokio::test]
async fn anthropic_requests_have_the_form_of_their_api() {
    let options = Options { reasoning_effort: Some(ReasoningEffort::Minimal), ..options() };
    let (first, second, requests) = requests("anthropic", options).await;
    assert!(requests[0].head.starts_with("POST /v1/messages HTTP/1.1"));
    assert_eq!(requests[0].header("x-api-key"), Some(KEY));
    assert_eq!(requests[0].header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(requests[0].header("authorization"), None);
    let mark = json!({ "type": "ephemeral" });
    let expected = json!({
        "model": "test-model",
        "max_tokens": 1000,
        "system": [{ "type": "text", "text": "You mend programs.", "cache_control": mark }],
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": "Mend it.", "cache_control": mark }] }],
        "tools": [
            { "name": "look", "description": "Looks.", "input_schema": { "type": "object" } },
            { "name": "shell", "description": "Runs.", "cache_control": mark,
              "input_schema": { "type": "object", "properties": { "command": { "type": "string" } } } },
        ],
        "thinking": { "type": "adaptive" },
        "output_config": { "effort": "low" },
        "stream": true,
    });
    assert_eq!(first, expected);
    let messages = json!([
        { "role": "user", "content": [{ "type": "text", "text": "Mend it.", "cache_control": mark }] },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "Hm… look.", "signature": "c2ln" },
            { "type": "text", "text": "Größe 🦀 prüfen" },
            { "type": "tool_use", "id": "call_a", "name": "look", "input": {} },
            { "type": "tool_use", "id": "call_b", "name": "shell", "input": { "command": "printf 'ü\n'" } },
        ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "call_a", "content": "a.rs" },
            { "type": "tool_result", "tool_use_id": "call_b", "content": "no such command", "is_error": true },
            { "type": "text", "text": "Hurry.", "cache_control": mark },
        ] },
    ]);
    assert_eq!(second["messages"], messages);
}

#[tokio::test]
async fn reasoning_goes_back_to_nobody_but_its_own_adapter() {
    for provider in PROVIDERS {
        let server = Server::with([Response::stream(saying(provider, "Done."))]).await;
        let mut conversation = opening();
        let foreign = |provider: &&&str| Item::Reasoning {
            provider: (**provider).to_string(),
            data: json!({ "type": "reasoning", "encrypted_content": "FOREIGN", "signature": "FOREIGN",
                "reasoning_content": "FOREIGN" }),
        };
        let mut items: Vec<_> = PROVIDERS
            .iter()
            .filter(|other| **other != provider)
            .collect::<Vec<_>>()
            .iter()
            .map(foreign)
            .collect();
        items.push(Item::Text { text: "Said.".into() });
        conversation.messages.push(Message::Assistant { items });
        conversation.messages.push(Message::User { text: "And?".into() });
        World::at(&server, provider).ask(conversation).await.expect("replies");
        let body = server.requests()[0].body.to_string();
        assert!(!body.contains("FOREIGN") && body.contains("Said."), "{provider}: {body}");
    }
}

#[tokio::test]
async fn one_connection_serves_all_turns() {
    for provider in PROVIDERS {
        let server = Server::answering(move |_, _| Response::stream(saying(provider, "Done."))).await;
        let world = World::at(&server, provider);
        for _ in 0..5 {
            world.ask(opening()).await.expect("replies");
        }
        assert_eq!(server.connections(), 1, "{provider}");
    }
}
