//! Which addresses a name leads to, and which of them may be connected to.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{FuturesUnordered, StreamExt};
use sortie_core::Phase;
use sortie_core::network::HostPattern;
use sortie_policy::ports::{ErrorCode, NetworkMeter, PortError};
use sortie_policy::{Defaults, FactsSource};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::address::special;
use super::target::Target;

/// The longest that resolving a name takes.
const RESOLVE: Duration = Duration::from_secs(10);

/// The longest that connecting takes, with all addresses.
const CONNECT: Duration = Duration::from_secs(30);

/// How long one address has before the next is tried beside it (RFC 8305).
const STAGGER: Duration = Duration::from_millis(300);

/// Names that are looked up at a time. The system's resolver takes a thread for
/// as long as it likes, of those that all of the host shares.
static LOOKUPS: Semaphore = Semaphore::const_new(64);

/// The most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;

/// The network itself: names to addresses, addresses to connections.
#[async_trait]
pub trait Wire: Send + Sync {
    /// Addresses of a host.
    ///
    /// # Errors
    /// If the name does not resolve.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;

    /// A connection to exactly this address.
    ///
    /// # Errors
    /// If nothing answers there.
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream>;
}

/// The network of this machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemWire;

#[async_trait]
impl Wire for SystemWire {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let name = (host.to_owned(), port);
        look_up(&LOOKUPS, move || Ok(name.to_socket_addrs()?.collect())).await
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that connects, to an address that was checked"
        )]
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Does what blocks, once there is a place for it. The place is given back when
/// that has ended, also where nobody waits for it any longer.
async fn look_up<T: Send + 'static>(
    places: &'static Semaphore,
    lookup: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let place = places.acquire().await.expect("it is never closed");
    let found = tokio::task::spawn_blocking(move || {
        let found = lookup();
        drop(place);
        found
    });
    found.await.map_err(io::Error::other)?
}

/// How far connections may reach. A host that the network rule of the phase
/// or the settings name may have any address; all others have public ones.
pub struct Reach {
    rules: Defaults,
    trusted: Vec<HostPattern>,
    facts: Arc<dyn FactsSource>,
    wire: Arc<dyn Wire>,
    meter: Arc<NetworkMeter>,
}

impl Reach {
    /// The reach of a task. `trusted` are the hosts that the settings allow
    /// to have addresses that are not public.
    pub fn new(rules: Defaults, trusted: Vec<HostPattern>, facts: Arc<dyn FactsSource>) -> Self {
        Self::over(Arc::new(SystemWire), rules, trusted, facts)
    }

    /// The reach of a task over another network than the machine's.
    pub fn over(
        wire: Arc<dyn Wire>,
        rules: Defaults,
        trusted: Vec<HostPattern>,
        facts: Arc<dyn FactsSource>,
    ) -> Self {
        Self { rules, trusted, facts, wire, meter: Arc::default() }
    }

    /// The same, with what is moved counted against what the task may move.
    pub fn metered(self, meter: Arc<NetworkMeter>) -> Self {
        Self { meter, ..self }
    }

    /// What counts the bytes; without a bound if none was given.
    pub(super) fn meter(&self) -> &Arc<NetworkMeter> {
        &self.meter
    }

    /// Resolves once, leaves out what is not public, and connects to the
    /// first address that answers.
    pub(super) async fn connect(&self, target: &Target) -> Result<TcpStream, PortError> {
        if self.meter.is_spent() {
            return Err(spent(&self.meter));
        }
        let addresses = self.addresses(target).await?;
        match timeout(CONNECT, self.first(&addresses)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(unavailable(format!("cannot connect to {target}: {error}"))),
            Err(_) => Err(PortError::new(
                ErrorCode::Timeout,
                format!("cannot connect to {target}: no answer within {} s", CONNECT.as_secs()),
            )),
        }
    }

    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, PortError> {
        let resolved = match target.address() {
            Some(address) => vec![SocketAddr::new(address, target.port)],
            None => match timeout(RESOLVE, self.wire.resolve(&target.host, target.port)).await {
                Ok(Ok(resolved)) => resolved,
                Ok(Err(error)) => {
                    return Err(unavailable(format!("`{}` does not resolve: {error}", target.host)));
                }
                Err(_) => {
                    let message =
                        format!("`{}` does not resolve within {} s", target.host, RESOLVE.as_secs());
                    return Err(PortError::new(ErrorCode::Timeout, message));
                }
            },
        };
        let phase = self.facts.facts().phase;
        let named = self.names(target, phase);
        let mut objection = None;
        let mut addresses = Vec::new();
        // the port is the permitted one, whatever a resolver says
        for address in resolved.into_iter().map(|address| SocketAddr::new(address.ip(), target.port)) {
            match objection_to(address.ip()).filter(|_| !named) {
                Some(why) => objection = Some((address.ip(), why)),
                None if addresses.contains(&address) => {}
                None => addresses.push(address),
            }
        }
        addresses.truncate(MAX_ADDRESSES);
        match (addresses.is_empty(), objection) {
            (false, _) => Ok(addresses),
            (true, Some((address, why))) => Err(not_public(target, address, &why)),
            (true, None) => Err(unavailable(format!("`{}` has no address", target.host))),
        }
    }

    fn names(&self, target: &Target, phase: Phase) -> bool {
        self.rules.network(phase).names(&target.host, target.port)
            || self.trusted.iter().any(|pattern| pattern.matches(&target.host, target.port))
    }

    /// Tries one address after the other, the next one beside those that
    /// have not answered yet. What loses the race is dropped and so closed.
    async fn first(&self, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
        let mut waiting = addresses.iter();
        let mut trying = FuturesUnordered::new();
        let mut failure = io::Error::other("no address answers");
        loop {
            if let Some(address) = waiting.next() {
                trying.push(self.wire.connect(*address));
            } else if trying.is_empty() {
                return Err(failure);
            }
            let more = waiting.len() > 0;
            tokio::select! {
                Some(done) = trying.next() => match done {
                    Ok(stream) => return Ok(stream),
                    Err(error) => failure = error,
                },
                () = tokio::time::sleep(STAGGER), if more => {}
            }
        }
    }
}

/// What is said of such an address.
const OWN: &str = "an address of this machine";

/// Why an address may only be had by a host that is named.
fn objection_to(address: IpAddr) -> Option<String> {
    if let Some(special) = special(address) {
        return Some(special.to_string());
    }
    // behind a public address of this machine are services that its firewall shields from everybody else
    is_own(address).then(|| OWN.to_owned())
}

/// Whether this machine has the address: then packets to it come from it.
/// Connecting a datagram socket looks up the route and sends nothing.
fn is_own(address: IpAddr) -> bool {
    let from = if address.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    #[expect(clippy::disallowed_methods, reason = "asks the kernel for a route; nothing is sent")]
    let Ok(socket) = UdpSocket::bind((from, 0)) else { return false };
    socket.connect((address, 9)).is_ok() && socket.local_addr().is_ok_and(|own| own.ip() == address)
}

fn unavailable(message: String) -> PortError {
    PortError::new(ErrorCode::Unavailable, message)
}

/// The task has moved all that it may.
pub(super) fn spent(meter: &NetworkMeter) -> PortError {
    let max = meter.used().max.unwrap_or_default() >> 20;
    let message = format!(
        "the task has moved {max} MiB over the network, all that it may; a larger `max_mb` under `[network]` in the settings would allow more"
    );
    PortError { rule: Some("egress/max-bytes".into()), ..PortError::new(ErrorCode::Denied, message) }
}

/// What would allow it, and what that means; nothing where nobody should.
fn remedy(target: &Target, why: &str) -> String {
    if why.contains("metadata") || why.contains("link-local") {
        return "a cloud hands out this machine's credentials there: nothing of a workspace belongs there"
            .into();
    }
    let allows = format!("`trusted = [\"{target}\"]` under `[network]` in the settings would allow it");
    if why.contains("loopback") || why.contains(OWN) {
        return format!("{allows}, and with it whatever listens there on this machine, not in the workspace");
    }
    allows
}

fn not_public(target: &Target, address: IpAddr, why: &str) -> PortError {
    let host = &target.host;
    let what = if target.address().is_some() {
        format!("{host} is not a public address ({why})")
    } else {
        format!("{host} has no public address ({address}: {why})")
    };
    let remedy = remedy(target, why);
    let rule = Some("egress/public-addresses".to_owned());
    PortError { rule, ..PortError::new(ErrorCode::Denied, format!("{what}; {remedy}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lookup_that_was_given_up_keeps_its_place_until_it_ends() {
        static ONE: Semaphore = Semaphore::const_new(1);
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let (begin, begun) = tokio::sync::oneshot::channel();
        let first = tokio::spawn(look_up(&ONE, move || {
            begin.send(()).expect("is waited for");
            // until the sender is gone
            Ok(ended.recv().is_err())
        }));
        begun.await.expect("it begins");
        first.abort();
        first.await.expect_err("is given up");
        assert_eq!(ONE.available_permits(), 0);
        drop(end);
        assert_eq!(look_up(&ONE, || Ok(7)).await.expect("has a place now"), 7);
    }

    #[test]
    fn the_machines_own_addresses_are_known() {
        assert!(is_own(IpAddr::from([127, 0, 0, 1])));
        assert!(!is_own(IpAddr::from([8, 8, 8, 8])));
    }
}
