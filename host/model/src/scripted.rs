//! `scripted:FILE`: a model whose replies stand in a file, for the demo, for
//! tests, and for replaying what a model once said.
//!
//! The file is JSON with the member `replies`, or JSON Lines with one reply a
//! line. Each request takes the next reply:
//!
//! ```json
//! {
//!   "replies": [
//!     { "text": "Looking.", "tool_calls": [{ "name": "shell", "arguments": { "command": "ls" } }] },
//!     { "expect": "README", "tool_calls": [{ "name": "finish", "arguments": { "outcome": "done" } }] }
//!   ]
//! }
//! ```
//!
//! | member of a reply | |
//! |---|---|
//! | `text` | what the model says |
//! | `tool_calls` | what it asks for: `name`, `arguments` (an object, or a text that is handed on as it is), and optionally `id` |
//! | `expect` | a text, or several, that must occur in what the model was told since its last reply |
//! | `expect_regex` | the same with regular expressions |
//! | `expect_not` | the same with texts that must not occur |
//! | `delay_ms` | how long the reply takes |
//! | `stop` | `ended` (the default), `length` or `declined` |
//! | `usage` | `input_tokens` and `output_tokens`; without it they are estimated at 4 bytes a token |
//!
//! An expectation that is not met is [`ModelError::Rejected`] and shows both
//! sides; a request after the last reply is [`ModelError::Protocol`]. A task
//! that is taken up again goes on where its conversation stands: the first
//! request skips as many replies as the conversation holds.

mod script;

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use sortie_core::action::ModelRequest;
use sortie_core::conversation::{Conversation, Item, Message, Reply};
use sortie_core::outcome::Usage;
use sortie_core::text::clip;
use sortie_policy::ports::{Model, ModelError, ReplyObserver};
use sortie_policy::{Permit, Seal};

use crate::spec::Provider;
use script::{Line, Script};

pub use script::ScriptError;

/// Longest piece of what was expected or told that an error shows, in bytes.
const LONGEST_SHOWN: usize = 600;

/// A model that reads from a script.
pub(crate) struct Scripted {
    file: String,
    script: Script,
    /// Number of the next reply; none before the first request.
    next: Mutex<Option<usize>>,
    seal: Seal,
}

impl Scripted {
    pub(crate) fn open(file: &str, seal: Seal) -> Result<Self, ScriptError> {
        let script = Script::read(file.as_ref())?;
        Ok(Self { file: file.to_owned(), script, next: Mutex::new(None), seal })
    }

    fn redeem(&self, permit: Permit<ModelRequest>) -> Result<ModelRequest, ModelError> {
        let request = permit.redeem(self.seal).map_err(|error| ModelError::Permit(error.to_string()))?;
        if request.provider != self.provider() || request.endpoint != self.endpoint() {
            let permitted = format!("it permits {} at {}", request.provider, request.endpoint);
            return Err(ModelError::Permit(permitted));
        }
        Ok(request)
    }

    fn position(&self, conversation: &Conversation) -> usize {
        let replies =
            || conversation.messages.iter().filter(|message| matches!(message, Message::Assistant { .. }));
        *self.next.lock().expect("nothing panics while it is held").get_or_insert_with(|| replies().count())
    }

    fn line(&self, position: usize) -> Result<&Line, ModelError> {
        self.script.replies.get(position).ok_or_else(|| ModelError::Protocol {
            provider: self.provider().to_owned(),
            message: format!(
                "the script {} has {} replies and was asked for one more",
                self.file,
                self.script.replies.len()
            ),
        })
    }

    fn unexpected(&self, position: usize, what: &str, told: &str) -> ModelError {
        let told = clip(told, LONGEST_SHOWN);
        let message =
            format!("reply {} of {}: {what}; what the model was told: {told}", position + 1, self.file);
        ModelError::Rejected { provider: self.provider().to_owned(), status: 422, message }
    }
}

#[async_trait]
impl Model for Scripted {
    fn provider(&self) -> &str {
        Provider::Scripted.name()
    }

    fn name(&self) -> &str {
        &self.file
    }

    fn endpoint(&self) -> &'static str {
        "none"
    }

    async fn respond(
        &self,
        permit: Permit<ModelRequest>,
        observer: &dyn ReplyObserver,
    ) -> Result<Reply, ModelError> {
        let request = self.redeem(permit)?;
        let position = self.position(&request.conversation);
        let line = self.line(position)?;
        let told = told(&request.conversation);
        if let Err(what) = line.check(&told) {
            return Err(self.unexpected(position, &what, &told));
        }
        tokio::time::sleep(Duration::from_millis(line.delay_ms)).await;
        if let Some(text) = &line.text {
            observer.delta(text);
        }
        // only now: a request that is dropped while it waits takes no reply
        *self.next.lock().expect("nothing panics while it is held") = Some(position + 1);
        Ok(reply(line, &request.conversation))
    }
}

/// What the model was told since its last reply: tool results and messages.
fn told(conversation: &Conversation) -> String {
    let is_reply = |message: &Message| matches!(message, Message::Assistant { .. });
    let start = conversation.messages.iter().rposition(is_reply).map_or(0, |last| last + 1);
    let texts = conversation.messages[start..].iter().map(|message| match message {
        Message::User { text } => text.as_str(),
        Message::ToolResult { content, .. } => content.as_str(),
        Message::Assistant { .. } => "",
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn reply(line: &Line, conversation: &Conversation) -> Reply {
    let calls_before = conversation.messages.iter().map(calls).sum::<usize>();
    let text = line.text.iter().map(|text| Item::Text { text: text.clone() });
    let calls = line.tool_calls.iter().enumerate().map(|(index, call)| Item::ToolCall {
        id: call.id.clone().unwrap_or_else(|| format!("call_{}", calls_before + index + 1)),
        name: call.name.clone(),
        arguments: call.arguments_text(),
    });
    let items: Vec<_> = text.chain(calls).collect();
    let usage = line.usage.unwrap_or_else(|| estimate(conversation, &items));
    Reply { items, stop: line.stop, usage }
}

fn calls(message: &Message) -> usize {
    match message {
        Message::Assistant { items } => {
            items.iter().filter(|item| matches!(item, Item::ToolCall { .. })).count()
        }
        _ => 0,
    }
}

fn estimate(conversation: &Conversation, items: &[Item]) -> Usage {
    let tokens = |bytes: usize| bytes.div_ceil(4) as u64;
    let received = items.iter().map(|item| match item {
        Item::Text { text } => text.len(),
        Item::ToolCall { name, arguments, .. } => name.len() + arguments.len(),
        Item::Reasoning { .. } => 0,
    });
    Usage {
        input_tokens: tokens(conversation.bytes()),
        output_tokens: tokens(received.sum()),
        ..Usage::default()
    }
}
