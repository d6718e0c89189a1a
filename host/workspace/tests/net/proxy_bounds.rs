//! What a workspace cannot do to the egress proxy.

use std::sync::Arc;
use std::time::Duration;

use sortie_workspace::egress::{ProxyLimits, SystemWire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::proxy::{Running, head};
use crate::servers::echo;
use crate::support::{World, open_many};

async fn tunnel(running: &Running, server: impl std::fmt::Display) -> TcpStream {
    let mut stream = running.open().await;
    let request = format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the proxy reads");
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 200"));
    stream
}

#[tokio::test]
async fn a_huge_head_is_refused() {
    let running = Running::over_loopback(&World::under("all"));
    let mut stream = running.open().await;
    let huge = format!("CONNECT example.org:443 HTTP/1.1\r\nX-Huge: {}", "x".repeat(64 << 10));
    // the proxy may close before it has read all of it
    let _ = stream.write_all(huge.as_bytes()).await;
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.expect("an answer");
    assert_eq!(&start, b"HTTP/1.1 431");
}

#[tokio::test]
async fn a_head_with_too_many_fields_is_refused() {
    let running = Running::over_loopback(&World::under("all"));
    let fields = "a: b\r\n".repeat(200);
    let answer = running.send(&format!("CONNECT example.org:443 HTTP/1.1\r\n{fields}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_given_up() {
    let running = Running::over_loopback(&World::under("all"));
    for beginning in ["", "CONNECT exam"] {
        let mut stream = running.open().await;
        stream.write_all(beginning.as_bytes()).await.expect("the proxy reads");
        let mut answer = Vec::new();
        // returns because the proxy closes: nothing else ends this
        let _ = stream.read_to_end(&mut answer).await;
    }
    assert_eq!(running.proxy.traffic().requests, 0);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_byte_by_byte_is_given_up() {
    let running = Running::over_loopback(&World::under("all"));
    let (mut from, mut to) = running.open().await.into_split();
    // each byte in time, for longer than a head may take
    let trickle = tokio::spawn(async move {
        for byte in b"CONNECT".iter().cycle().take(1000) {
            if to.write_all(&[*byte]).await.is_err() {
                return true;
            }
            // the kernel's time is not paused
            std::thread::sleep(Duration::from_millis(10));
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        false
    });
    let mut answer = Vec::new();
    let _ = from.read_to_end(&mut answer).await;
    assert!(trickle.await.expect("it only writes"), "the proxy read it to its end");
    assert_eq!(running.proxy.traffic().requests, 0);
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_moves_is_closed() {
    let server = echo().await;
    let limits = ProxyLimits { idle: Duration::from_millis(50), ..ProxyLimits::default() };
    let running = Running::start(&World::under(&server.to_string()), Arc::new(SystemWire), limits);
    let mut stream = tunnel(&running, server).await;
    let mut rest = Vec::new();
    // returns because the proxy closes: neither end does
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn two_hundred_tunnels_at_once_do_not_mix() {
    open_many();
    let server = echo().await;
    let running = Arc::new(Running::over_loopback(&World::under(&server.to_string())));
    let tunnels = (0..200).map(|number| {
        let running = Arc::clone(&running);
        tokio::spawn(async move {
            let mut stream = tunnel(&running, server).await;
            let sent = format!("{number};").repeat(1000);
            let (mut from, mut to) = stream.split();
            let send = async {
                to.write_all(sent.as_bytes()).await.expect("the tunnel is open");
                to.shutdown().await.expect("the tunnel is open");
            };
            let mut received = String::new();
            let (read, ()) = tokio::join!(from.read_to_string(&mut received), send);
            read.expect("text");
            assert!(received == sent, "tunnel {number} is mixed up");
        })
    });
    for tunnel in tunnels.collect::<Vec<_>>() {
        tunnel.await.expect("it carried its own bytes");
    }
    assert_eq!(running.proxy.traffic().connections, 200);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place_and_tunnels_hold_theirs() {
    let server = echo().await;
    let limits = ProxyLimits { connections: 1, ..ProxyLimits::default() };
    let running = Running::start(&World::under(&server.to_string()), Arc::new(SystemWire), limits);
    let first = tunnel(&running, server).await;
    let mut second = running.open().await;
    second
        .write_all(format!("CONNECT {server} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
        .await
        .expect("buffered");
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.proxy.traffic().connections, 1);
    drop(first);
    assert!(head(&mut second).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn stopping_closes_tunnels_and_the_listener() {
    let server = echo().await;
    // nothing but the stop ends them within the hour
    let hour = Duration::from_secs(3600);
    let limits = ProxyLimits { head: hour, idle: hour, ..ProxyLimits::default() };
    let running = Running::start(&World::under(&server.to_string()), Arc::new(SystemWire), limits);
    let mut open = tunnel(&running, server).await;
    let mut waiting = running.open().await;
    running.proxy.stop().await;
    let mut rest = Vec::new();
    let _ = open.read_to_end(&mut rest).await;
    let _ = waiting.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    TcpStream::connect(running.address).await.expect_err("nobody listens any more");
}

#[tokio::test]
async fn a_dropped_proxy_ends() {
    let server = echo().await;
    let running = Running::over_loopback(&World::under(&server.to_string()));
    let mut open = tunnel(&running, server).await;
    drop(running);
    let mut rest = Vec::new();
    let _ = open.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}
