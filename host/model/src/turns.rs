//! A conversation as providers want it: turns that alternate, and the results
//! of a turn's tool calls before anything else that is said.

use serde_json::{Value, json};
use sortie_core::conversation::{Item, Message};

/// What one side says at a stretch.
#[derive(Debug, PartialEq)]
pub(crate) enum Turn<'a> {
    /// The model.
    Assistant(Vec<&'a Item>),
    /// Everything that the model is told.
    User {
        /// Results of tool calls.
        results: Vec<ToolResult<'a>>,
        /// Texts that are not blank.
        texts: Vec<&'a str>,
    },
}

/// The result of one tool call.
#[derive(Debug, PartialEq)]
pub(crate) struct ToolResult<'a> {
    pub(crate) call_id: &'a str,
    pub(crate) content: &'a str,
    pub(crate) failed: bool,
}

/// Puts messages together to turns. Empty messages, and blank texts, are left
/// out: providers refuse them.
pub(crate) fn turns(messages: &[Message]) -> Vec<Turn<'_>> {
    let mut turns = Vec::new();
    for message in messages {
        match message {
            Message::Assistant { items } => push_assistant(&mut turns, items),
            Message::User { text } if text.trim().is_empty() => {}
            Message::User { text } => user(&mut turns).1.push(text),
            Message::ToolResult { call_id, content, failed } => {
                user(&mut turns).0.push(ToolResult { call_id, content, failed: *failed });
            }
        }
    }
    turns
}

fn push_assistant<'a>(turns: &mut Vec<Turn<'a>>, items: &'a [Item]) {
    let is_blank = |item: &Item| matches!(item, Item::Text { text } if text.trim().is_empty());
    let items = items.iter().filter(|item| !is_blank(item));
    match turns.last_mut() {
        Some(Turn::Assistant(said)) => said.extend(items),
        _ => {
            let items: Vec<_> = items.collect();
            if !items.is_empty() {
                turns.push(Turn::Assistant(items));
            }
        }
    }
}

type UserTurn<'t, 'a> = (&'t mut Vec<ToolResult<'a>>, &'t mut Vec<&'a str>);

fn user<'t, 'a>(turns: &'t mut Vec<Turn<'a>>) -> UserTurn<'t, 'a> {
    if !matches!(turns.last(), Some(Turn::User { .. })) {
        turns.push(Turn::User { results: Vec::new(), texts: Vec::new() });
    }
    match turns.last_mut() {
        Some(Turn::User { results, texts }) => (results, texts),
        _ => unreachable!("the last turn is the user's by now"),
    }
}

/// Arguments of a tool call as an object. A model that wrote something else
/// sees it again under `malformed_arguments`; sent as it was, servers would
/// refuse the whole conversation from then on.
pub(crate) fn arguments_object(arguments: &str) -> Value {
    if arguments.trim().is_empty() {
        return json!({});
    }
    match serde_json::from_str(arguments) {
        Ok(Value::Object(object)) => Value::Object(object),
        _ => json!({ "malformed_arguments": arguments }),
    }
}

/// The same as text: as the model wrote it, if it wrote an object.
pub(crate) fn arguments_text(arguments: &str) -> String {
    match serde_json::from_str(arguments) {
        Ok(Value::Object(_)) => arguments.to_owned(),
        _ => arguments_object(arguments).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_before_what_was_said_between_them() {
        let result = |id: &str| Message::ToolResult { call_id: id.into(), content: id.into(), failed: false };
        let call = Message::Assistant { items: vec![Item::Text { text: "go".into() }] };
        let messages = [call, result("a"), Message::User { text: "hurry".into() }, result("b")];
        let [Turn::Assistant(_), Turn::User { results, texts }] = &turns(&messages)[..] else {
            panic!("two turns");
        };
        assert_eq!(results.iter().map(|result| result.call_id).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(texts, &["hurry"]);
    }

    #[test]
    fn an_empty_reply_leaves_no_turn() {
        let blank = Message::Assistant { items: vec![Item::Text { text: " \n".into() }] };
        let user = |text: &str| Message::User { text: text.into() };
        let messages = [user("a"), Message::Assistant { items: vec![] }, blank, user(" "), user("b")];
        assert_eq!(turns(&messages), [Turn::User { results: vec![], texts: vec!["a", "b"] }]);
    }

    #[test]
    fn malformed_arguments_are_shown_again_within_an_object() {
        assert_eq!(arguments_object("{\"a\":"), json!({"malformed_arguments": "{\"a\":"}));
        assert_eq!(arguments_object("[1]"), json!({"malformed_arguments": "[1]"}));
        assert_eq!(arguments_object(" "), json!({}));
        assert_eq!(arguments_text("{\"b\": 1,  \"a\": 2}"), "{\"b\": 1,  \"a\": 2}");
        assert_eq!(arguments_text("oops"), "{\"malformed_arguments\":\"oops\"}");
    }
}
