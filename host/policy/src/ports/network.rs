//! The network.

use async_trait::async_trait;
use bytes::Bytes;
use sortie_core::action::{HttpRequest, NetworkConnect};
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
