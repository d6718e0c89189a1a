//! Sockets.

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use sortie_policy::ports::Exit;

use super::{Checks, answer_datagrams, number, outside};
use crate::network::NO_WAY;
use crate::support::Box;

#[tokio::test]
async fn no_network_is_reached_but_the_loopback_inside() {
    let inside = Box::start().await;
    let mut checks = Checks::default();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it listens").to_string();
    let seen = number(&inside.probe(&["connect", &address]).await);
    checks.expect("the host's loopback", seen == libc::ECONNREFUSED, seen);
    checks.expect("control: loopback outside", outside(&["connect", &address]) == 0, "refused");
    let address = answer_datagrams(Ipv4Addr::LOCALHOST.into());
    let seen = number(&inside.probe(&["datagram", &address]).await);
    checks.expect("a datagram to the host", seen == libc::ECONNREFUSED, seen);
    checks.expect("control: a datagram outside", outside(&["datagram", &address]) == 0, "refused");
    for address in ["192.0.2.1:80", "8.8.8.8:53", "169.254.169.254:80", "10.0.0.1:22", "[2001:db8::1]:80"] {
        let seen = number(&inside.probe(&["connect", address]).await);
        checks.expect(address, NO_WAY.contains(&seen), seen);
    }
    let seen = number(&inside.probe(&["datagram", "8.8.8.8:53"]).await);
    checks.expect("DNS by datagram", seen == libc::ENETUNREACH, seen);
    let names = inside.sh("getent hosts example.com").await;
    checks.expect("names", names.exit != Exit::Code(0), &names);
    let interfaces = inside.sh("sed 1,2d /proc/net/dev | cut -d: -f1 | tr -d ' '").await.stdout;
    checks.expect("interfaces", interfaces == "lo\n", interfaces);
    checks.done();
}

#[tokio::test]
async fn abstract_sockets_of_the_host_are_not_reached() {
    let inside = Box::start().await;
    let name = format!("sortie-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a plain name");
    let _listener = UnixListener::bind_addr(&address).expect("the name is free");
    assert_eq!(number(&inside.probe(&["abstract", &name]).await), libc::ECONNREFUSED);
    assert_eq!(outside(&["abstract", &name]), 0);
}
