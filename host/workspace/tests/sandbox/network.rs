//! Listeners of the host on its loopback, on a bridge and on every other address that it has are out of reach.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::Command;

use crate::escape::{Checks, answer_datagrams, is_root, number, outside};
use crate::support::Box;

/// The kernel's words for a network that is not there. A refusal would be one: somebody was asked.
pub(crate) const NO_WAY: [i32; 4] =
    [libc::ENETUNREACH, libc::EADDRNOTAVAIL, libc::EHOSTUNREACH, libc::EAFNOSUPPORT];

/// A bridge of the host's with addresses of its own, such as containers of others hang on.
struct Bridge {
    name: String,
}

impl Bridge {
    const ADDRESSES: [&str; 2] = ["198.18.97.1", "fd5c:6f97::1"];

    /// For root alone.
    fn up() -> Self {
        let bridge = Self { name: format!("sb{}", std::process::id()) };
        let name = bridge.name.as_str();
        ip(&["link", "add", "name", name, "type", "bridge"]);
        ip(&["link", "set", "dev", name, "up"]);
        let [four, six] = Self::ADDRESSES;
        ip(&["address", "add", &format!("{four}/30"), "dev", name]);
        if has_ipv6() {
            // nobody else could have this address, so that there is nobody to wait for
            ip(&["address", "add", &format!("{six}/64"), "dev", name, "nodad"]);
        }
        bridge
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        ip(&["link", "delete", "dev", &self.name]);
    }
}

/// Whether a new interface of this machine's has IPv6.
fn has_ipv6() -> bool {
    let off = std::fs::read_to_string("/proc/sys/net/ipv6/conf/default/disable_ipv6");
    off.is_ok_and(|off| off.trim() == "0")
}

fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().expect("`ip` (iproute2) is there");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What this machine has, each once, with the interface it is on.
fn addresses() -> Vec<(String, IpAddr)> {
    let lines = ip(&["-oneline", "address", "show"]);
    let of = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let address: IpAddr = words.get(3)?.split('/').next()?.parse().ok()?;
        // one of the link's own needs to be told which link
        let local = matches!(address, IpAddr::V6(six) if six.is_unicast_link_local());
        (!local).then(|| ((*words[1]).to_owned(), address))
    };
    lines.lines().filter_map(of).collect()
}

#[tokio::test]
async fn no_listener_of_the_hosts_is_reached_on_any_of_its_addresses() {
    let bridge = is_root().then(Bridge::up);
    let inside = Box::start().await;
    let mut checks = Checks::default();
    let addresses = addresses();
    if bridge.is_some() {
        let [four, six] = Bridge::ADDRESSES;
        for wanted in [Some(four), has_ipv6().then_some(six)].into_iter().flatten() {
            let wanted: IpAddr = wanted.parse().expect("an address");
            let is_there = addresses.iter().any(|(_, address)| *address == wanted);
            checks.expect("the bridge", is_there && TcpListener::bind((wanted, 0)).is_ok(), &addresses);
        }
    }
    for (interface, address) in addresses {
        // one of somebody else's may have gone since, or may not have been given yet
        let Ok(listener) = TcpListener::bind(SocketAddr::new(address, 0)) else { continue };
        let target = listener.local_addr().expect("it listens").to_string();
        let name = format!("{interface}, {target}");
        // inside there is a loopback as well, and nobody listens there
        let expected = |seen: i32| {
            if address.is_loopback() { seen == libc::ECONNREFUSED } else { NO_WAY.contains(&seen) }
        };
        let seen = number(&inside.probe(&["connect", &target]).await);
        checks.expect(&name, expected(seen), seen);
        checks.expect(&format!("control: {name}"), outside(&["connect", &target]) == 0, "refused");
        if address.is_ipv6() {
            continue;
        }
        let target = answer_datagrams(address);
        let seen = number(&inside.probe(&["datagram", &target]).await);
        checks.expect(&format!("a datagram to {interface}, {target}"), expected(seen), seen);
        checks.expect(
            &format!("control: a datagram to {target}"),
            outside(&["datagram", &target]) == 0,
            "refused",
        );
    }
    checks.done();
}

#[tokio::test]
async fn no_gateway_or_neighbour_of_the_hosts_is_known_inside() {
    let inside = Box::start().await;
    // heads of tables, and nothing else but the loopback's own
    let routes =
        inside.sh("sed 1d /proc/net/route; grep -v ' lo$' /proc/net/ipv6_route; sed 1d /proc/net/arp").await;
    assert_eq!(routes.stdout, "", "{routes:?}");
}
