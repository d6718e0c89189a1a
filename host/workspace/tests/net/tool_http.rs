//! HTTP requests of tools.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use sortie_core::action::HttpRequest;
use sortie_policy::ports::{Body, ErrorCode, HttpClient, PortError};
use sortie_testing::https::{self, Identity};
use sortie_workspace::egress::{HttpLimits, SystemWire, ToolHttp, client_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::servers::{Canned, nobody};
use crate::support::{FakeWire, World};

fn client(world: &World) -> ToolHttp {
    ToolHttp::new(world.gate.seal(), world.reach(Arc::new(SystemWire), &[]))
}

fn action(method: &str, url: &str) -> HttpRequest {
    HttpRequest { method: method.into(), url: url.into() }
}

fn request(method: &str, url: &str, body: &str) -> Request<Body> {
    let body = Full::new(Bytes::from(body.to_owned())).map_err(|never| match never {}).boxed_unsync();
    Request::builder().method(method).uri(url).body(body).expect("a request")
}

async fn get(world: &World, client: &ToolHttp, url: &str) -> Result<Response<Body>, PortError> {
    client.send(world.permit(action("GET", url)).await, request("GET", url, "")).await
}

async fn text(response: Response<Body>) -> String {
    let body = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}

#[tokio::test]
async fn a_permitted_request_is_sent_and_its_response_read() {
    let server = Canned::saying("hello").await;
    let world = World::under(&server.address.to_string());
    let url = format!("http://{}/a%20b?c=d#fragment", server.address);
    let permit = world.permit(action("POST", &url)).await;
    let mut sent = request("POST", &url, "body");
    sent.headers_mut().insert("host", "other.example".parse().expect("a value"));
    sent.headers_mut().insert("proxy-authorization", "Basic eA==".parse().expect("a value"));
    sent.headers_mut().insert("accept", "text/plain".parse().expect("a value"));
    let response = client(&world).send(permit, sent).await.expect("it is sent");
    assert_eq!(text(response).await, "hello");
    let seen = server.seen().remove(0);
    assert!(seen.starts_with("post /a%20b?c=d http/1.1\r\n") && seen.ends_with("\r\n\r\nbody"), "{seen}");
    assert!(
        seen.contains(&format!("host: {}\r\n", server.address)) && seen.contains("accept: text/plain"),
        "{seen}"
    );
    assert!(!seen.contains("other.example") && !seen.contains("proxy-authorization"), "{seen}");
}

#[tokio::test]
async fn a_permit_for_one_request_sends_no_other() {
    let server = Canned::saying("secret").await;
    let world = World::under("all");
    let client = client(&world);
    let url = format!("http://{}/a", server.address);
    for (method, asked) in [
        ("POST", url.clone()),
        ("GET", format!("http://{}/b", server.address)),
        ("GET", format!("http://{}/a?q", server.address)),
        ("GET", format!("https://{}/a", server.address)),
        ("GET", "http://127.0.0.1:1/a".into()),
    ] {
        let permit = world.permit(action("GET", &url)).await;
        let error = client.send(permit, request(method, &asked, "")).await.expect_err(&asked);
        assert_eq!(error.code, ErrorCode::Invalid, "{method} {asked}: {error}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn methods_of_a_rule_hold_for_tools_over_https_too() {
    let world = World::under("GET@a.example,POST@b.example:8443");
    let asked = |method: &str, url: &str| {
        let action = action(method, url);
        let gate = Arc::clone(&world.gate);
        async move { gate.permit(&sortie_core::Actor::Agent, action).await.map(drop).map_err(|no| no.to_string()) }
    };
    asked("GET", "https://a.example/x").await.expect("is allowed");
    asked("POST", "https://b.example:8443/").await.expect("is allowed");
    for (method, url) in
        [("POST", "https://a.example/x"), ("GET", "https://b.example:8443/"), ("POST", "https://b.example/")]
    {
        let refused = asked(method, url).await.expect_err("is refused");
        assert!(
            refused.contains("the network rule of this phase is `GET@a.example,POST@b.example:8443`"),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn refuses_a_permit_of_another_gate() {
    let server = Canned::saying("secret").await;
    let rule = server.address.to_string();
    let (world, other) = (World::under(&rule), World::under(&rule));
    let url = format!("http://{rule}/");
    let permit = other.permit(action("GET", &url)).await;
    let error = client(&world).send(permit, request("GET", &url, "")).await.expect_err("foreign");
    assert_eq!(error.code, ErrorCode::Denied);
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn addresses_that_are_not_public_are_refused_in_any_spelling() {
    let server = Canned::saying("secret").await;
    let port = server.address.port();
    let world = World::under("all");
    for host in ["127.0.0.1", "127.1", "0x7f.1", "LOCALHOST", "localhost.", "[::ffff:127.0.0.1]", "[::1]"] {
        let error = get(&world, &client(&world), &format!("http://{host}:{port}/")).await.expect_err(host);
        assert_eq!(error.code, ErrorCode::Denied, "{host}: {error}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn urls_with_credentials_or_other_schemes_are_refused() {
    let world = World::under("all");
    for url in ["http://user:password@example.org/", "ftp://example.org/"] {
        let error = get(&world, &client(&world), url).await.expect_err(url);
        assert_eq!(error.code, ErrorCode::Invalid, "{url}: {error}");
    }
}

#[tokio::test]
async fn a_redirect_is_handed_back_and_not_followed() {
    let other = Canned::saying("secret").await;
    let redirect =
        format!("HTTP/1.1 301 Moved\r\nlocation: http://{}/\r\ncontent-length: 0\r\n\r\n", other.address);
    let server = Canned::start(redirect).await;
    let world = World::under(&format!("{},{}", server.address, other.address));
    let response =
        get(&world, &client(&world), &format!("http://{}/", server.address)).await.expect("it is sent");
    assert_eq!(response.status(), 301);
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn servers_that_fail_are_unavailable() {
    let absent = nobody().await;
    let huge = Canned::start(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(200 << 10))).await;
    let garbage = Canned::start("220 mail.example ESMTP\r\n").await;
    let upgrading =
        Canned::start("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n").await;
    for server in [absent, huge.address, garbage.address, upgrading.address] {
        let world = World::under(&server.to_string());
        let error =
            get(&world, &client(&world), &format!("http://{server}/")).await.expect_err("no response");
        assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_and_not_an_end() {
    let server = Canned::start("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    let world = World::under(&server.address.to_string());
    let response =
        get(&world, &client(&world), &format!("http://{}/", server.address)).await.expect("a head");
    let error = response.into_body().collect().await.expect_err("half a body");
    assert_eq!(error.code, ErrorCode::Unavailable);
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let server = listener.local_addr().expect("it is bound");
    let world = World::under(&server.to_string());
    let limits = HttpLimits { head: Duration::from_millis(50), ..HttpLimits::default() };
    let client = client(&world).with_limits(limits);
    let error = get(&world, &client, &format!("http://{server}/")).await.expect_err("no response");
    assert_eq!(error.code, ErrorCode::Timeout);
    let limits = HttpLimits { handshake: Duration::from_millis(50), ..limits };
    let client = client.with_tls(client_config(rustls::RootCertStore::empty())).with_limits(limits);
    let error = get(&world, &client, &format!("https://{server}/")).await.expect_err("no handshake");
    assert_eq!(error.code, ErrorCode::Timeout);
}

#[tokio::test]
async fn dropping_a_response_ends_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let server = listener.local_addr().expect("it is bound");
    let world = World::under(&server.to_string());
    let accepted = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nstart";
        stream.write_all(head).await.expect("the client reads");
        let mut rest = Vec::new();
        // returns because the client closes
        let _ = stream.read_to_end(&mut rest).await;
    });
    let response = get(&world, &client(&world), &format!("http://{server}/")).await.expect("a head");
    drop(response);
    accepted.await.expect("the server saw the end");
}

#[tokio::test]
async fn a_request_whose_body_never_ends_does_not_outlive_its_response() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let server = listener.local_addr().expect("it is bound");
    let world = World::under(&server.to_string());
    let accepted = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut some = [0; 16];
        stream.read_exact(&mut some).await.expect("a request");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("the client reads");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    // nothing but the end of the exchange ends the connection within the hour
    let limits = HttpLimits { idle: Duration::from_secs(3600), ..HttpLimits::default() };
    let client = client(&world).with_limits(limits);
    let url = format!("http://{server}/");
    let endless = futures_util::stream::pending::<Result<hyper::body::Frame<Bytes>, PortError>>();
    let body = http_body_util::StreamBody::new(endless).boxed_unsync();
    let request = Request::builder().method("POST").uri(&url).body(body).expect("a request");
    let response = client.send(world.permit(action("POST", &url)).await, request).await.expect("a response");
    assert_eq!(text(response).await, "ok");
    let seen = tokio::time::timeout(Duration::from_secs(60), accepted).await;
    seen.expect("the connection ends").expect("no panic");
}

/// A TLS server for one name, and a configuration that trusts it.
async fn tls_server(name: &str) -> (SocketAddr, Arc<rustls::ClientConfig>) {
    let identity = Identity::of(name);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(identity.certificate().clone()).expect("a root");
    let address = identity.serve(|_| https::response("200 OK", &[], b"secure")).await;
    (address, client_config(roots))
}

#[tokio::test]
async fn https_is_checked_against_the_name_and_the_roots() {
    let (server, trusting) = tls_server("secure.example").await;
    let world = World::under("all");
    let client = |config| {
        let wire =
            FakeWire::to(server).answer("secure.example", &["8.8.8.8"]).answer("other.example", &["8.8.8.8"]);
        ToolHttp::new(world.gate.seal(), world.reach(Arc::new(wire), &[])).with_tls(config)
    };
    let response =
        get(&world, &client(Arc::clone(&trusting)), "https://secure.example/").await.expect("it is trusted");
    assert_eq!(text(response).await, "secure");
    let error = get(&world, &client(trusting), "https://other.example/").await.expect_err("another name");
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.message.starts_with("no TLS with other.example:443"), "{}", error.message);
    let nobody = client_config(rustls::RootCertStore::empty());
    let error = get(&world, &client(nobody), "https://secure.example/").await.expect_err("an unknown root");
    assert_eq!(error.code, ErrorCode::Unavailable);
}
