//! Who is meant by a host, however it is written: through the proxy, as a
//! workspace would ask for it.

use std::sync::Arc;

use sortie_workspace::egress::{ProxyLimits, SystemWire};
use tokio::net::TcpListener;

use crate::proxy::{Running, status};
use crate::servers::{Canned, echo};
use crate::support::{FakeWire, World};

/// A proxy over a network on which all public names lead to one server.
async fn over(rule: &str, wire: FakeWire) -> (World, Arc<FakeWire>, Running) {
    let (world, wire) = (World::under(rule), Arc::new(wire));
    let running = Running::start(&world, wire.clone(), ProxyLimits::default());
    (world, wire, running)
}

#[tokio::test]
async fn a_name_that_leads_to_a_public_address_and_then_to_a_private_one_is_refused_from_then_on() {
    let server = Canned::saying("ok").await;
    let wire = FakeWire::to(server.address)
        .answer("rebind.example", &["8.8.8.8"])
        .answer("rebind.example", &["10.0.0.1"])
        .answer("rebind.example", &["8.8.8.8", "127.0.0.1"]);
    let (world, wire, running) = over("all", wire).await;
    assert_eq!(status(&running.get("http://rebind.example/").await), "200");
    let refused = running.get("http://rebind.example/").await;
    assert_eq!(status(&refused), "403", "{refused}");
    assert!(refused.contains("rebind.example has no public address (10.0.0.1: private"), "{refused}");
    // of several addresses the public one is taken, and never the other
    assert_eq!(status(&running.get("http://rebind.example/").await), "200");
    assert_eq!(wire.connected(), ["8.8.8.8:80", "8.8.8.8:80"]);
    // it is in the record as it happens, and not only at the end
    let recorded = world.audit.refusals();
    assert_eq!(recorded.len(), 1, "{recorded:?}");
    assert_eq!(recorded[0].action, "network-connect rebind.example:80");
    assert_eq!(
        (recorded[0].policy.as_str(), recorded[0].rule.as_deref()),
        ("egress", Some("public-addresses"))
    );
    assert!(
        recorded[0].remedy.as_deref().is_some_and(|remedy| remedy.contains("trusted = [")),
        "{recorded:?}"
    );
}

#[tokio::test]
async fn a_client_that_follows_an_allowed_hosts_redirect_is_refused_where_it_leads() {
    let secret = Canned::saying("secret").await;
    for location in [
        format!("http://{}/", secret.address),
        "http://evil.example/".into(),
        "http://169.254.169.254/".into(),
    ] {
        let redirect = format!(
            "HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        let server = Canned::start(redirect).await;
        let world = World::under(&server.address.to_string());
        let running = Running::over_loopback(&world);
        let answer = running.get(&format!("http://{}/", server.address)).await;
        assert_eq!(status(&answer), "302", "{answer}");
        let led = answer.lines().find_map(|line| line.strip_prefix("location: ")).expect("a location");
        let followed = running.get(led.trim()).await;
        assert_eq!(status(&followed), "403", "{location}: {followed}");
        assert!(followed.contains("x-sortie-refusal: default/-"), "{followed}");
    }
    assert!(secret.seen().is_empty());
}

#[tokio::test]
async fn an_address_literal_is_not_the_name_that_leads_to_it() {
    let wire = FakeWire::to(echo().await).answer("a.example", &["8.8.8.8"]);
    let (_, wire, running) = over("a.example", wire).await;
    for literal in
        ["8.8.8.8:443", "134744072:443", "0x08080808:443", "[::ffff:8.8.8.8]:443", "[64:ff9b::808:808]:443"]
    {
        let answer = running.connect(literal).await;
        assert_eq!(status(&answer), "403", "{literal}: {answer}");
        assert!(answer.contains("x-sortie-refusal: default/-"), "{literal}: {answer}");
    }
    assert!(wire.connected().is_empty() && wire.resolutions() == 0);
}

#[tokio::test]
async fn an_ipv6_literal_is_reached_where_the_rule_names_it_and_refused_where_it_does_not() {
    let listener = TcpListener::bind("[::1]:0").await;
    // a machine without IPv6 has no such server; the refusals are shown all the same
    let server = listener.as_ref().ok().map(|listener| listener.local_addr().expect("it is bound"));
    let port = server.map_or(9, |server| server.port());
    let spellings =
        [format!("[::1]:{port}"), format!("[0:0:0:0:0:0:0:1]:{port}"), format!("[::0001]:{port}")];
    for rule in ["all", "a.example", "127.0.0.1", &format!("[::1]:{}", port.wrapping_add(1).max(1))] {
        let running = Running::over_loopback(&World::under(rule));
        for target in spellings.iter().map(String::as_str).chain(["[fe80::1]:80", "[fd00:ec2::254]:80"]) {
            assert_eq!(status(&running.connect(target).await), "403", "{rule}: {target}");
        }
    }
    let Some(server) = server else { return };
    let running = Running::over_loopback(&World::under(&server.to_string()));
    let listener = listener.expect("it is there");
    for target in &spellings {
        let (answer, accepted) = tokio::join!(running.connect(target), async {
            let (stream, _) = listener.accept().await.expect("the proxy connects");
            drop(stream);
        });
        assert_eq!((status(&answer), accepted), ("200", ()), "{target}");
    }
}

#[tokio::test]
async fn a_mapped_address_is_the_ipv4_address_that_it_maps() {
    let server = Canned::saying("ok").await;
    let port = server.address.port();
    let mapped = [format!("[::ffff:127.0.0.1]:{port}"), format!("[::ffff:7f00:1]:{port}")];
    let allowed = Running::over_loopback(&World::under(&server.address.to_string()));
    for host in &mapped {
        assert_eq!(status(&allowed.get(&format!("http://{host}/")).await), "200", "{host}");
    }
    // as private as that one, and a rule for another address is none for it
    for rule in ["all".to_owned(), format!("[::1]:{port}")] {
        let running = Running::over_loopback(&World::under(&rule));
        for host in &mapped {
            assert_eq!(status(&running.connect(host).await), "403", "{rule}: {host}");
        }
    }
    assert_eq!(server.seen().len(), mapped.len());
}

#[tokio::test]
async fn upper_case_and_a_trailing_dot_change_nothing() {
    let server = Canned::saying("ok").await;
    let spellings = ["a.example", "A.EXAMPLE", "a.Example.", "A.EXAMPLE."];
    let mut wire = FakeWire::to(server.address);
    for _ in spellings {
        wire = wire.answer("a.example", &["8.8.8.8"]);
    }
    let (_, wire, running) = over("A.example.", wire).await;
    for host in spellings {
        let answer = running.get(&format!("http://{host}/")).await;
        assert_eq!(status(&answer), "200", "{host}: {answer}");
    }
    // one dot belongs to a name, and what is beneath or beside it is another
    for other in ["sub.a.example", "a.example.evil.example", "xa.example", "b.example."] {
        let answer = running.get(&format!("http://{other}/")).await;
        assert!(matches!(status(&answer), "403" | "400"), "{other}: {answer}");
    }
    assert_eq!(wire.connected().len(), spellings.len());
    let denying =
        Running::start(&World::with("all", "all", "a.example"), wire.clone(), ProxyLimits::default());
    for host in spellings {
        assert_eq!(status(&denying.connect(&format!("{host}:443")).await), "403", "{host}");
    }
}

#[tokio::test]
async fn another_port_of_an_allowed_host_is_refused() {
    let server = Canned::saying("ok").await;
    let wire =
        FakeWire::to(server.address).answer("a.example", &["8.8.8.8"]).answer("b.example", &["8.8.4.4"]);
    let (_, wire, running) = over("a.example,b.example:8443", wire).await;
    for target in ["a.example:22", "a.example:8443", "a.example:65535", "b.example:443", "b.example:80"] {
        let answer = running.connect(target).await;
        assert_eq!(status(&answer), "403", "{target}: {answer}");
    }
    for url in ["http://a.example:8080/", "http://b.example/"] {
        assert_eq!(status(&running.get(url).await), "403", "{url}");
    }
    assert!(wire.connected().is_empty());
    assert_eq!(status(&running.get("http://a.example/").await), "200");
    assert_eq!(status(&running.get("http://b.example:8443/").await), "200");
    assert_eq!(wire.connected(), ["8.8.8.8:80", "8.8.4.4:8443"]);
}

#[tokio::test]
async fn methods_of_a_rule_hold_for_requests_and_let_no_tunnel_through() {
    let server = Canned::saying("ok").await;
    let mut wire = FakeWire::to(server.address);
    for _ in 0..3 {
        wire = wire.answer("a.example", &["8.8.8.8"]);
    }
    let (_, wire, running) = over("GET+HEAD@a.example,b.example", wire).await;
    let send = async |method: &str, url: &str| {
        let head = format!("{method} {url} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n");
        running.send(&format!("{head}Connection: close\r\n\r\n")).await
    };
    assert_eq!(status(&send("GET", "http://a.example/").await), "200");
    assert_eq!(status(&send("HEAD", "http://a.example/").await), "200");
    for method in ["POST", "PUT", "DELETE", "get", "PATCH"] {
        let refused = send(method, "http://a.example/").await;
        assert_eq!(status(&refused), "403", "{method}: {refused}");
        assert!(refused.contains("names other methods for this host"), "{method}: {refused}");
    }
    let refused = send("POST", "http://a.example/").await;
    assert!(refused.contains("--network GET+HEAD@a.example,b.example,POST@a.example`"), "{refused}");
    let refused = running.connect("a.example:443").await;
    assert_eq!(status(&refused), "403", "{refused}");
    assert!(refused.contains("a tunnel (CONNECT, as for https) hides them"), "{refused}");
    assert!(refused.contains("--network GET+HEAD@a.example,b.example,a.example`"), "{refused}");
    assert_eq!(server.seen().len(), 2);
    assert_eq!(wire.connected(), ["8.8.8.8:80", "8.8.8.8:80"]);
}

#[tokio::test]
async fn registries_are_reached_once_they_are_known_and_only_at_public_addresses() {
    let server = Canned::saying("ok").await;
    let wire = FakeWire::to(server.address)
        .answer("registry.example", &["8.8.8.8"])
        .answer("mirror.example", &["10.0.0.1"])
        .answer("extra.example", &["8.8.4.4"]);
    let (world, wire, running) = over("registries,extra.example", wire).await;
    let before = running.get("http://registry.example/").await;
    assert_eq!(status(&before), "403", "{before}");
    assert!(before.contains("the network rule of this phase is `registries,extra.example`"), "{before}");
    let remedy = "`--network registries,extra.example,registry.example`, would allow it";
    assert!(before.contains(remedy), "{before}");
    world.learn(&["registry.example", "mirror.example"]);
    assert_eq!(status(&running.get("http://registry.example/").await), "200");
    assert_eq!(status(&running.get("http://extra.example/").await), "200");
    assert_eq!(status(&running.get("http://other.example/").await), "403");
    // that a manager names a host does not make its address one to be trusted
    let mirror = running.get("http://mirror.example/").await;
    assert!(mirror.contains("x-sortie-refusal: egress/public-addresses"), "{mirror}");
    assert_eq!(wire.connected(), ["8.8.8.8:80", "8.8.4.4:80"]);
}

#[tokio::test]
async fn without_registries_in_the_rule_nobody_is_one() {
    for rule in ["none", "a.example", "registries."] {
        let (world, wire, running) = over(rule, FakeWire::default()).await;
        world.learn(&["registry.example"]);
        assert_eq!(status(&running.connect("registry.example:443").await), "403", "{rule}");
        assert_eq!(wire.resolutions(), 0);
    }
}

#[tokio::test]
async fn two_hundred_downloads_that_hang_do_not_keep_the_task_from_its_own() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    crate::support::open_many();
    // sends a beginning and no end, until it is told to
    let hanging = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let address = hanging.local_addr().expect("it is bound");
    let (go_on, told) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = hanging.accept().await {
            let mut told = told.clone();
            tokio::spawn(async move {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 65536\r\n\r\n").await;
                let _ = stream.write_all(&[b'x'; 32768]).await;
                let _ = told.wait_for(|told| *told).await;
                let _ = stream.write_all(&[b'x'; 32768]).await;
            });
        }
    });
    let quick = Canned::saying("ok").await;
    let world = World::under(&format!("{address},{}", quick.address));
    let running = Running::start(&world, Arc::new(SystemWire), ProxyLimits::default());
    let mut downloads = Vec::new();
    for _ in 0..200 {
        let mut stream = running.open().await;
        let request =
            format!("GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("the proxy reads");
        let head = crate::proxy::head(&mut stream).await;
        assert_eq!(status(&head), "200", "{head}");
        let mut half = vec![0; 32768];
        stream.read_exact(&mut half).await.expect("the first half");
        downloads.push(stream);
    }
    // all of them are open and none can end: this ends, or the test never does
    for _ in 0..20 {
        assert_eq!(status(&running.get(&format!("http://{}/", quick.address)).await), "200");
    }
    go_on.send(true).expect("they wait");
    for mut download in downloads {
        let mut rest = Vec::new();
        download.read_to_end(&mut rest).await.expect("the second half");
        assert_eq!(rest.len(), 32768);
    }
}
