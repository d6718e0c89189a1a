//! `wasi:http/outgoing-handler`: each request is one action.
//!
//! `wasi:http` has codes and no words for errors. The words go to the call's
//! notes, and are added to the tool's error if it fails.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use sortie_core::action::{ActionKind, HttpRequest};
use sortie_core::text::one_line;
use sortie_policy::ports::{Body, ErrorCode, PortError};
use tokio::sync::Semaphore;
use url::Url;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::invalid;
use crate::grants::Wanted;
use crate::state::Call;

/// Requests of one call at once, from the first byte to where the guest is
/// done with the answer: each holds a connection of the host.
const AT_ONCE: usize = 16;
/// Bytes of a URL.
const URL: usize = 16 << 10;

/// The hooks of one store.
pub(crate) struct Hooks {
    call: Option<Call>,
    places: Arc<Semaphore>,
}

impl Hooks {
    pub(crate) fn new(call: Option<Call>) -> Self {
        Self { call, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

type Answer = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Answer, Error>> + Send> {
        let Some(call) = self.call.clone() else {
            return Box::new(async { Err(Error::DestinationUnavailable) });
        };
        let places = Arc::clone(&self.places);
        Box::new(async move {
            let place = places.try_acquire_owned().map_err(|_| Error::ConnectionLimitReached)?;
            let response =
                call.until_cancelled(exchange(&call, request, options)).await.map_err(|error| {
                    call.note(&error);
                    code(&error)
                })?;
            let response = response.map(|body| {
                let coded = body.map_err(move |error| {
                    // the body holds the place, and gives it back when it is dropped
                    let _ = &place;
                    code(&error)
                });
                coded.boxed_unsync()
            });
            Ok((response, Box::new(async { Ok(()) }) as _))
        })
    }
}

async fn exchange(
    call: &Call,
    request: http::Request<WasiBody>,
    options: Option<RequestOptions>,
) -> Result<http::Response<Body>, PortError> {
    let (mut parts, body) = request.into_parts();
    let url = url(&parts.uri)?;
    let method = parts.method.as_str().to_owned();
    if !method.bytes().all(|b| b.is_ascii_uppercase()) || matches!(method.as_str(), "CONNECT" | "TRACE") {
        return Err(invalid(format!("the method `{}` is not one that tools can use", one_line(&method, 40))));
    }
    call.granted(Wanted::Http { method: &method, url: &url })?;
    let action = format!("{} {}", ActionKind::HttpRequest, one_line(url.as_str(), 200));
    let permit = call.permit(HttpRequest { method, url: url.into() }).await?;

    // what is sent is what was permitted, and not what the guest wrote
    let permitted = permit.action();
    let url: Url = permitted.url.parse().map_err(|_| invalid("a policy put no URL in place of this one"))?;
    parts.method =
        permitted.method.parse().map_err(|_| invalid("a policy put no method in place of this one"))?;
    parts.uri = url.as_str().parse().map_err(|_| invalid("the URL cannot be requested"))?;
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let host = http::HeaderValue::from_str(host).map_err(|_| invalid("the host is no header's value"))?;
    parts.headers.insert(http::header::HOST, host);

    let body = body.map_err(|error| PortError::new(ErrorCode::Invalid, error.to_string())).boxed_unsync();
    let sent = call.task.context.http.send(permit, http::Request::from_parts(parts, body));
    let limit = first_byte_limit(options);
    let answered = tokio::time::timeout(limit, sent).await.map_err(|_| {
        PortError::new(ErrorCode::Timeout, format!("no answer within {} ms", limit.as_millis()))
    })?;
    if let Some(refused) = answered.as_ref().err().and_then(|error| error.refused(action))
        && let Err(error) = call.task.context.gate.record_refusal(refused)
    {
        tracing::warn!(%error, "a refused address could not be recorded");
    }
    answered
}

/// The call's own deadline ends what this leaves open.
fn first_byte_limit(options: Option<RequestOptions>) -> Duration {
    const LONGEST: Duration = Duration::from_secs(600);
    let RequestOptions { connect_timeout, first_byte_timeout, .. } = options.unwrap_or_default();
    match (connect_timeout, first_byte_timeout) {
        (connect, Some(first)) => connect.unwrap_or_default().saturating_add(first).min(LONGEST),
        (_, None) => LONGEST,
    }
}

/// The URL in its one form; grants, policies and the request see no other.
fn url(uri: &http::Uri) -> Result<Url, PortError> {
    let text = uri.to_string();
    if text.len() > URL {
        return Err(invalid("a URL has at most 16 KiB"));
    }
    let url: Url =
        text.parse().map_err(|error| invalid(format!("`{}` is no URL: {error}", one_line(&text, 200))))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("a URL carries no credentials; use a header"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(invalid(format!("`{}` names no host", one_line(&text, 200))));
    }
    Ok(url)
}

fn code(error: &PortError) -> Error {
    match error.code {
        ErrorCode::Denied => Error::HttpRequestDenied,
        ErrorCode::Invalid => Error::HttpRequestUriInvalid,
        ErrorCode::NotFound => Error::DestinationNotFound,
        ErrorCode::Timeout => Error::ConnectionTimeout,
        ErrorCode::Cancelled => Error::ConnectionTerminated,
        ErrorCode::TooLarge => Error::HttpResponseBodySize(None),
        ErrorCode::Unavailable => Error::DestinationUnavailable,
        ErrorCode::Conflict | ErrorCode::Internal => {
            Error::InternalError(Some(one_line(&error.message, 300)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_one_form_and_no_credentials() {
        let url = |text: &'static str| url(&http::Uri::from_static(text)).map(String::from);
        assert_eq!(url("https://A.example:443/a/../b?c").expect("a URL"), "https://a.example/b?c");
        assert_eq!(url("http://0x7f.1/").expect("a URL"), "http://127.0.0.1/");
        assert!(url("https://user:word@a.example/").is_err());
        assert!(url("/path").is_err());
    }
}
