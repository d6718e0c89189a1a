//! What a dialer connects to.

use std::sync::Arc;

use sortie_core::Phase;
use sortie_core::action::NetworkConnect;
use sortie_policy::ports::{Dialer, ErrorCode, PortError};
use sortie_workspace::egress::{AddressDialer, SystemWire};
use tokio::net::TcpStream;

use crate::servers::echo;
use crate::support::{FakeWire, World};

fn connect_to(host: &str, port: u16) -> NetworkConnect {
    NetworkConnect { host: host.into(), port, request: None }
}

async fn dial(world: &World, wire: &Arc<FakeWire>, host: &str, port: u16) -> Result<TcpStream, PortError> {
    dial_trusting(world, wire, &[], host, port).await
}

async fn dial_trusting(
    world: &World,
    wire: &Arc<FakeWire>,
    trusted: &[&str],
    host: &str,
    port: u16,
) -> Result<TcpStream, PortError> {
    let reach = world.reach(Arc::clone(wire) as _, trusted);
    let dialer = AddressDialer::new(world.gate.seal(), reach);
    dialer.connect(world.permit(connect_to(host, port)).await).await
}

#[tokio::test]
async fn connects_to_the_address_that_was_checked_and_resolves_once() {
    let wire = FakeWire::to(echo().await).answer("rebind.example", &["8.8.8.8"]);
    let wire = Arc::new(wire.answer("rebind.example", &["127.0.0.1"]));
    let world = World::under("all");
    dial(&world, &wire, "rebind.example", 443).await.expect("it is public at first");
    assert_eq!(wire.resolutions(), 1);
    assert_eq!(wire.connected(), ["8.8.8.8:443"]);
    let error = dial(&world, &wire, "rebind.example", 443).await.expect_err("it is private now");
    assert_eq!(error.code, ErrorCode::Denied);
    assert_eq!(wire.connected(), ["8.8.8.8:443"]);
}

#[tokio::test]
async fn refuses_a_name_without_a_public_address_and_says_what_would_allow_it() {
    for address in [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "0.0.0.0",
        "::1",
        "::ffff:10.0.0.1",
        "fd00:ec2::254",
        "64:ff9b::7f00:1",
        "2002:7f00:1::1",
        "::7f00:1",
        "224.0.0.1",
    ] {
        let wire = Arc::new(FakeWire::to(echo().await).answer("intra.example", &[address]));
        let error = dial(&World::under("all"), &wire, "intra.example", 443).await.expect_err(address);
        assert_eq!(error.code, ErrorCode::Denied, "{address}");
        assert_eq!(error.rule.as_deref(), Some("egress/public-addresses"));
        let remedy = "`trusted = [\"intra.example:443\"]` under `[network]` in the settings would allow it";
        match address {
            // nobody is told how to let a workspace at credentials
            "169.254.169.254" => assert!(!error.message.contains("trusted"), "{}", error.message),
            "127.0.0.1" | "::1" => {
                assert!(error.message.contains(&format!("{remedy}, and with it")), "{}", error.message);
            }
            _ => assert!(error.message.contains(remedy), "{}", error.message),
        }
        assert!(wire.connected().is_empty(), "{address}");
    }
}

#[tokio::test]
async fn leaves_out_private_addresses_among_public_ones() {
    let wire =
        FakeWire::default().answer("both.example", &["10.0.0.1", "8.8.8.8", "::1", "8.8.4.4", "8.8.8.8"]);
    let wire = Arc::new(wire);
    let error = dial(&World::under("all"), &wire, "both.example", 80).await.expect_err("nothing answers");
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert_eq!(wire.connected(), ["8.8.8.8:80", "8.8.4.4:80"]);
}

#[tokio::test]
async fn refuses_private_addresses_in_any_spelling() {
    let spellings =
        ["127.0.0.1", "127.1", "0x7f.1", "017700000001", "2130706433", "::1", "[::1]", "::ffff:127.0.0.1"];
    for host in spellings {
        let wire = Arc::new(FakeWire::to(echo().await));
        let error = dial(&World::under("all"), &wire, host, 80).await.expect_err(host);
        assert_eq!(error.code, ErrorCode::Denied, "{host}: {error}");
        assert!(wire.connected().is_empty());
    }
}

#[tokio::test]
async fn the_machines_own_names_lead_to_loopback_and_are_refused() {
    let world = World::under("all");
    for host in ["localhost", "LOCALHOST", "localhost."] {
        let dialer = AddressDialer::new(world.gate.seal(), world.reach(Arc::new(SystemWire), &[]));
        let error = dialer.connect(world.permit(connect_to(host, 80)).await).await.expect_err(host);
        assert_eq!(error.code, ErrorCode::Denied, "{host}: {error}");
    }
}

#[tokio::test]
async fn a_host_that_the_rule_names_may_have_any_address_at_that_port_alone() {
    let wire = FakeWire::to(echo().await).answer("intra.example", &["10.0.0.1"]);
    let wire = Arc::new(wire.answer("intra.example", &["10.0.0.1"]));
    let world = World::with("all", "intra.example:8080", "");
    dial(&world, &wire, "intra.example", 8080).await.expect("the rule names it");
    assert_eq!(wire.connected(), ["10.0.0.1:8080"]);
    // set-up's own rule does not name it
    world.facts.enter(Phase::Prepare);
    let error = dial(&world, &wire, "intra.example", 8080).await.expect_err("another phase");
    assert_eq!(error.code, ErrorCode::Denied);
    assert!(error.message.contains("trusted = ["), "{}", error.message);
}

#[tokio::test]
async fn a_trusted_host_may_have_any_address_at_that_port_alone() {
    let wire = FakeWire::to(echo().await).answer("mirror.example", &["10.0.0.1"]);
    let wire = Arc::new(wire.answer("mirror.example", &["10.0.0.1"]));
    let world = World::under("all");
    let trusted = ["mirror.example:8443"];
    dial_trusting(&world, &wire, &trusted, "MIRROR.example.", 8443).await.expect("the settings name it");
    let error =
        dial_trusting(&world, &wire, &trusted, "mirror.example", 443).await.expect_err("another port");
    assert_eq!(error.code, ErrorCode::Denied);
}

#[tokio::test]
async fn an_address_that_is_silent_does_not_keep_the_next_from_answering() {
    let wire = FakeWire::to(echo().await)
        .silent("2606:4700::1")
        .answer("dual.example", &["2606:4700::1", "8.8.8.8"]);
    let wire = Arc::new(wire);
    dial(&World::under("all"), &wire, "dual.example", 443).await.expect("the second answers");
    assert_eq!(wire.connected(), ["[2606:4700::1]:443", "8.8.8.8:443"]);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_unavailable() {
    let wire = Arc::new(FakeWire::to(echo().await));
    let error = dial(&World::under("all"), &wire, "nowhere.example", 443).await.expect_err("no answer");
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.message.contains("`nowhere.example` does not resolve"), "{}", error.message);
}

#[tokio::test]
async fn refuses_a_permit_of_another_gate() {
    let wire = Arc::new(FakeWire::to(echo().await).answer("a.example", &["8.8.8.8"]));
    let (world, other) = (World::under("all"), World::under("all"));
    let dialer = AddressDialer::new(world.gate.seal(), world.reach(Arc::clone(&wire) as _, &[]));
    let error = dialer.connect(other.permit(connect_to("a.example", 443)).await).await.expect_err("foreign");
    assert_eq!(error.code, ErrorCode::Denied);
    assert_eq!(wire.resolutions(), 0);
}
