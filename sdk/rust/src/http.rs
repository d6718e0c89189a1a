//! Outbound HTTP, one exchange at a time. Needs the grant `http`.
//!
//! Redirects are not followed: each hop is a request of its own, which
//! policies decide on. Follow one by sending another request.

mod address;
#[cfg(target_arch = "wasm32")]
mod exchange;

use crate::Result;

pub(crate) use address::Address;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method, in upper case.
    pub method: String,
    /// The whole URL, `http` or `https`. User and password are refused; a
    /// fragment is not sent.
    pub url: String,
    /// Headers; `host` and those that concern the connection are the host's.
    pub headers: Vec<(String, String)>,
    /// The body, at most 8 MiB; empty for none.
    pub body: Vec<u8>,
    /// Most bytes of the response's body that are kept.
    pub max_bytes: usize,
    /// Milliseconds for the connection, for the first byte, and between bytes.
    pub timeout_ms: u64,
}

impl Request {
    /// A request without headers and body, for at most 8 MiB, with a timeout of 30 s.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            max_bytes: 8 << 20,
            timeout_ms: 30_000,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets how many bytes of the response's body are kept.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sends it and reads the response.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorCode::Invalid) for a malformed URL or header,
    /// [`Denied`](crate::ErrorCode::Denied) by a policy, the grant or the task's
    /// network rule, [`Timeout`](crate::ErrorCode::Timeout),
    /// [`Unavailable`](crate::ErrorCode::Unavailable) if the server cannot be
    /// reached or breaks off.
    pub fn send(&self) -> Result<Response> {
        let address = Address::parse(&self.url)?;
        #[cfg(target_arch = "wasm32")]
        return exchange::send(self, &address);
        #[cfg(not(target_arch = "wasm32"))]
        return crate::testing::backend::http(self, &address);
    }
}

/// A response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status, 100 to 599.
    pub status: u16,
    /// Headers, with names in lower case. Values that are not UTF-8 have U+FFFD.
    pub headers: Vec<(String, String)>,
    /// The body, at most as much as was asked for.
    pub body: Vec<u8>,
    /// Whether there was more of the body.
    pub truncated: bool,
}

impl Response {
    /// The first header of this name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Where a redirect leads to, as the server wrote it: perhaps relative.
    pub fn redirect(&self) -> Option<&str> {
        matches!(self.status, 301 | 302 | 303 | 307 | 308).then(|| self.header("location")).flatten()
    }
}

/// Gets a URL; keeps at most `max_bytes` of the body.
///
/// # Errors
/// As [`Request::send`].
pub fn get(url: &str, headers: &[(&str, &str)], max_bytes: usize) -> Result<Response> {
    let request = Request::new("GET", url).max_bytes(max_bytes);
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send()
}
