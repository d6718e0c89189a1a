//! Requests that take long to send, and servers that take long to answer them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use sortie_core::action::HttpRequest;
use sortie_policy::ports::{Body, ErrorCode, HttpClient, PortError};
use sortie_workspace::egress::{HttpLimits, ProxyLimits, SystemWire, ToolHttp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::proxy::{Running, status};
use crate::servers::Canned;
use crate::support::World;

const HOUR: Duration = Duration::from_secs(3600);

/// Uploads a little at a time for so long; the answer.
async fn upload(running: &Running, server: SocketAddr, lasts: Duration) -> String {
    let (mut from, mut to) = running.open().await.into_split();
    let head = format!(
        "POST http://{server}/ HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    to.write_all(head.as_bytes()).await.expect("the proxy reads");
    let begun = Instant::now();
    // a proxy that answers before the end may close
    while begun.elapsed() < lasts && to.write_all(b"4\r\nmore\r\n").await.is_ok() {
        tokio::time::sleep(lasts / 50).await;
    }
    let _ = to.write_all(b"0\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = from.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn an_upload_may_take_longer_than_a_server_may_for_its_answer() {
    let server = Canned::saying("ok").await;
    let response = Duration::from_secs(2);
    let limits = ProxyLimits { response, ..ProxyLimits::default() };
    let running = Running::start(&World::under(&server.address.to_string()), Arc::new(SystemWire), limits);
    let answer = upload(&running, server.address, response * 5 / 4).await;
    assert_eq!(status(&answer), "200", "{answer}");
    let seen = server.seen().remove(0);
    assert!(seen.matches("more").count() > 1 && seen.ends_with("0\r\n\r\n"), "{seen}");
}

/// A server whose response's head never ends, and always moves.
async fn dripping() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await;
                while stream.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
        }
    });
    address
}

async fn send(server: SocketAddr, limits: HttpLimits, method: &str, body: Body) -> PortError {
    let world = World::under(&server.to_string());
    let client = ToolHttp::new(world.gate.seal(), world.reach(Arc::new(SystemWire), &[])).with_limits(limits);
    let url = format!("http://{server}/");
    let permit = world.permit(HttpRequest { method: method.into(), url: url.clone() }).await;
    let request = Request::builder().method(method).uri(&url).body(body).expect("a request");
    client.send(permit, request).await.expect_err("is given up")
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_does_not_prolong_the_wait_for_it() {
    let server = dripping().await;
    let limits = HttpLimits { head: Duration::from_millis(200), idle: HOUR, ..HttpLimits::default() };
    let empty = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    let error = send(server, limits, "GET", empty).await;
    assert_eq!(error.code, ErrorCode::Timeout, "{error}");
    assert!(error.message.contains("no response within"), "{error}");
}

#[tokio::test]
async fn an_upload_in_which_nothing_moves_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let server = listener.local_addr().expect("it is bound");
    let limits = HttpLimits { head: HOUR, idle: Duration::from_millis(200), ..HttpLimits::default() };
    let stalled = futures_util::stream::pending::<Result<Frame<Bytes>, PortError>>();
    let error = send(server, limits, "POST", StreamBody::new(stalled).boxed_unsync()).await;
    assert_eq!(error.code, ErrorCode::Timeout, "{error}");
    assert!(error.message.contains("nothing was sent or received for"), "{error}");
}
