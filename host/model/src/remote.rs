//! A model behind HTTP: one request, as many attempts as it takes.

mod attempt;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use sortie_core::Secret;
use sortie_core::action::ModelRequest;
use sortie_core::conversation::{Item, Message, Reply};
use sortie_core::outcome::Usage;
use sortie_policy::ports::{Model, ModelError, ReplyObserver};
use sortie_policy::{Permit, Seal};

use crate::endpoint::Endpoint;
use crate::failure::{Failure, clean};
use crate::options::Options;
use crate::retry;
use crate::wire::{Draft, Wire};

/// A model that speaks a wire API.
pub(crate) struct Remote {
    wire: Box<dyn Wire>,
    endpoint: Endpoint,
    origin: String,
    name: String,
    client: reqwest::Client,
    headers: HeaderMap,
    key: Option<Secret>,
    options: Options,
    seal: Seal,
}

impl Remote {
    #[expect(clippy::too_many_arguments, reason = "called in one place, with each thing under its own name")]
    pub(crate) fn new(
        wire: Box<dyn Wire>,
        endpoint: Endpoint,
        name: &str,
        client: reqwest::Client,
        headers: HeaderMap,
        key: Option<Secret>,
        options: Options,
        seal: Seal,
    ) -> Self {
        let origin = endpoint.origin();
        Self { wire, endpoint, origin, name: name.to_owned(), client, headers, key, options, seal }
    }

    /// What the permit allows, if it allows this model.
    fn redeem(&self, permit: Permit<ModelRequest>) -> Result<ModelRequest, ModelError> {
        let mut request = permit.redeem(self.seal).map_err(|error| ModelError::Permit(error.to_string()))?;
        if request.provider != self.provider() || request.endpoint != self.origin {
            let permitted = format!("it permits {} at {}", request.provider, request.endpoint);
            return Err(ModelError::Permit(permitted));
        }
        if let Some(most) = self.options.max_output_tokens {
            request.max_output_tokens = request.max_output_tokens.min(most);
        }
        Ok(request)
    }

    fn body(&self, request: &ModelRequest) -> Bytes {
        self.wire.body(request, &self.options).to_string().into()
    }

    fn error(&self, failure: Failure, attempts: u32) -> ModelError {
        let provider = self.provider().to_owned();
        let clean = |message: &str| clean(message, self.key.as_ref());
        match failure {
            Failure::Transient { message, .. } => {
                ModelError::Exhausted { provider, attempts, message: clean(&message) }
            }
            Failure::Unauthorised(message) => {
                let hint = if self.key.is_none() { " (no key was sent: none is set)" } else { "" };
                ModelError::Unauthorised { provider, message: clean(&message) + hint }
            }
            Failure::Rejected { status, message } => {
                let hint = if status == 404 { self.hint_of_path() } else { "" };
                ModelError::Rejected { provider, status, message: clean(&message) + hint }
            }
            Failure::Protocol(message) => ModelError::Protocol { provider, message: clean(&message) },
        }
    }

    fn hint_of_path(&self) -> &'static str {
        let wants_v1 = self.wire.path() != "/v1/messages";
        if wants_v1 && !self.endpoint.ends_in_v1() { " (the base URL usually ends in /v1)" } else { "" }
    }
}

#[async_trait]
impl Model for Remote {
    fn provider(&self) -> &str {
        self.wire.provider().name()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn endpoint(&self) -> &str {
        &self.origin
    }

    async fn respond(
        &self,
        permit: Permit<ModelRequest>,
        observer: &dyn ReplyObserver,
    ) -> Result<Reply, ModelError> {
        let request = self.redeem(permit)?;
        let retries = &self.options.retries;
        let mut body = self.body(&request);
        let mut attempt = 1;
        loop {
            let failure = match self.attempt(body.clone(), observer).await {
                Ok(draft) => return Ok(complete(draft, &request, body.len())),
                Err(failure) => failure,
            };
            let (reason, wait) = match &failure {
                Failure::Transient { message, after } if attempt < retries.attempts => {
                    attempt += 1;
                    (message, retry::wait(retries, attempt - 1, *after, retry::chance()))
                }
                // each cause adapts once: this does not go on for ever
                Failure::Rejected { message, .. } if self.wire.adapt(message) => {
                    body = self.body(&request);
                    (message, std::time::Duration::ZERO)
                }
                _ => return Err(self.error(failure, attempt)),
            };
            let reason = clean(reason, self.key.as_ref());
            tracing::debug!(
                provider = self.provider(),
                attempt,
                ?wait,
                reason,
                "a model request is made again"
            );
            observer.retry(&reason, wait);
            tokio::time::sleep(wait).await;
        }
    }
}

/// Fills in what the provider left open: ids of calls, and usage, which is
/// then estimated at 4 bytes a token so that budgets hold.
fn complete(mut draft: Draft, request: &ModelRequest, sent: usize) -> Reply {
    let mut taken: Vec<&str> = Vec::new();
    for message in &request.conversation.messages {
        if let Message::Assistant { items } = message {
            taken.extend(items.iter().filter_map(call_id));
        }
    }
    for index in 0..draft.items.len() {
        let (before, rest) = draft.items.split_at_mut(index);
        if let Item::ToolCall { id, .. } = &mut rest[0] {
            let is_taken =
                taken.contains(&id.as_str()) || before.iter().filter_map(call_id).any(|other| other == id);
            if id.is_empty() || is_taken {
                *id = fresh_id();
            }
        }
    }
    let received: usize = draft.items.iter().map(bytes).sum();
    let estimate = |bytes: usize| bytes.div_ceil(4) as u64;
    let usage = draft.usage.filter(|usage| *usage != Usage::default()).unwrap_or_else(|| Usage {
        input_tokens: estimate(sent),
        output_tokens: estimate(received),
        ..Usage::default()
    });
    Reply { items: draft.items, stop: draft.stop, usage }
}

fn call_id(item: &Item) -> Option<&str> {
    match item {
        Item::ToolCall { id, .. } => Some(id),
        _ => None,
    }
}

fn bytes(item: &Item) -> usize {
    match item {
        Item::Text { text } => text.len(),
        Item::Reasoning { data, .. } => data.to_string().len(),
        Item::ToolCall { name, arguments, .. } => name.len() + arguments.len(),
    }
}

fn fresh_id() -> String {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes.iter().fold("call_".to_owned(), |id, byte| id + &format!("{byte:02x}"))
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
