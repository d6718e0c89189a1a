//! `CONNECT`: a tunnel whose bytes the proxy does not read.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use sortie_core::action::NetworkConnect;
use sortie_policy::ports::Body;
use tokio::net::TcpStream;

use super::reject::Rejection;
use super::{Shared, Slot};
use crate::egress::meter::{Meter, Metered};
use crate::egress::reach::spent;
use crate::egress::target::Target;

/// Bytes that are under way in each direction: as many as the kernel hands over
/// at a time.
const BUFFER: usize = 64 << 10;
/// Bytes that are under way from a server while few tunnels are open. Each side
/// is woken up less often, which is most of what a tunnel costs: it moves a
/// quarter more bytes a second than with [`BUFFER`], and no more with 4 MiB.
const WIDE_BUFFER: usize = 1 << 20;

/// Connects, answers, and leaves the tunnel to a task of its own, which ends
/// with the proxy, when both sides are done, or when nothing moves.
pub(super) async fn open(
    shared: &Arc<Shared>,
    mut request: Request<Incoming>,
    slot: Slot,
) -> Result<Response<Body>, Rejection> {
    let target = target_of(&request)?;
    let shown = target.to_string();
    let connect = NetworkConnect { host: target.host, port: target.port, request: None };
    let permit = shared.permit(connect).await?;
    let (server, meter) = shared.connect(permit).await?;
    let client = hyper::upgrade::on(&mut request);
    let task = carry(Arc::clone(shared), client, server, meter, shown, slot);
    shared.tasks.spawn(task);
    Ok(Response::new(Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync()))
}

fn target_of(request: &Request<Incoming>) -> Result<Target, Rejection> {
    let wrong = || Rejection::bad_request("CONNECT takes `host:port` and no body");
    if request.headers().contains_key(CONTENT_LENGTH) || request.headers().contains_key(TRANSFER_ENCODING) {
        return Err(wrong());
    }
    let authority = request.uri().authority().ok_or_else(wrong)?;
    let port = authority.port_u16().ok_or_else(wrong)?;
    if authority.as_str().contains('@') || request.uri().path_and_query().is_some() {
        return Err(wrong());
    }
    Target::new(authority.host(), port).map_err(|error| Rejection::bad_request(error.to_string()))
}

async fn carry(
    shared: Arc<Shared>,
    client: OnUpgrade,
    server: TcpStream,
    meter: Arc<Meter>,
    target: String,
    _slot: Slot,
) {
    let mut server = Metered::new(server, Arc::clone(&meter));
    let wide = shared.wide_tunnels.try_acquire();
    let from_server = if wide.is_ok() { WIDE_BUFFER } else { BUFFER };
    let tunnel = async {
        let mut client = TokioIo::new(client.await.map_err(std::io::Error::other)?);
        tokio::io::copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, from_server).await
    };
    tokio::select! {
        ended = tunnel => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a tunnel ended early");
            }
        }
        () = meter.idle(shared.limits.idle) => {}
        () = shared.stop.cancelled() => {}
    }
    // nobody can be told inside of a tunnel why it breaks off
    if shared.totals.task.is_spent() {
        shared.note(&Rejection::of_connection(&target, &spent(&shared.totals.task)));
    }
    tracing::debug!(sent = meter.sent(), received = meter.received(), "a tunnel is closed");
}
