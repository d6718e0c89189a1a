//! One exchange over `wasi:http`.

use super::{Address, Request, Response};
use crate::bindings::http::wasi::http::outgoing_handler;
use crate::bindings::http::wasi::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions,
    Scheme,
};
use crate::bindings::http::wasi::io::streams::StreamError;
use crate::{Error, Result};

/// Bytes asked for at a time.
const PIECE: u64 = 64 << 10;

/// Sends a request and reads the response.
pub(super) fn send(request: &Request, address: &Address) -> Result<Response> {
    let outgoing = outgoing(request, address)?;
    let body = outgoing.body().map_err(|()| Error::internal("the request has no body"))?;
    let future = outgoing_handler::handle(outgoing, Some(options(request.timeout_ms))).map_err(failure)?;
    write(&body, &request.body)?;
    OutgoingBody::finish(body, None).map_err(failure)?;
    let answer = loop {
        match future.get() {
            Some(answer) => break answer,
            None => future.subscribe().block(),
        }
    };
    let answer = answer.map_err(|()| Error::internal("the response was taken already"))?;
    read(answer.map_err(failure)?, request.max_bytes)
}

fn outgoing(request: &Request, address: &Address) -> Result<OutgoingRequest> {
    let fields = Fields::new();
    for (name, value) in &request.headers {
        fields
            .append(name, value.as_bytes())
            .map_err(|error| Error::invalid(format!("header `{name:.100}`: {error}")))?;
    }
    let outgoing = OutgoingRequest::new(fields);
    let scheme = if address.secure { Scheme::Https } else { Scheme::Http };
    let set = outgoing
        .set_method(&method(&request.method))
        .and_then(|()| outgoing.set_scheme(Some(&scheme)))
        .and_then(|()| outgoing.set_authority(Some(&address.authority)))
        .and_then(|()| outgoing.set_path_with_query(Some(&address.path)));
    match set {
        Ok(()) => Ok(outgoing),
        Err(()) => Err(Error::invalid(format!("{:.200?} is not a URL to request", request.url))),
    }
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "PATCH" => Method::Patch,
        "OPTIONS" => Method::Options,
        other => Method::Other(other.to_owned()),
    }
}

/// A host may refuse to set a timeout; its own limits hold then.
fn options(timeout_ms: u64) -> RequestOptions {
    let options = RequestOptions::new();
    let nanoseconds = Some(timeout_ms.saturating_mul(1_000_000));
    let _ = options.set_connect_timeout(nanoseconds);
    let _ = options.set_first_byte_timeout(nanoseconds);
    let _ = options.set_between_bytes_timeout(nanoseconds);
    options
}

fn write(body: &OutgoingBody, data: &[u8]) -> Result<()> {
    if data.is_empty() {
        return Ok(());
    }
    let stream = body.write().map_err(|()| Error::internal("the request's body was taken already"))?;
    // `blocking-write-and-flush` takes at most 4096 bytes.
    for piece in data.chunks(4096) {
        stream.blocking_write_and_flush(piece).map_err(broken)?;
    }
    Ok(())
}

fn read(response: IncomingResponse, max_bytes: usize) -> Result<Response> {
    let status = response.status();
    let headers = response.headers().entries();
    let headers = headers
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let body = response.consume().map_err(|()| Error::internal("the response was taken already"))?;
    let (body, truncated) = drain(&body, max_bytes)?;
    Ok(Response { status, headers, body, truncated })
}

/// Reads a body up to a bound. The stream is dropped before the body that it comes from.
fn drain(incoming: &IncomingBody, max_bytes: usize) -> Result<(Vec<u8>, bool)> {
    let stream = incoming.stream().map_err(|()| Error::internal("the body was taken already"))?;
    let mut body = Vec::new();
    loop {
        match stream.blocking_read(PIECE) {
            Ok(piece) => body.extend_from_slice(&piece),
            Err(StreamError::Closed) => return Ok((body, false)),
            Err(error) => return Err(broken(error)),
        }
        if body.len() > max_bytes {
            body.truncate(max_bytes);
            return Ok((body, true));
        }
    }
}

fn broken(error: StreamError) -> Error {
    match error {
        StreamError::Closed => Error::unavailable("the connection was closed"),
        StreamError::LastOperationFailed(error) => {
            Error::unavailable(format!("the connection broke off: {}", error.to_debug_string()))
        }
    }
}

fn failure(error: ErrorCode) -> Error {
    match error {
        ErrorCode::HttpRequestDenied => Error::denied("the request is not permitted"),
        ErrorCode::DestinationIpProhibited => Error::denied("the address is not a public one"),
        ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestMethodInvalid => {
            Error::invalid("the host does not take this URL or method")
        }
        ErrorCode::ConnectionTimeout
        | ErrorCode::DnsTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout => Error::timeout("the server did not answer in time"),
        ErrorCode::DnsError(_) | ErrorCode::DestinationNotFound => {
            Error::unavailable("the host's name does not resolve")
        }
        ErrorCode::ConnectionRefused => Error::unavailable("the server refused the connection"),
        // How the host says which rule refused.
        ErrorCode::InternalError(Some(message)) => match message.strip_prefix("denied: ") {
            Some(reason) => Error::denied(reason),
            None => Error::unavailable(message),
        },
        other => Error::unavailable(format!("the request failed: {other:?}")),
    }
}
