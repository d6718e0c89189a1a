//! The [`HttpClient`] of tools.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use http::header::{HOST, HeaderValue};
use http::{Request, Response, Uri};
use rustls::ClientConfig;
use sortie_core::action::HttpRequest;
use sortie_core::text::one_line;
use sortie_policy::ports::{Body, ErrorCode, HttpClient, PortError};
use sortie_policy::{Permit, Seal};
use url::{Position, Url};

use super::exchange::{Bounds, exchange};
use super::fields::strip_hop_by_hop;
use super::meter::{Meter, Metered, Totals};
use super::reach::Reach;
use super::target::Target;
use super::tls::{self, NoRoots};

/// Bounds of a tool's request.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// The longest that agreeing on TLS takes.
    pub handshake: Duration,
    /// The longest until the response's head is there, from when the request is sent.
    pub head: Duration,
    /// The longest without a byte.
    pub idle: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { handshake: seconds(15), head: seconds(120), idle: seconds(120) }
    }
}

/// The most bytes of a response's head.
const MAX_HEAD: usize = 64 << 10;

/// Sends the requests of tools, as far as the task's [`Reach`] goes. HTTP/1.1,
/// one connection a request, no redirects, no proxy, no cookies. The body of
/// a response is bounded by whoever reads it.
pub struct ToolHttp {
    seal: Seal,
    reach: Arc<Reach>,
    limits: HttpLimits,
    tls: OnceLock<Result<Arc<ClientConfig>, NoRoots>>,
    totals: Arc<Totals>,
}

impl ToolHttp {
    /// A client for permits that bear this seal. The machine's certificate
    /// authorities are loaded at the first `https` request.
    pub fn new(seal: Seal, reach: Arc<Reach>) -> Self {
        let totals = Totals::of(Arc::clone(reach.meter()));
        Self { seal, reach, limits: HttpLimits::default(), tls: OnceLock::new(), totals }
    }

    /// The same with other bounds.
    pub fn with_limits(self, limits: HttpLimits) -> Self {
        Self { limits, ..self }
    }

    /// The same with another TLS configuration; see
    /// [`client_config`](super::client_config).
    pub fn with_tls(self, config: Arc<ClientConfig>) -> Self {
        Self { tls: OnceLock::from(Ok(config)), ..self }
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, PortError> {
        let config = self.tls.get_or_init(tls::system).clone();
        config.map_err(|error| PortError::new(ErrorCode::Unavailable, error.to_string()))
    }

    fn bounds(&self) -> Bounds {
        Bounds { head: self.limits.head, idle: self.limits.idle, max_head: MAX_HEAD }
    }
}

#[async_trait]
impl HttpClient for ToolHttp {
    async fn send(
        &self,
        permit: Permit<HttpRequest>,
        request: Request<Body>,
    ) -> Result<Response<Body>, PortError> {
        let url = permitted_url(&permit.redeem(self.seal)?, &request)?;
        let port = url.port_or_known_default().unwrap_or_default();
        let target = Target::new(url.host_str().unwrap_or_default(), port);
        let target = target.map_err(|error| invalid(error.to_string()))?;
        let request = addressed(request, &url)?;
        let stream = self.reach.connect(&target).await?;
        let meter = Meter::new(Arc::clone(&self.totals));
        let stream = Metered::new(stream, Arc::clone(&meter));
        if url.scheme() == "http" {
            return exchange(stream, meter, request, self.bounds()).await;
        }
        let secured = tls::secure(self.tls()?, &target, stream);
        match tokio::time::timeout(self.limits.handshake, secured).await {
            Ok(secured) => exchange(secured?, meter, request, self.bounds()).await,
            Err(_) => {
                let message = format!("no TLS with {target} within {} s", self.limits.handshake.as_secs());
                Err(PortError::new(ErrorCode::Timeout, message))
            }
        }
    }
}

/// The URL of the action, if the request is the one that it permits.
fn permitted_url(action: &HttpRequest, request: &Request<Body>) -> Result<Url, PortError> {
    let parse = |text: &str| {
        let mut url =
            Url::parse(text).map_err(|error| invalid(format!("{}: {error}", one_line(text, 200))))?;
        url.set_fragment(None);
        Ok::<Url, PortError>(url)
    };
    let permitted = parse(&action.url)?;
    if !matches!(permitted.scheme(), "http" | "https") {
        return Err(invalid(format!("`{}` is not fetched: only http and https are", permitted.scheme())));
    }
    if !permitted.username().is_empty() || permitted.password().is_some() {
        return Err(invalid("a URL with a user or a password is refused".into()));
    }
    let asked = parse(&request.uri().to_string())?;
    if request.method().as_str() != action.method || asked != permitted {
        return Err(invalid(format!(
            "the request `{} {}` is not the permitted `{} {}`",
            request.method(),
            one_line(asked.as_str(), 200),
            action.method,
            one_line(permitted.as_str(), 200)
        )));
    }
    Ok(permitted)
}

/// The request as its server takes it.
fn addressed(request: Request<Body>, url: &Url) -> Result<Request<Body>, PortError> {
    if request.method() == http::Method::CONNECT {
        return Err(invalid("tools have no CONNECT".into()));
    }
    let (mut parts, body) = request.into_parts();
    let origin = url[Position::BeforePath..Position::AfterQuery].parse::<Uri>();
    parts.uri = origin.map_err(|error| invalid(error.to_string()))?;
    parts.version = http::Version::HTTP_11;
    strip_hop_by_hop(&mut parts.headers);
    let host = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]);
    parts.headers.insert(HOST, host.map_err(|error| invalid(error.to_string()))?);
    Ok(Request::from_parts(parts, body))
}

fn invalid(message: String) -> PortError {
    PortError::new(ErrorCode::Invalid, message)
}
