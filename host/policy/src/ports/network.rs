//! The network.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use sortie_core::action::{HttpRequest, NetworkConnect};
use sortie_core::outcome::NetworkUse;
use tokio::net::TcpStream;

use super::PortError;
use crate::Permit;

/// A body of an HTTP message.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, PortError>;

/// Opens connections for a workspace.
#[async_trait]
pub trait Dialer: Send + Sync {
    /// Resolves the host once and connects to an address that it may have:
    /// a public one, or any if the settings name the host.
    ///
    /// # Errors
    /// `Denied` if the address is not public, `Unavailable` if nothing
    /// resolves or answers.
    async fn connect(&self, permit: Permit<NetworkConnect>) -> Result<TcpStream, PortError>;
}

/// Sends HTTP requests for tools. Redirects are not followed.
#[async_trait]
pub trait HttpClient: Send + Sync {
    /// Sends a request, whose method and URL must be the permitted ones.
    ///
    /// # Errors
    /// `Denied` if the address is not public, `Invalid` if the request is not
    /// the permitted one, `Unavailable` if nothing resolves or answers.
    async fn send(
        &self,
        permit: Permit<HttpRequest>,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, PortError>;
}

/// Counts the bytes of all connections of a task, those of its commands and
/// those of its tools, and knows how many there may be. Connections that are
/// open when the last one is moved overshoot by what they have under way.
#[derive(Debug, Default)]
pub struct NetworkMeter {
    sent: AtomicU64,
    received: AtomicU64,
    max: Option<u64>,
}

impl NetworkMeter {
    /// A meter that stands at zero. `max` bounds the bytes sent and received
    /// together; none for no bound.
    pub fn new(max: Option<u64>) -> Self {
        Self { max, ..Self::default() }
    }

    /// Counts bytes that went to a server.
    pub fn count_sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that came from a server.
    pub fn count_received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What was moved so far.
    pub fn used(&self) -> NetworkUse {
        NetworkUse {
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            max: self.max,
        }
    }

    /// Whether nothing more may be moved.
    pub fn is_spent(&self) -> bool {
        self.used().is_spent()
    }
}
