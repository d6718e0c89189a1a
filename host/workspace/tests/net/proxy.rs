//! What the egress proxy lets through, and how it answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sortie_core::Phase;
use sortie_policy::FactsSource;
use sortie_policy::ports::NetworkMeter;
use sortie_workspace::egress::{AddressDialer, Proxy, ProxyLimits, SystemWire, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::servers::{Canned, echo, nobody};
use crate::support::{FakeWire, World};

/// A proxy on loopback.
pub(crate) struct Running {
    pub(crate) proxy: Proxy,
    pub(crate) address: SocketAddr,
}

impl Running {
    pub(crate) fn start(world: &World, wire: Arc<dyn Wire>, limits: ProxyLimits) -> Self {
        Self::metered(world, wire, limits, Arc::default())
    }

    pub(crate) fn metered(
        world: &World,
        wire: Arc<dyn Wire>,
        limits: ProxyLimits,
        meter: Arc<NetworkMeter>,
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let dialer =
            Arc::new(AddressDialer::new(world.gate.seal(), world.metered(wire, &[], Arc::clone(&meter))));
        let facts: Arc<dyn FactsSource> = Arc::clone(&world.facts) as _;
        let proxy = Proxy::start(listener, Arc::clone(&world.gate), dialer, facts, limits, meter);
        Self { proxy: proxy.expect("it starts"), address }
    }

    pub(crate) fn over_loopback(world: &World) -> Self {
        Self::start(world, Arc::new(SystemWire), ProxyLimits::default())
    }

    pub(crate) async fn open(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("the proxy listens")
    }

    /// Sends bytes on a connection of its own; the answer until the proxy closes.
    pub(crate) async fn send(&self, request: &str) -> String {
        let mut stream = self.open().await;
        stream.write_all(request.as_bytes()).await.expect("the proxy reads");
        let mut answer = String::new();
        // what is let through by mistake is an open tunnel, and would never end
        let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_string(&mut answer)).await;
        read.expect("the proxy closes").expect("the proxy answers with text");
        answer
    }

    pub(crate) async fn get(&self, url: &str) -> String {
        let host = url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).expect("an http URL");
        self.send(&format!("GET {url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
    }

    /// How many bytes of an answer arrive, whether it ends well or not.
    pub(crate) async fn get_bytes(&self, url: &str) -> usize {
        let host = url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).expect("an http URL");
        let mut stream = self.open().await;
        let request = format!("GET {url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("the proxy reads");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer.len()
    }

    pub(crate) async fn connect(&self, target: &str) -> String {
        self.send(&format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n")).await
    }
}

/// Reads an answer's head from a connection that stays open.
pub(crate) async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a whole head"));
    }
    String::from_utf8(head).expect("text")
}

pub(crate) fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[tokio::test]
async fn a_permitted_tunnel_carries_bytes_both_ways_and_closes_both_ways() {
    let server = echo().await;
    let running = Running::over_loopback(&World::under(&server.to_string()));
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        let mut stream = running.open().await;
        // the first bytes of the tunnel follow at once
        let request = format!("CONNECT {server} {version}\r\nHost: {server}\r\n\r\nhello");
        stream.write_all(request.as_bytes()).await.expect("the proxy reads");
        let answer = head(&mut stream).await;
        assert_eq!(status(&answer), "200", "{answer}");
        stream.write_all(b" world").await.expect("the tunnel is open");
        stream.shutdown().await.expect("it is open");
        let mut echoed = String::new();
        stream.read_to_string(&mut echoed).await.expect("text");
        assert_eq!(echoed, "hello world");
    }
    let traffic = running.proxy.traffic();
    assert_eq!((traffic.connections, traffic.requests, traffic.refused), (2, 2, 0));
    assert_eq!((traffic.sent, traffic.received), (22, 22));
}

#[tokio::test]
async fn without_a_rule_that_allows_it_nothing_goes_out_and_the_answer_says_what_would() {
    let server = Canned::saying("secret").await;
    let world = World::under("none");
    let running = Running::over_loopback(&world);
    let target = server.address.to_string();
    for answer in [running.connect(&target).await, running.get(&format!("http://{target}/x")).await] {
        assert_eq!(status(&answer), "403", "{answer}");
        assert!(answer.contains("x-sortie-refusal: default/-"), "{answer}");
        assert!(answer.contains("refused by default: the network rule of this phase is `none`"), "{answer}");
        assert!(answer.contains(&format!("`--network {target}`, would allow it")), "{answer}");
    }
    assert!(server.seen().is_empty());
    let refused = running.proxy.refused();
    assert_eq!(refused.len(), 1, "each once: {refused:?}");
    assert_eq!(refused[0].action, format!("network-connect {target}"));
    assert_eq!(running.proxy.traffic().refused, 2);
}

#[tokio::test]
async fn a_policys_refusal_names_the_policy_and_its_rule() {
    let wire = Arc::new(FakeWire::to(echo().await).answer("bad.example", &["8.8.8.8"]));
    let running =
        Running::start(&World::with("all", "all", "bad.example"), wire.clone(), ProxyLimits::default());
    for target in ["bad.example:443", "BAD.example.:443", "BAD.EXAMPLE:443"] {
        let answer = running.connect(target).await;
        assert_eq!(status(&answer), "403", "{answer}");
        assert!(answer.contains("x-sortie-refusal: list/no-such-host"), "{answer}");
        assert!(
            answer.contains("bad.example:443: refused by list (rule `no-such-host`): it is on the list"),
            "{answer}"
        );
    }
    assert_eq!(wire.resolutions(), 0);
}

#[tokio::test]
async fn addresses_that_are_not_public_are_refused_in_any_spelling() {
    let server = Canned::saying("secret").await;
    let port = server.address.port();
    let running = Running::over_loopback(&World::under("all"));
    for host in
        ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "localhost", "LOCALHOST.", "[::ffff:127.0.0.1]"]
    {
        let tunnel = running.connect(&format!("{host}:{port}")).await;
        let request = running.get(&format!("http://{host}:{port}/")).await;
        for answer in [tunnel, request] {
            assert_eq!(status(&answer), "403", "{host}: {answer}");
            assert!(answer.contains("x-sortie-refusal: egress/public-addresses"), "{answer}");
        }
    }
    assert!(server.seen().is_empty());
    let refused = running.proxy.refused();
    assert_eq!(refused[0].policy, "egress");
    assert!(refused[0].remedy.as_deref().is_some_and(|remedy| remedy.contains("trusted = [")), "{refused:?}");
}

#[tokio::test]
async fn a_request_is_passed_on_as_its_server_takes_it() {
    let response =
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nkeep-alive: 5\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\nok";
    let server = Canned::start(response).await;
    let running = Running::over_loopback(&World::under(&server.address.to_string()));
    let host = server.address;
    let request = format!(
        "POST http://{host}/a?b=c HTTP/1.1\r\nHost: {host}\r\nConnection: close, X-Drop\r\nX-Drop: 1\r\n\
         Proxy-Authorization: Basic eA==\r\nUpgrade: h2c\r\nX-Keep: 1\r\nContent-Length: 4\r\n\r\nbody"
    );
    let answer = running.send(&request).await;
    assert_eq!(status(&answer), "200", "{answer}");
    assert!(
        answer.ends_with("\r\n\r\nok") && !answer.contains("x-hop") && !answer.contains("keep-alive"),
        "{answer}"
    );
    let seen = server.seen().remove(0);
    assert!(seen.starts_with("post /a?b=c http/1.1\r\n") && seen.ends_with("\r\n\r\nbody"), "{seen}");
    assert!(seen.contains(&format!("host: {host}\r\n")) && seen.contains("x-keep: 1"), "{seen}");
    for gone in ["x-drop", "proxy-authorization", "upgrade", "connection"] {
        assert!(!seen.contains(gone), "{gone} was passed on: {seen}");
    }
}

#[tokio::test]
async fn a_body_with_two_lengths_reaches_the_server_with_one() {
    let server = Canned::saying("ok").await;
    let running = Running::over_loopback(&World::under(&server.address.to_string()));
    let host = server.address;
    let smuggled = format!(
        "POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"
    );
    assert_eq!(status(&running.send(&smuggled).await), "200");
    let [seen]: [String; 1] = server.seen().try_into().expect("it was passed on, once");
    let both = seen.contains("content-length") && seen.contains("transfer-encoding");
    assert!(!both && !seen.ends_with('g'), "{seen}");
    let differing = format!(
        "POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"
    );
    assert_eq!(status(&running.send(&differing).await), "400");
}

#[tokio::test]
async fn requests_that_do_not_say_one_thing_are_refused() {
    let server = Canned::saying("secret").await;
    let host = server.address;
    let world = World::under(&host.to_string());
    let running = Running::over_loopback(&world);
    for request in [
        format!("GET http://{host}/ HTTP/1.1\r\nHost: other.example\r\n\r\n"),
        format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nHost: other.example\r\n\r\n"),
        format!("GET http://{host}/ HTTP/1.1\r\n\r\n"),
        format!("GET http://{host}/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n"),
        format!("GET http://user:password@{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET https://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET ftp://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        "CONNECT example.org HTTP/1.1\r\nHost: example.org\r\n\r\n".into(),
        format!("CONNECT user@{host} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhello"),
        format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        "CONNECT 127.0.0.1:0 HTTP/1.1\r\nHost: x\r\n\r\n".into(),
        "not http at all\r\n\r\n".into(),
    ] {
        let answer = running.send(&request).await;
        assert_eq!(status(&answer), "400", "{request}: {answer}");
    }
    assert!(server.seen().is_empty());
    assert!(world.audit.decisions().is_empty(), "nothing of it was worth a decision");
}

#[tokio::test]
async fn each_request_on_a_kept_connection_is_an_action_of_its_own() {
    let server = Canned::saying("ok").await;
    let host = server.address;
    let world = World::under(&host.to_string());
    let running = Running::over_loopback(&world);
    let mut stream = running.open().await;
    let first = format!("GET http://{host}/1 HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(first.as_bytes()).await.expect("the proxy reads");
    assert_eq!(status(&head(&mut stream).await), "200");
    let mut body = [0; 2];
    stream.read_exact(&mut body).await.expect("the body");
    let second = b"GET http://other.example/ HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n";
    stream.write_all(second).await.expect("the connection is kept");
    assert_eq!(status(&head(&mut stream).await), "403");
    let targets: Vec<_> = world.audit.decisions().into_iter().map(|(_, target)| target).collect();
    assert_eq!(targets, [host.to_string(), "other.example:80".into()]);
}

#[tokio::test]
async fn the_phase_decides_the_rule_and_who_acts() {
    let server = Canned::saying("ok").await;
    let url = format!("http://{}/", server.address);
    let world = World::with(&server.address.to_string(), "none", "");
    let running = Running::over_loopback(&world);
    world.facts.enter(Phase::Prepare);
    assert_eq!(status(&running.get(&url).await), "200");
    world.facts.enter(Phase::Work);
    assert_eq!(status(&running.get(&url).await), "403");
    let actors: Vec<_> = world.audit.decisions().into_iter().map(|(actor, _)| actor).collect();
    assert_eq!(actors, ["host", "agent"]);
}

#[tokio::test]
async fn a_redirect_is_handed_back_and_not_followed() {
    let other = Canned::saying("secret").await;
    let location = format!("http://{}/", other.address);
    let redirect = format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
    let server = Canned::start(redirect).await;
    let running = Running::over_loopback(&World::under(&format!("{},{}", server.address, other.address)));
    let answer = running.get(&format!("http://{}/", server.address)).await;
    assert_eq!(status(&answer), "302");
    assert!(answer.contains(&location), "{answer}");
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_or_does_not_speak_http_is_502() {
    let absent = nobody().await;
    let upgrading =
        Canned::start("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n").await;
    let garbage = Canned::start("220 mail.example ESMTP\r\n").await;
    let rule = format!("{absent},{},{}", upgrading.address, garbage.address);
    let running = Running::over_loopback(&World::under(&rule));
    let answer = running.connect(&absent.to_string()).await;
    assert_eq!(status(&answer), "502");
    assert!(answer.contains(&format!("cannot connect to {absent}")), "{answer}");
    for server in [absent, upgrading.address, garbage.address] {
        let answer = running.get(&format!("http://{server}/")).await;
        assert_eq!(status(&answer), "502", "{answer}");
    }
    assert_eq!(running.proxy.traffic().failed, 4);
    assert!(running.proxy.refused().is_empty());
}
