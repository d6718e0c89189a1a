//! The egress proxy of a workspace: HTTP/1.1 with `CONNECT`, and requests for
//! `http://` URLs. It listens where init does, inside of the workspace, on a
//! socket that init handed over.
//!
//! Each tunnel and each request is an action of its own, also on a connection
//! that is kept alive. A refusal is answered with 403, its reason and what
//! would allow it as plain text, and the policy's rule in `x-sortie-refusal`.

mod forward;
mod reject;
mod tunnel;

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sortie_core::action::NetworkConnect;
use sortie_core::outcome::RefusedAction;
use sortie_core::{Actor, Phase};
use sortie_policy::ports::{Body, Dialer, NetworkMeter};
use sortie_policy::{FactsSource, Gate, Permit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::reject::Rejection;
use super::meter::{Meter, Metered, Totals};

/// Bounds of a proxy.
#[derive(Clone, Copy, Debug)]
pub struct ProxyLimits {
    /// Connections at a time; further ones wait to be accepted.
    pub connections: usize,
    /// The longest until a request's head is there, from when it can begin.
    pub head: Duration,
    /// The most bytes of a head; at least 8192.
    pub max_head: usize,
    /// The longest until a server's response begins.
    pub response: Duration,
    /// The longest without a byte.
    pub idle: Duration,
}

impl Default for ProxyLimits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connections: 256,
            head: seconds(30),
            max_head: 32 << 10,
            response: seconds(120),
            idle: seconds(300),
        }
    }
}

/// What a proxy has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections accepted.
    pub connections: u64,
    /// Tunnels and requests asked for.
    pub requests: u64,
    /// How many of these were refused.
    pub refused: u64,
    /// How many of these could not be served.
    pub failed: u64,
    /// Bytes sent to servers.
    pub sent: u64,
    /// Bytes received from servers.
    pub received: u64,
}

/// The most tunnels with a wide buffer at a time: 16 MiB of memory.
const MAX_WIDE_TUNNELS: usize = 16;

/// The most refusals that are kept for the report.
const MAX_REFUSED: usize = 100;

/// A running proxy. It ends when it is stopped or dropped.
pub struct Proxy {
    shared: Arc<Shared>,
}

struct Shared {
    gate: Arc<Gate>,
    dialer: Arc<dyn Dialer>,
    facts: Arc<dyn FactsSource>,
    limits: ProxyLimits,
    stop: CancellationToken,
    tasks: TaskTracker,
    totals: Arc<Totals>,
    connections: AtomicU64,
    requests: AtomicU64,
    failed: AtomicU64,
    wide_tunnels: Semaphore,
    refused: Mutex<(u64, Vec<RefusedAction>)>,
}

/// A connection's place among those that are served at a time.
type Slot = Arc<OwnedSemaphorePermit>;

impl Proxy {
    /// Serves whoever connects to the listener. What is moved counts against
    /// what `meter` lets the task move; the dialer refuses what is beyond.
    /// Must be called in a runtime.
    ///
    /// # Errors
    /// If the listener cannot be used.
    pub fn start(
        listener: std::net::TcpListener,
        gate: Arc<Gate>,
        dialer: Arc<dyn Dialer>,
        facts: Arc<dyn FactsSource>,
        limits: ProxyLimits,
        meter: Arc<NetworkMeter>,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let shared = Arc::new(Shared {
            gate,
            dialer,
            facts,
            limits,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            totals: Totals::of(meter),
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            wide_tunnels: Semaphore::new(MAX_WIDE_TUNNELS),
            refused: Mutex::default(),
        });
        shared.tasks.spawn(Arc::clone(&shared).accept(listener));
        Ok(Self { shared })
    }

    /// What it has done so far.
    pub fn traffic(&self) -> Traffic {
        let shared = &self.shared;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            connections: count(&shared.connections),
            requests: count(&shared.requests),
            refused: shared.refused.lock().unwrap_or_else(PoisonError::into_inner).0,
            failed: count(&shared.failed),
            sent: count(&shared.totals.sent),
            received: count(&shared.totals.received),
        }
    }

    /// What was refused, by a policy or for its address; each once, at most
    /// a hundred.
    pub fn refused(&self) -> Vec<RefusedAction> {
        self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Closes the listener and all connections, and waits until they are gone.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Shared {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(self.limits.connections));
        let serve = async {
            loop {
                let slot = Arc::clone(&slots).acquire_owned().await.expect("it is never closed");
                match listener.accept().await {
                    Ok((stream, _)) => {
                        self.connections.fetch_add(1, Ordering::Relaxed);
                        self.tasks.spawn(Arc::clone(&self).serve(stream, Arc::new(slot)));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the egress proxy cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        };
        let _: Option<Infallible> = self.stop.run_until_cancelled(serve).await;
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, slot: Slot) {
        let meter = Meter::new(Arc::default());
        let io = TokioIo::new(Metered::new(stream, Arc::clone(&meter)));
        let service = service_fn(|request| {
            let (shared, slot) = (Arc::clone(&self), Arc::clone(&slot));
            async move { Ok::<_, Infallible>(shared.answer(request, slot).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .max_header_size(self.limits.max_head)
            .max_buf_size(self.limits.max_head)
            .serve_connection(io, service)
            .with_upgrades();
        tokio::select! {
            ended = connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection to the egress proxy ended early");
                }
            }
            () = meter.idle(self.limits.idle) => {}
            () = self.stop.cancelled() => {}
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>, slot: Slot) -> Response<Body> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let answered = if request.method() == Method::CONNECT {
            tunnel::open(&self, request, slot).await
        } else {
            forward::forward(&self, request).await
        };
        answered.unwrap_or_else(|rejection| {
            self.note(&rejection);
            rejection.into_response()
        })
    }

    /// Asks the gate, in the name of whoever works in this phase.
    async fn permit(&self, connect: NetworkConnect) -> Result<Permit<NetworkConnect>, Rejection> {
        let actor = if self.facts.facts().phase == Phase::Work { Actor::Agent } else { Actor::Host };
        self.gate.permit(&actor, connect).await.map_err(Rejection::from)
    }

    /// Connects to what is permitted.
    async fn connect(&self, permit: Permit<NetworkConnect>) -> Result<(TcpStream, Arc<Meter>), Rejection> {
        let target = format!("{}:{}", permit.action().host, permit.action().port);
        let stream = self.dialer.connect(permit).await;
        let stream = stream.map_err(|error| Rejection::of_connection(&target, &error))?;
        Ok((stream, Meter::new(Arc::clone(&self.totals))))
    }

    /// Counts what was not done. A refusal that no policy made is nowhere in
    /// the audit log yet; it is told there once.
    fn note(&self, rejection: &Rejection) {
        let Some(refused) = rejection.refused() else {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let is_new = {
            let mut noted = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            noted.0 += 1;
            let is_new = noted.1.len() < MAX_REFUSED && !noted.1.contains(refused);
            if is_new {
                noted.1.push(refused.clone());
            }
            is_new
        };
        if is_new
            && rejection.is_of_a_port()
            && let Err(error) = self.gate.record_refusal(refused.clone())
        {
            tracing::warn!(%error, "a refusal of the egress proxy could not be recorded");
        }
    }
}
