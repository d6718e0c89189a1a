//! One HTTP/1.1 request over one connection.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use sortie_policy::ports::{Body, ErrorCode, PortError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::AbortOnDropHandle;

use super::meter::Meter;

/// Bytes of a body that are read at a time, if as many come.
const BUFFER: usize = 256 << 10;

/// Bounds of an exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The longest until the response's head is there.
    pub(super) head: Duration,
    /// The longest without a byte.
    pub(super) idle: Duration,
    /// The most bytes of the response's head.
    pub(super) max_head: usize,
}

/// Sends the request, whose URI is in the form that servers take. The
/// connection lives as long as the response's body.
pub(super) async fn exchange<S, B>(
    stream: S,
    meter: Arc<Meter>,
    request: Request<B>,
    bounds: Bounds,
) -> Result<Response<Body>, PortError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let buffer = bounds.max_head.max(BUFFER);
    let mut builder = http1::Builder::new();
    builder.max_headers(200).max_header_size(bounds.max_head).max_buf_size(buffer);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
    let connection = AbortOnDropHandle::new(tokio::spawn(async move {
        tokio::select! {
            ended = connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
            }
            () = meter.idle(bounds.idle) => tracing::debug!("a connection is idle and closed"),
        }
    }));
    let response = match tokio::time::timeout(bounds.head, sender.send_request(request)).await {
        Ok(response) => response.map_err(|error| broken(&error))?,
        Err(_) => {
            let message = format!("no response within {} s", bounds.head.as_secs());
            return Err(PortError::new(ErrorCode::Timeout, message));
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(PortError::new(
            ErrorCode::Unavailable,
            "the server switched protocols, which nobody asked for",
        ));
    }
    Ok(response.map(|body| {
        let inner = body.map_err(|error| broken(&error)).boxed_unsync();
        Guarded { inner, _connection: connection }.boxed_unsync()
    }))
}

fn broken(error: &hyper::Error) -> PortError {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    PortError::new(ErrorCode::Unavailable, format!("the exchange broke off: {error}{cause}"))
}

/// A body that ends its connection when it is dropped.
struct Guarded {
    inner: Body,
    _connection: AbortOnDropHandle<()>,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = PortError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, PortError>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
