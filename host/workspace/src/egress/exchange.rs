//! One HTTP/1.1 request over one connection.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use sortie_policy::ports::{Body, ErrorCode, PortError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use super::meter::Meter;

/// Bytes of a body that are read at a time, if as many come.
const BUFFER: usize = 512 << 10;

/// Bounds of an exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The longest until the response's head is there, from when the request
    /// is sent. Sending takes as long as it does, while something moves.
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
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let buffer = bounds.max_head.max(BUFFER);
    let mut builder = http1::Builder::new();
    builder.max_headers(200).max_header_size(bounds.max_head).max_buf_size(buffer);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
    let moved = Arc::clone(&meter);
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
    let sent = CancellationToken::new();
    let request = request.map(|inner| Sending { inner, _sent: sent.clone().drop_guard() });
    let too_late = async {
        sent.cancelled().await;
        tokio::time::sleep(bounds.head).await;
    };
    let response = tokio::select! {
        response = sender.send_request(request) => match response {
            Ok(response) => response,
            // then the connection was closed for it
            Err(_) if moved.idle(bounds.idle).now_or_never().is_some() => {
                return Err(timeout("nothing was sent or received for", bounds.idle));
            }
            Err(error) => return Err(broken(&error)),
        },
        () = too_late => return Err(timeout("no response within", bounds.head)),
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

fn timeout(what: &str, limit: Duration) -> PortError {
    PortError::new(ErrorCode::Timeout, format!("{what} {} s", limit.as_secs()))
}

fn broken(error: &hyper::Error) -> PortError {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    PortError::new(ErrorCode::Unavailable, format!("the exchange broke off: {error}{cause}"))
}

/// A request's body. It is dropped as soon as all of it is handed over to the
/// connection.
struct Sending<B> {
    inner: B,
    _sent: DropGuard,
}

impl<B: HttpBody + Unpin> HttpBody for Sending<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
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
