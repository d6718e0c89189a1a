//! One attempt: the request is sent, the stream is read until the reply is whole.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{CONTENT_TYPE, LOCATION};
use jiff::Timestamp;
use reqwest::Response;
use sortie_policy::ports::ReplyObserver;
use tokio::time::timeout;
use url::Url;

use super::{Remote, chain};
use crate::failure::Failure;
use crate::retry;
use crate::sse::{Decoder, Event};
use crate::wire::{Assembly, Draft, Step};

/// Most of an error's body that is read, in bytes.
const LONGEST_ERROR: usize = 64 << 10;

/// How long an error's body is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the end of a whole stream is waited for. With it the connection
/// serves the next turn too.
const FAREWELL: Duration = Duration::from_millis(50);

impl Remote {
    /// Makes one attempt.
    pub(super) async fn attempt(&self, body: Bytes, observer: &dyn ReplyObserver) -> Result<Draft, Failure> {
        let longest = self.options.timeouts.attempt;
        match timeout(longest, self.exchange(body, observer)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::transient(format!("the reply was not whole after {longest:?}"))),
        }
    }

    async fn exchange(&self, body: Bytes, observer: &dyn ReplyObserver) -> Result<Draft, Failure> {
        let response = self.send(body).await?;
        let status = response.status();
        if status.is_redirection() {
            return Err(Failure::Rejected { status: status.as_u16(), message: redirection(&response) });
        }
        let is_stream = status.is_success() && !has_type(&response, &["application/json", "text/html"]);
        if is_stream { self.read(response, observer).await } else { Err(Self::read_error(response).await) }
    }

    async fn send(&self, body: Bytes) -> Result<Response, Failure> {
        let request = self
            .client
            .post(self.endpoint.url(self.wire.path()))
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let timeouts = &self.options.timeouts;
        match timeout(timeouts.connect + timeouts.head, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Failure::transient(format!(
                "{} does not answer: {}",
                self.origin,
                chain(&error.without_url())
            ))),
            Err(_) => {
                Err(Failure::transient(format!("{} does not answer in {:?}", self.origin, timeouts.head)))
            }
        }
    }

    async fn read(&self, response: Response, observer: &dyn ReplyObserver) -> Result<Draft, Failure> {
        let mut stream = Box::pin(response.bytes_stream());
        let mut decoder = Decoder::default();
        let mut assembly = self.wire.assembly();
        loop {
            let idle = self.options.timeouts.idle;
            let Ok(piece) = timeout(idle, stream.next()).await else {
                return Err(Failure::transient(format!("the stream was silent for {idle:?}")));
            };
            match piece {
                Some(Ok(piece)) => decoder.push(&piece)?,
                Some(Err(error)) if !assembly.is_whole() => {
                    return Err(Failure::transient(format!(
                        "the stream broke: {}",
                        chain(&error.without_url())
                    )));
                }
                Some(Err(_)) | None => {
                    decoder.end()?;
                    return drain(&mut decoder, assembly.as_mut(), observer)
                        .and_then(|_| finish_ended(assembly));
                }
            }
            if drain(&mut decoder, assembly.as_mut(), observer)? == Step::Done {
                let _ = timeout(FAREWELL, stream.next()).await;
                return Ok(assembly.finish());
            }
        }
    }

    /// A response that is no stream: an error, or not of the protocol.
    async fn read_error(response: Response) -> Failure {
        let status = response.status();
        let after = retry::asked_for(response.headers(), Timestamp::now());
        let may_retry = !retry::forbidden(response.headers());
        let body = start_of(response).await;
        if !status.is_success() {
            return Failure::of_response(status.as_u16(), &body, after, may_retry);
        }
        if let Ok(value) = serde_json::from_slice::<serde_json::Value>(&body)
            && let Some(error) = crate::json::present(&value, "error")
        {
            return Failure::of_event(error);
        }
        // whole: cut here, a key at the cut would not be found
        let page = String::from_utf8_lossy(&body);
        Failure::Protocol(format!("a page or document instead of a stream of events: {page}"))
    }
}

/// The start of a body; what came, if the rest is late.
async fn start_of(response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    let read = async {
        let mut stream = Box::pin(response.bytes_stream());
        while let Some(Ok(piece)) = stream.next().await {
            body.extend_from_slice(&piece);
            if body.len() >= LONGEST_ERROR {
                break;
            }
        }
    };
    let _ = timeout(PATIENCE, read).await;
    body.truncate(LONGEST_ERROR);
    body
}

/// Hands the events that are ready to the assembly.
fn drain(
    decoder: &mut Decoder,
    assembly: &mut dyn Assembly,
    observer: &dyn ReplyObserver,
) -> Result<Step, Failure> {
    while let Some(event) = decoder.next() {
        if take(assembly, &event, observer)? == Step::Done {
            return Ok(Step::Done);
        }
    }
    Ok(Step::More)
}

fn take(assembly: &mut dyn Assembly, event: &Event, observer: &dyn ReplyObserver) -> Result<Step, Failure> {
    assembly.take(event, &mut |text| observer.delta(text))
}

/// The reply of a stream that ended by itself.
fn finish_ended(assembly: Box<dyn Assembly>) -> Result<Draft, Failure> {
    if assembly.is_whole() {
        return Ok(assembly.finish());
    }
    Err(Failure::transient("the stream ended before the reply was whole"))
}

fn has_type(response: &Response, types: &[&str]) -> bool {
    let value =
        response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let value = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    types.contains(&value.as_str())
}

/// Redirects are not followed: the key would go along. Where to is said
/// without what the location may hold beside the address.
fn redirection(response: &Response) -> String {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let target = location.and_then(|location| Url::parse(location).ok());
    match target {
        Some(url) => format!(
            "it redirects to {}{}, which is not followed: set the base URL to where the server is",
            url.origin().ascii_serialization(),
            url.path()
        ),
        None => "it redirects, which is not followed: set the base URL to where the server is".into(),
    }
}
