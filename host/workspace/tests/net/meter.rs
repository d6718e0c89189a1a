//! What a task may move over the network.

use std::sync::Arc;

use sortie_policy::ports::NetworkMeter;
use sortie_workspace::egress::{ProxyLimits, SystemWire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::proxy::{Running, head, status};
use crate::servers::{Canned, echo};
use crate::support::World;

fn metered(world: &World, max: u64) -> (Running, Arc<NetworkMeter>) {
    let meter = Arc::new(NetworkMeter::new(Some(max)));
    let running = Running::metered(world, Arc::new(SystemWire), ProxyLimits::default(), Arc::clone(&meter));
    (running, meter)
}

#[tokio::test]
async fn bytes_of_requests_and_of_tunnels_are_counted_together() {
    let (server, echo) = (Canned::saying("0123456789").await, echo().await);
    let world = World::under(&format!("{},{echo}", server.address));
    let (running, meter) = metered(&world, 1 << 20);
    assert_eq!(status(&running.get(&format!("http://{}/", server.address)).await), "200");
    let after_request = meter.used();
    let sent: u64 = server.seen().iter().map(|seen| seen.len() as u64).sum();
    assert_eq!(after_request.sent, sent);
    assert!(after_request.received > 10, "head and body: {after_request:?}");
    let mut tunnel = running.open().await;
    tunnel
        .write_all(format!("CONNECT {echo} HTTP/1.1\r\nHost: x\r\n\r\nhello").as_bytes())
        .await
        .expect("read");
    head(&mut tunnel).await;
    tunnel.shutdown().await.expect("it is open");
    let mut echoed = String::new();
    tunnel.read_to_string(&mut echoed).await.expect("text");
    let used = meter.used();
    assert_eq!((used.sent, used.received), (after_request.sent + 5, after_request.received + 5));
    let traffic = running.proxy.traffic();
    assert_eq!((traffic.sent, traffic.received), (used.sent, used.received));
}

#[tokio::test]
async fn beyond_its_bytes_a_task_moves_nothing_more_and_is_told_which_setting_says_so() {
    let server = Canned::saying(&"x".repeat(3 << 20)).await;
    let world = World::under(&server.address.to_string());
    let (running, meter) = metered(&world, 1 << 20);
    let url = format!("http://{}/", server.address);
    let cut = running.get_bytes(&url).await;
    assert!(cut < 2 << 20, "{cut} bytes came through");
    assert!(meter.is_spent());
    let answer = running.get(&url).await;
    assert_eq!(status(&answer), "403", "{answer}");
    assert!(answer.contains("x-sortie-refusal: egress/max-bytes"), "{answer}");
    assert!(answer.contains("the task has moved 1 MiB over the network"), "{answer}");
    assert!(answer.contains("a larger `max_mb` under `[network]` in the settings"), "{answer}");
    let recorded = world.audit.refusals();
    assert_eq!(recorded[0].rule.as_deref(), Some("max-bytes"), "{recorded:?}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_tunnel_ends_with_the_bytes_in_either_direction_and_the_record_says_why() {
    let echo = echo().await;
    let world = World::under(&echo.to_string());
    let (running, meter) = metered(&world, 1 << 20);
    let mut tunnel = running.open().await;
    tunnel.write_all(format!("CONNECT {echo} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.expect("read");
    head(&mut tunnel).await;
    let (mut from, mut to) = tunnel.into_split();
    let flood = tokio::spawn(async move { while to.write_all(&[0; 65536]).await.is_ok() {} });
    let mut back = Vec::new();
    // returns because the proxy closes: neither end does
    let _ = from.read_to_end(&mut back).await;
    drop(from);
    flood.await.expect("it ends with its connection");
    // what was under way when it ended: a buffer in each direction
    let used = meter.used();
    assert!(used.sent + used.received <= (1 << 20) + (2 << 20), "{used:?}");
    running.proxy.stop().await;
    let recorded = world.audit.refusals();
    assert_eq!(recorded.len(), 1, "{recorded:?}");
    assert_eq!(recorded[0].action, format!("network-connect {echo}"));
}
