//! Requests and connections.

use serde::{Deserialize, Serialize};

/// A tool sends an HTTP request; each redirect is a request of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRequest {
    /// The method, in upper case.
    pub method: String,
    /// The whole URL, without credentials.
    pub url: String,
}
plain_effect!(HttpRequest, HttpRequest, |this| this.url.clone());

/// The workspace opens a connection through the egress proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConnect {
    /// Name or address, lower case, without brackets or a trailing dot.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The method and URL where the proxy sees them (plain HTTP).
    pub request: Option<String>,
}
plain_effect!(NetworkConnect, NetworkConnect, |this| format!("{}:{}", this.host, this.port));
