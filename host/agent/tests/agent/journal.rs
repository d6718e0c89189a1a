//! What is in the journal, and when.

use std::sync::atomic::Ordering;

use serde_json::json;
use sortie_agent::AgentError;
use sortie_core::Outcome;
use sortie_core::conversation::{Item, Message, Reply, StopReason};
use sortie_core::event::Event;

use crate::world::{Says, Step, World, call, calls, finish, reply, says};

/// Work with a bit of everything in it.
fn eventful() -> Vec<Says> {
    let mut cut = reply(vec![Item::Text { text: "and so".into() }]);
    cut.stop = StopReason::Length;
    let ids: Vec<_> = (0..66).map(|at| at.to_string()).collect();
    let many: Vec<_> = ids.iter().map(|id| (id.as_str(), "echo", json!({ "text": id }))).collect();
    let circles: Vec<_> = (0..5).map(|_| ("f", "fails", json!({}))).collect();
    vec![
        calls(&[("a", "echo", json!({ "text": "x" })), ("b", "no_such_tool", json!({}))]),
        says(""),
        Says::Reply(cut),
        calls(&many),
        call("c", "finish", json!({ "outcome": "splendid" })),
        calls(&circles),
        call("d", "echo", json!({ "text": "y".repeat(50_000) })),
        finish("done"),
    ]
}

#[tokio::test]
async fn every_effect_has_its_intent_on_the_disk() {
    let world = World::new(eventful());
    assert_eq!(world.work().await.outcome, Outcome::Done);
    let (mut durable, mut pending) = (Vec::new(), Vec::new());
    for step in world.log.steps() {
        match step {
            Step::Event(event) => pending.push(*event),
            Step::Committed => durable.append(&mut pending),
            Step::Asked => {
                let last = durable.last();
                assert!(matches!(last, Some(Event::ModelRequested { .. })), "{last:?}");
                assert!(pending.is_empty(), "{pending:?}");
            }
            Step::Acted(id) => {
                let intent =
                    |event: &Event| matches!(event, Event::ToolStarted { call_id, .. } if *call_id == id);
                assert!(durable.iter().any(intent), "{id} acted before its intent was durable");
                assert!(pending.is_empty(), "{pending:?}");
            }
        }
    }
    assert!(pending.is_empty(), "the end is not durable: {pending:?}");
}

#[tokio::test]
async fn a_disk_that_takes_no_intent_stops_the_effect() {
    let world = World::new([finish("done")]);
    world.journal.full.store(true, Ordering::Relaxed);
    assert!(matches!(world.try_work().await, Err(AgentError::Journal(_))));
    assert!(world.asked().is_empty());
}

/// The messages that follow from the events.
fn rebuilt(events: &[Event]) -> Vec<Message> {
    let mut messages = Vec::new();
    for event in events {
        match event.clone() {
            Event::ConversationStarted { message, .. } => messages.push(Message::User { text: message }),
            Event::ConversationTold { text } => messages.push(Message::User { text }),
            // one without anything in it is not sent again
            Event::ModelReplied { reply: Reply { items, .. }, .. }
                if items.iter().any(|item| !matches!(item, Item::Text { text } if text.is_empty())) =>
            {
                messages.push(Message::Assistant { items });
            }
            Event::ToolEnded { call_id, content, failed, .. } => {
                messages.push(Message::ToolResult { call_id, content, failed });
            }
            _ => {}
        }
    }
    messages
}

#[tokio::test]
async fn the_conversation_can_be_built_again_from_the_events() {
    let world = World::new(eventful());
    world.work().await;
    let events = world.log.events();
    let last = events.iter().rposition(|event| matches!(event, Event::ModelRequested { .. }));
    let events = &events[..last.expect("the model was asked")];
    let sent = world.asked().pop().expect("the model was asked");
    assert_eq!(rebuilt(events), sent.messages);
    assert!(matches!(&events[0], Event::ConversationStarted { system, .. } if *system == sent.system));
}
