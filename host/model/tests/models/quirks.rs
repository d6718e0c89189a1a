//! Liberties that servers take with the APIs.

use serde_json::{Value, json};
use sortie_core::conversation::{Item, Message, Reply, StopReason};

use crate::server::{Response, Server};
use crate::transcripts::{calling, saying, unnamed};
use crate::world::{World, opening, options};

async fn chat_stream(stream: String) -> Reply {
    let server = Server::with([Response::stream(stream)]).await;
    World::at(&server, "openai-chat").ask(opening()).await.expect("replies")
}

async fn chat(deltas: &[Value]) -> Reply {
    let chunks: Vec<_> = deltas.iter().map(|delta| json!({ "choices": [{ "delta": delta }] })).collect();
    chat_stream(unnamed(&chunks)).await
}

/// Names and arguments of the calls, whose ids must differ.
fn calls(reply: &Reply) -> Vec<(&str, &str)> {
    let mut ids = std::collections::BTreeSet::new();
    let calls = reply.items.iter().filter_map(|item| match item {
        Item::ToolCall { id, name, arguments } => {
            assert!(!id.is_empty() && ids.insert(id), "{id} is empty or there twice");
            Some((name.as_str(), arguments.as_str()))
        }
        _ => None,
    });
    calls.collect()
}

const TWO: [(&str, &str); 2] = [("look", "{\"a\":1}"), ("shell", "{\"b\":2}")];

#[tokio::test]
async fn whole_calls_that_share_an_index_differ_by_their_ids() {
    let call = |id: &str, (name, arguments): (&str, &str)| json!({ "tool_calls": [{ "index": 0, "id": id, "function": { "name": name, "arguments": arguments } }] });
    assert_eq!(calls(&chat(&[call("a", TWO[0]), call("b", TWO[1])]).await), TWO);
}

#[tokio::test]
async fn calls_without_index_or_id_begin_with_a_name() {
    let begin = |name: &str| json!({ "tool_calls": [{ "function": { "name": name, "arguments": "" } }] });
    let piece = |text: &str| json!({ "tool_calls": [{ "function": { "arguments": text } }] });
    let deltas = [begin("look"), piece("{\"a\":"), piece("1}"), begin("shell"), piece("{\"b\":2}")];
    assert_eq!(calls(&chat(&deltas).await), TWO);
}

#[tokio::test]
async fn an_id_may_come_late_or_every_time_and_a_name_too() {
    let late = [
        json!({ "tool_calls": [{ "index": 0, "id": null, "function": { "name": "look", "arguments": "{\"a\"" } }] }),
        json!({ "tool_calls": [{ "index": 0, "id": "late", "function": { "name": "look", "arguments": ":1}" } }] }),
    ];
    let reply = chat(&late).await;
    assert_eq!(calls(&reply), TWO[..1]);
    assert!(matches!(&reply.items[0], Item::ToolCall { id, .. } if id == "late"));
}

#[tokio::test]
async fn arguments_may_come_as_an_object_and_content_in_parts() {
    let delta = json!({
        "content": [{ "type": "text", "text": "So " }, { "type": "text", "text": "be it." }],
        "tool_calls": [{ "index": 0, "id": "a", "function": { "name": "look", "arguments": { "a": 1 } } }],
    });
    let reply = chat(&[delta]).await;
    assert_eq!(calls(&reply), TWO[..1]);
    assert_eq!(reply.text(), "So be it.");
}

#[tokio::test]
async fn an_id_that_was_used_before_is_replaced() {
    let server = Server::with([Response::stream(calling("openai-chat", "look", "{}"))]).await;
    let mut conversation = opening();
    let used = Item::ToolCall { id: "call_1".into(), name: "look".into(), arguments: "{}".into() };
    let result = Message::ToolResult { call_id: "call_1".into(), content: "a".into(), failed: false };
    conversation.messages.extend([Message::Assistant { items: vec![used] }, result]);
    let reply = World::at(&server, "openai-chat").ask(conversation).await.expect("replies");
    assert!(matches!(&reply.items[..], [Item::ToolCall { id, .. }] if id != "call_1" && !id.is_empty()));
}

#[tokio::test]
async fn a_finish_reason_or_the_end_mark_makes_a_reply_whole() {
    let chunk = |choice: Value| format!("data: {}\n\n", json!({ "choices": [choice] }));
    let marked = chunk(json!({ "delta": { "content": "a" } })) + "data: [DONE]";
    assert_eq!(chat_stream(marked).await.text(), "a");
    let finished = chunk(json!({ "delta": { "content": "a" }, "finish_reason": "length" }));
    assert_eq!(chat_stream(finished).await.stop, StopReason::Length);
}

#[tokio::test]
async fn a_refusal_is_told_from_a_reply() {
    let refusal = chat(&[json!({ "refusal": "I will " }), json!({ "refusal": "not." })]).await;
    assert_eq!((refusal.stop, refusal.text().as_str()), (StopReason::Declined, "I will not."));
    for (provider, stream) in [
        (
            "openai",
            concat!(
                r#"data: {"type":"response.output_item.done","item":{"type":"message","content":[{"type":"refusal","refusal":"I will not."}]}}"#,
                "\n\n",
                r#"data: {"type":"response.completed","response":{}}"#,
                "\n\n"
            ),
        ),
        (
            "anthropic",
            concat!(
                r#"data: {"type":"message_delta","delta":{"stop_reason":"refusal","stop_details":{"explanation":"I will not."}}}"#,
                "\n\n",
                r#"data: {"type":"message_stop"}"#,
                "\n\n"
            ),
        ),
    ] {
        let server = Server::with([Response::stream(stream)]).await;
        let reply = World::at(&server, provider).ask(opening()).await.expect("replies");
        assert_eq!((reply.stop, reply.text().as_str()), (StopReason::Declined, "I will not."), "{provider}");
    }
}

#[tokio::test]
async fn a_reply_that_reached_its_length_says_so() {
    for (provider, stream) in [
        (
            "openai",
            r#"data: {"type":"response.incomplete","response":{"incomplete_details":{"reason":"max_output_tokens"}}}"#,
        ),
        ("openai-chat", r#"data: {"choices":[{"delta":{},"finish_reason":"length"}]}"#),
        (
            "anthropic",
            concat!(
                r#"data: {"type":"message_delta","delta":{"stop_reason":"max_tokens"}}"#,
                "\n\n",
                r#"data: {"type":"message_stop"}"#
            ),
        ),
    ] {
        let server = Server::with([Response::stream(stream)]).await;
        let reply = World::at(&server, provider).ask(opening()).await.expect("replies");
        assert_eq!(reply.stop, StopReason::Length, "{provider}");
    }
}

#[tokio::test]
async fn a_server_that_only_gives_the_whole_response_is_understood() {
    let response = json!({ "type": "response.completed", "response": { "output": [
        { "type": "message", "phase": "commentary", "content": [{ "type": "output_text", "text": "So." }] },
        { "type": "function_call", "call_id": "c", "name": "look", "arguments": "{\"a\":1}" },
    ] } });
    let server = Server::with([
        Response::stream(format!("data: {response}\n\n")),
        Response::stream(saying("openai", ".")),
    ])
    .await;
    let world = World::at(&server, "openai");
    let reply = world.ask(opening()).await.expect("replies");
    assert_eq!((reply.text().as_str(), calls(&reply)), ("So.", TWO[..1].to_vec()));

    let mut conversation = opening();
    conversation.messages.push(Message::Assistant { items: reply.items });
    world.ask(conversation).await.expect("replies");
    let said = json!({ "role": "assistant", "content": "So.", "phase": "commentary" });
    assert_eq!(server.requests()[1].body["input"][1], said, "the phase of a message is told again");
}

#[tokio::test]
async fn reasoning_that_cannot_be_sent_back_is_left_out() {
    let reasoning = |provider: &str, data: Value| Item::Reasoning { provider: provider.into(), data };
    let text = || Item::Text { text: "So.".into() };
    for (provider, key, items, expected) in [
        // a reference to what was not stored; and reasoning that nothing follows
        (
            "openai",
            "input",
            vec![reasoning("openai", json!({ "type": "reasoning", "id": "rs" })), text()],
            "So.",
        ),
        (
            "openai",
            "input",
            vec![text(), reasoning("openai", json!({ "type": "reasoning", "encrypted_content": "x" }))],
            "So.",
        ),
        // not signed; and at the end
        (
            "anthropic",
            "messages",
            vec![reasoning("anthropic", json!({ "type": "thinking", "thinking": "x" })), text()],
            "So.",
        ),
        (
            "anthropic",
            "messages",
            vec![
                text(),
                reasoning("anthropic", json!({ "type": "thinking", "thinking": "x", "signature": "s" })),
            ],
            "So.",
        ),
    ] {
        let server = Server::with([Response::stream(saying(provider, "."))]).await;
        let mut conversation = opening();
        conversation.messages.extend([Message::Assistant { items }, Message::User { text: "Go on.".into() }]);
        World::at(&server, provider).ask(conversation).await.expect("replies");
        let said = server.requests()[0].body[key].to_string();
        assert!(
            said.contains(expected) && !said.contains("reasoning") && !said.contains("thinking"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn what_a_server_refuses_by_name_is_written_otherwise_once() {
    let no = |message: &str| Response::status(400, &json!({ "error": { "message": message } }).to_string());
    let done = |provider| Response::stream(saying(provider, "Done."));

    let server = Server::with([
        no("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."),
        no("Extra inputs are not permitted: stream_options"),
        done("openai-chat"),
        done("openai-chat"),
    ])
    .await;
    let world = World::at_with(&server, "openai-chat", options());
    for _ in 0..2 {
        world.ask(opening()).await.expect("replies");
    }
    let last = &server.requests()[3].body;
    assert_eq!(
        (&last["max_completion_tokens"], last.get("max_tokens"), last.get("stream_options")),
        (&json!(1000), None, None)
    );

    let server =
        Server::with([no("Encrypted content is not supported with this model."), done("openai")]).await;
    World::at(&server, "openai").ask(opening()).await.expect("replies");
    assert_eq!(server.requests()[1].body.get("include"), None);

    let server = Server::answering(move |number, _| match number {
        0..8 => no("unsupported: max_tokens, max_completion_tokens"),
        _ => Response::status(418, "enough"),
    })
    .await;
    World::at(&server, "openai-chat").ask(opening()).await.expect_err("is refused in the end");
    assert_eq!(server.requests().len(), 2);

    let server = Server::answering(move |_, _| no("max_tokens is too large: 1000")).await;
    World::at(&server, "openai-chat").ask(opening()).await.expect_err("is refused");
    assert_eq!(server.requests().len(), 1, "a bound that is too high is too high under any name");
}
