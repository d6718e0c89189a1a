//! What is said between agent and model, in the terms of no provider.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::outcome::Usage;

/// A conversation as it is sent for the next reply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// The system prompt.
    pub system: String,
    /// What was said, in order.
    pub messages: Vec<Message>,
    /// The tools that the model may call.
    pub tools: Vec<ToolSpec>,
}

impl Conversation {
    /// About how many bytes of text it holds.
    pub fn bytes(&self) -> usize {
        let items = |items: &[Item]| items.iter().map(Item::bytes).sum::<usize>();
        self.system.len()
            + self
                .messages
                .iter()
                .map(|message| match message {
                    Message::User { text } => text.len(),
                    Message::Assistant { items: i } => items(i),
                    Message::ToolResult { content, .. } => content.len(),
                })
                .sum::<usize>()
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Message {
    /// The user, or the platform on the user's behalf.
    User {
        /// What is said.
        text: String,
    },
    /// The model.
    Assistant {
        /// What it said and asked for, in order.
        items: Vec<Item>,
    },
    /// The result of a tool call.
    ToolResult {
        /// Id of the call.
        call_id: String,
        /// What the model reads.
        content: String,
        /// Whether the call failed.
        failed: bool,
    },
}

/// One thing that a model's reply holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Item {
    /// Text for people.
    Text {
        /// The text.
        text: String,
    },
    /// Reasoning that the provider wants back as it was.
    Reasoning {
        /// The adapter that understands `data`; others leave it out.
        provider: String,
        /// The provider's own object.
        data: Value,
    },
    /// A tool call.
    ToolCall {
        /// The model's id of the call.
        id: String,
        /// The tool's name.
        name: String,
        /// The arguments as the model wrote them: JSON, if it wrote well.
        arguments: String,
    },
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Text { text } => text.len(),
            Self::Reasoning { data, .. } => data.to_string().len(),
            Self::ToolCall { name, arguments, .. } => name.len() + arguments.len(),
        }
    }
}

/// A tool, as the model is told of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON Schema of its arguments.
    pub input_schema: Value,
}

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model is done, or waits for tool results.
    Ended,
    /// The reply reached its length.
    Length,
    /// The provider or the model declined.
    Declined,
}

/// A whole reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// What the model said and asked for, in order.
    pub items: Vec<Item>,
    /// Why it ended.
    pub stop: StopReason,
    /// Tokens of this request and reply; `turns` and `tool_calls` are 0.
    pub usage: Usage,
}

impl Reply {
    /// The text of the reply, its pieces joined by line breaks.
    pub fn text(&self) -> String {
        let texts = self.items.iter().filter_map(|item| match item {
            Item::Text { text } => Some(text.as_str()),
            _ => None,
        });
        texts.collect::<Vec<_>>().join("\n")
    }
}
