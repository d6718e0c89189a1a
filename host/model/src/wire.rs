//! What a wire API is: how a request is written in it, and how the events of
//! its stream make a reply.

mod anthropic;
mod chat;
mod responses;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue, InvalidHeaderValue};
use serde_json::Value;
use sortie_core::Secret;
use sortie_core::action::ModelRequest;
use sortie_core::conversation::{Item, StopReason};
use sortie_core::outcome::Usage;

use crate::failure::Failure;
use crate::options::Options;
use crate::spec::Provider;
use crate::sse::Event;

pub(crate) use anthropic::Anthropic;
pub(crate) use chat::Chat;
pub(crate) use responses::Responses;

/// Most items of a reply.
const MOST_ITEMS: usize = 1024;

/// One wire API.
pub(crate) trait Wire: Send + Sync {
    /// The provider.
    fn provider(&self) -> Provider;

    /// The resource that requests are posted to, under the base URL.
    fn path(&self) -> &'static str;

    /// The headers that carry the key, and those that the API wants besides.
    ///
    /// # Errors
    /// If no header can carry the key.
    fn headers(&self, key: Option<&Secret>) -> Result<HeaderMap, InvalidHeaderValue>;

    /// The body of a request.
    fn body(&self, request: &ModelRequest, options: &Options) -> Value;

    /// What puts the stream of one attempt together.
    fn assembly(&self) -> Box<dyn Assembly>;

    /// Whether this message of a refusal names something that can be left out
    /// or written otherwise, and from now on is. True once a cause.
    fn adapt(&self, _message: &str) -> bool {
        false
    }
}

/// Puts the events of one stream together to a reply.
pub(crate) trait Assembly: Send {
    /// Takes an event in; hands text for people to `delta`.
    ///
    /// # Errors
    /// If the event is an error, or not of the API. Types of events that are
    /// unknown are no error.
    fn take(&mut self, event: &Event, delta: &mut dyn FnMut(&str)) -> Result<Step, Failure>;

    /// Whether the reply is whole if nothing follows.
    fn is_whole(&self) -> bool;

    /// The reply.
    fn finish(self: Box<Self>) -> Draft;
}

/// Whether more is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    More,
    Done,
}

/// A reply as the provider gave it: ids may be missing, and usage unknown.
#[derive(Debug, PartialEq)]
pub(crate) struct Draft {
    pub(crate) items: Vec<Item>,
    pub(crate) stop: StopReason,
    pub(crate) usage: Option<Usage>,
}

/// The data of an event, which every API has as a JSON object.
fn object(event: &Event) -> Result<Value, Failure> {
    match serde_json::from_str(&event.data) {
        Ok(value @ Value::Object(_)) => Ok(value),
        // a proxy that is cut off leaves half an event: worth another attempt
        _ => Err(Failure::transient("an event of the stream is not a JSON object")),
    }
}

/// Checks that one more item is within bounds.
fn within_bounds(items: usize) -> Result<(), Failure> {
    if items < MOST_ITEMS {
        return Ok(());
    }
    Err(Failure::Protocol(format!("the reply has more than {MOST_ITEMS} items")))
}

fn bearer(key: Option<&Secret>) -> Result<HeaderMap, InvalidHeaderValue> {
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}
