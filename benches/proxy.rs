//! Bytes through the egress proxy, against the same server without it, on
//! loopback.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use sortie_policy::ports::NetworkMeter;
use sortie_policy::{Defaults, FactsSource};
use sortie_testing::Unkept;
use sortie_workspace::egress::{AddressDialer, Proxy, ProxyLimits, Reach};

use crate::table::{Table, Times, ratio};
use crate::world::still;

/// Bytes of one download.
const BYTES: usize = 512 << 20;
/// Downloads by each way; one more before, which does not count.
const ROUNDS: usize = 7;
/// Bytes that the server writes at a time.
const WRITTEN: usize = 64 << 10;
/// Bytes that the client reads at a time: what curl does, and more than pip.
const READ: usize = 16 << 10;

/// How a client comes by the bytes.
#[derive(Clone, Copy)]
enum Way {
    Direct,
    /// `CONNECT`, as for https.
    Tunnel(SocketAddr),
    /// `GET` of an `http://` URL.
    Request(SocketAddr),
}

pub(crate) fn measure(table: &mut Table) -> anyhow::Result<()> {
    let server = server()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let proxy = listener.local_addr()?;
    let running = runtime.block_on(async { start(listener, server) })?;

    let (mut direct, mut tunnel, mut request) = (Times::default(), Times::default(), Times::default());
    // by turns, so that what else the machine does falls on all of them
    for round in 0..=ROUNDS {
        if round == 1 {
            (direct, tunnel, request) = Default::default();
        }
        direct.push(download(server, Way::Direct)?);
        tunnel.push(download(server, Way::Tunnel(proxy))?);
        request.push(download(server, Way::Request(proxy))?);
    }
    let traffic = running.traffic();
    let moved = 2 * (ROUNDS as u64 + 1) * BYTES as u64;
    ensure!(traffic.received >= moved && traffic.refused + traffic.failed == 0, "{traffic:?}");
    runtime.block_on(running.stop());

    table.note("loopback without the proxy", rate(direct.median()), "MB/s");
    table.note("  a tunnel through the proxy", rate(tunnel.median()), "MB/s");
    table.at_least("  a tunnel against none", ratio(direct.median(), tunnel.median()), "times", 0.5);
    table.note("  requests through the proxy", rate(request.median()), "MB/s");
    table.at_least("  requests against none", ratio(direct.median(), request.median()), "times", 0.5);
    Ok(())
}

/// A proxy whose task may connect to the server alone.
fn start(listener: TcpListener, server: SocketAddr) -> anyhow::Result<Proxy> {
    let defaults = Defaults { agent_network: server.to_string().parse()?, ..sortie_testing::defaults() };
    let facts = Arc::new(still());
    let meter = Arc::new(NetworkMeter::new(Some(u64::MAX)));
    let gate = sortie_testing::gate_with(Vec::new(), defaults.clone(), Arc::clone(&facts), Arc::new(Unkept));
    let facts: Arc<dyn FactsSource> = facts;
    let reach = Reach::new(defaults, Vec::new(), Arc::clone(&facts)).metered(Arc::clone(&meter));
    let dialer = Arc::new(AddressDialer::new(gate.seal(), Arc::new(reach)));
    Ok(Proxy::start(listener, Arc::new(gate), dialer, facts, ProxyLimits::default(), meter)?)
}

/// Answers each request with as many bytes, on a thread of its own.
fn server() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // whoever goes away early is not served to the end
            let _ = head(&mut stream).and_then(|_| answer(&mut stream));
        }
    });
    Ok(address)
}

fn answer(stream: &mut TcpStream) -> anyhow::Result<()> {
    stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {BYTES}\r\n\r\n").as_bytes())?;
    let block = vec![b'x'; WRITTEN];
    for _ in 0..BYTES / WRITTEN {
        stream.write_all(&block)?;
    }
    Ok(())
}

/// Reads up to the empty line.
fn head(stream: &mut TcpStream) -> anyhow::Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8(head)?)
}

/// How long all bytes of a response take, with the connection made before.
fn download(server: SocketAddr, way: Way) -> anyhow::Result<Duration> {
    let (address, target) = match way {
        Way::Direct => (server, "/".to_owned()),
        Way::Tunnel(proxy) => (proxy, "/".to_owned()),
        Way::Request(proxy) => (proxy, format!("http://{server}/")),
    };
    let mut stream = TcpStream::connect(address)?;
    if let Way::Tunnel(_) = way {
        stream.write_all(format!("CONNECT {server} HTTP/1.1\r\nhost: {server}\r\n\r\n").as_bytes())?;
        let answer = head(&mut stream)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let start = Instant::now();
    let request = format!("GET {target} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let answer = head(&mut stream)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut block = vec![0; READ];
    let mut left = BYTES;
    while left > 0 {
        let count = stream.read(&mut block).context("the download breaks off")?;
        ensure!(count > 0, "the download ends {left} bytes early");
        left -= count;
    }
    Ok(start.elapsed())
}

fn rate(time: Duration) -> f64 {
    BYTES as f64 / 1e6 / time.as_secs_f64()
}
