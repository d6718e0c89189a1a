//! Requests for `http://` URLs, passed on one by one.

use std::sync::Arc;

use http::header::{HOST, HeaderValue};
use http::uri::Authority;
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use sortie_core::action::NetworkConnect;
use sortie_policy::ports::Body;

use super::Shared;
use super::reject::Rejection;
use crate::egress::exchange::{Bounds, exchange};
use crate::egress::fields::strip_hop_by_hop;
use crate::egress::meter::Metered;
use crate::egress::target::Target;

/// The port of `http`.
const PORT: u16 = 80;

/// Has the request permitted, sends it on a connection of its own, and
/// returns the response.
pub(super) async fn forward(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Rejection> {
    let target = target_of(&request)?;
    let shown = Some(format!("{} {}", request.method(), request.uri()));
    let connect = NetworkConnect { host: target.host.clone(), port: target.port, request: shown.clone() };
    let permit = shared.permit(connect).await?;
    if permit.action().request != shown {
        let text = "a policy changed the method or the URL, which the egress proxy cannot do";
        return Err(Rejection::bad_request(text));
    }
    let request = addressed(request, &target)?;
    let (stream, meter) = shared.connect(permit).await?;
    let stream = Metered::new(stream, Arc::clone(&meter));
    let limits = &shared.limits;
    let bounds = Bounds { head: limits.response, idle: limits.idle, max_head: limits.max_head };
    let mut response = exchange(stream, meter, request, bounds).await?;
    strip_hop_by_hop(response.headers_mut());
    Ok(response)
}

/// The host that the request is for, which its URL and its `Host` agree on.
fn target_of(request: &Request<Incoming>) -> Result<Target, Rejection> {
    let uri = request.uri();
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(Rejection::bad_request("this is a proxy: it takes whole `http://` URLs, and CONNECT"));
    };
    if scheme != "http" {
        return Err(Rejection::bad_request("this proxy takes `http://` URLs; for others use CONNECT"));
    }
    let target = target_in(authority)?;
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            let host = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
            let host = host.ok_or_else(|| Rejection::bad_request("the `Host` field names no host"))?;
            if target_in(&host)? != target {
                return Err(Rejection::bad_request("the `Host` field and the URL name different hosts"));
            }
        }
        (None, _) if request.version() < Version::HTTP_11 => {}
        _ => return Err(Rejection::bad_request("a request has exactly one `Host` field")),
    }
    Ok(target)
}

fn target_in(authority: &Authority) -> Result<Target, Rejection> {
    if authority.as_str().contains('@') {
        return Err(Rejection::bad_request("a URL with a user or a password is refused"));
    }
    let wrong_port = authority.port().is_some() && authority.port_u16().is_none();
    if wrong_port {
        return Err(Rejection::bad_request("the URL has no valid port"));
    }
    let port = authority.port_u16().unwrap_or(PORT);
    Target::new(authority.host(), port).map_err(|error| Rejection::bad_request(error.to_string()))
}

/// The request as its server takes it.
fn addressed(request: Request<Incoming>, target: &Target) -> Result<Request<Incoming>, Rejection> {
    let (mut parts, body) = request.into_parts();
    let origin = parts.uri.path_and_query().map_or("/", |origin| origin.as_str());
    let wrong = |_| Rejection::bad_request("the URL has no valid path");
    parts.uri = origin.parse::<Uri>().map_err(wrong)?;
    parts.version = Version::HTTP_11;
    strip_hop_by_hop(&mut parts.headers);
    let shown = target.to_string();
    let host = shown.strip_suffix(":80").unwrap_or(&shown);
    let host = HeaderValue::from_str(host).expect("a target is plain text");
    parts.headers.insert(HOST, host);
    Ok(Request::from_parts(parts, body))
}
