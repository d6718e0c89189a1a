//! Scripts.

use std::io::Write;

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use sortie_core::conversation::{Conversation, Item, Message, StopReason};
use sortie_core::outcome::Usage;
use sortie_model::{Environment, Options};
use sortie_policy::ports::ModelError;
use tempfile::NamedTempFile;

use crate::world::{World, opening};

/// The file lives as long as the world.
fn script(text: &str) -> (World, NamedTempFile) {
    let mut file = NamedTempFile::new().expect("there is room");
    file.write_all(text.as_bytes()).expect("there is room");
    let spec = format!("scripted:{}", file.path().display());
    (World::new(&spec, &Environment::default(), Options::default()), file)
}

fn replies(replies: &Value) -> (World, NamedTempFile) {
    script(&json!({ "replies": replies }).to_string())
}

fn told(conversation: &mut Conversation, items: Vec<Item>, result: &str) {
    let result = Message::ToolResult { call_id: "call_1".into(), content: result.into(), failed: false };
    conversation.messages.extend([Message::Assistant { items }, result]);
}

#[tokio::test]
async fn each_request_takes_the_next_reply() {
    let (world, _file) = replies(&json!([
        { "text": "Looking.", "tool_calls": [
            { "name": "shell", "arguments": { "command": "ls" } },
            { "name": "shell", "arguments": "{\"command\": \"ls" },
            { "name": "look", "id": "mine" },
        ] },
        { "expect": ["a.rs", "b"], "expect_regex": "a\\.(rs|py)", "expect_not": "secret", "tool_calls": [{ "name": "look" }],
          "usage": { "input_tokens": 3, "output_tokens": 4 }, "stop": "length", "delay_ms": 1 },
    ]));
    assert_eq!((world.model.provider(), world.model.endpoint()), ("scripted", "none"));
    let mut conversation = opening();
    let first = world.ask(conversation.clone()).await.expect("replies");
    let call = |id: &str, name: &str, arguments: &str| Item::ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
    };
    let expected = [
        Item::Text { text: "Looking.".into() },
        call("call_1", "shell", "{\"command\":\"ls\"}"),
        call("call_2", "shell", "{\"command\": \"ls"),
        call("mine", "look", "{}"),
    ];
    assert_eq!(first.items, expected);
    assert!(first.usage.input_tokens > 0 && first.usage.output_tokens > 0);
    assert_eq!(world.watcher.text(), "Looking.");

    told(&mut conversation, first.items, "a.rs b.rs");
    let second = world.ask(conversation).await.expect("replies");
    assert_eq!(second.items, [call("call_4", "look", "{}")]);
    assert_eq!(second.stop, StopReason::Length);
    assert_eq!(second.usage, Usage { input_tokens: 3, output_tokens: 4, ..Usage::default() });
}

#[tokio::test]
async fn an_unmet_expectation_shows_both_sides() {
    for (expectation, what) in [
        (json!({ "expect": "1 failed" }), "expected `1 failed`"),
        (json!({ "expect_regex": "\\d+ failed" }), "expected a match of /\\d+ failed/"),
        (json!({ "expect_not": ["2 passed"] }), "did not expect `2 passed`"),
        // what was said before the last reply is not looked at
        (json!({ "expect": "Mend it." }), "expected `Mend it.`"),
    ] {
        let (world, _file) = replies(&json!([{}, expectation]));
        let mut conversation = opening();
        let first = world.ask(conversation.clone()).await.expect("replies");
        told(&mut conversation, first.items, "2 passed");
        let Err(ModelError::Rejected { message, .. }) = world.ask(conversation).await else {
            panic!("is rejected")
        };
        assert!(
            message.contains(what) && message.ends_with("what the model was told: 2 passed"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_request_after_the_last_reply_says_so() {
    let (world, _file) = script("{\"text\":\"a\"}\n");
    world.ask(opening()).await.expect("replies");
    let error = world.ask(opening()).await.expect_err("is over");
    assert!(
        matches!(&error, ModelError::Protocol { message, .. } if message.contains("has 1 replies")),
        "{error}"
    );
}

#[tokio::test]
async fn a_task_taken_up_again_goes_on_where_its_conversation_stands() {
    let (world, _file) = replies(&json!([{ "text": "a" }, { "text": "b" }, { "text": "c" }]));
    let mut conversation = opening();
    told(&mut conversation, vec![Item::Text { text: "a".into() }], "so");
    assert_eq!(world.ask(conversation).await.expect("replies").text(), "b");
    // a conversation that was shortened does not go back
    assert_eq!(world.ask(opening()).await.expect("replies").text(), "c");
}

#[tokio::test]
async fn a_request_that_is_dropped_takes_no_reply() {
    let (world, _file) = replies(&json!([{ "text": "a", "delay_ms": 20 }]));
    let permit = world.permit(opening()).await;
    // polled once, and not for a time: the reply's own may be over by the end of any
    let dropped = world.model.respond(permit, &world.watcher).now_or_never();
    assert!(dropped.is_none());
    assert_eq!(world.ask(opening()).await.expect("replies").text(), "a");
}

#[tokio::test]
async fn a_permit_for_anything_else_takes_no_reply() {
    let (world, _file) = replies(&json!([{ "text": "a" }]));
    let request = sortie_core::action::ModelRequest {
        provider: "scripted".into(),
        model: "x".into(),
        endpoint: "https://example.org".into(),
        max_output_tokens: 1,
        conversation: std::sync::Arc::new(opening()),
    };
    let elsewhere = world.gate.permit(&sortie_core::Actor::Agent, request).await.expect("is allowed");
    let error = world.model.respond(elsewhere, &world.watcher).await.expect_err("is refused");
    assert!(matches!(error, ModelError::Permit(_)), "{error}");

    let (other, _other_file) = replies(&json!([]));
    let error =
        world.model.respond(other.permit(opening()).await, &world.watcher).await.expect_err("is refused");
    assert!(matches!(error, ModelError::Permit(_)), "{error}");
    assert_eq!(world.ask(opening()).await.expect("replies").text(), "a");
}

#[test]
fn the_example_of_the_documentation_is_a_script() {
    let document = include_str!("../../../../docs/scripted.md");
    let example = document.split("```").find_map(|part| part.strip_prefix("json\n")).expect("has an example");
    script(example);
}
