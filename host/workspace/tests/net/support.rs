//! A gate with chosen rules, and a network with chosen answers.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sortie_core::action::{Action, Effect};
use sortie_core::{Actor, Decision, Verdict};
use sortie_policy::ports::NetworkMeter;
use sortie_policy::{Defaults, Evaluator, FactsSource, Fault, Gate, Layer, Link, Permit, PolicyEvent};
use sortie_testing::{Kept, Still};
use sortie_workspace::egress::{Reach, Wire};
use tokio::net::TcpStream;

/// Lets this process have as many files open as it may: for tests that open more than the usual thousand together.
pub(crate) fn open_many() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).expect("up to the most one may");
}

/// A policy that denies actions with this text in their target.
struct Denies(&'static str);

#[async_trait]
impl Evaluator for Denies {
    async fn evaluate(&self, event: &PolicyEvent) -> Result<Verdict, Fault> {
        let Action { target, .. } = &event.action;
        if !self.0.is_empty() && target.contains(self.0) {
            let rule = Some("no-such-host".into());
            return Ok(Verdict { rule, ..Verdict::of(Decision::Deny("it is on the list".into())) });
        }
        Ok(Verdict::of(Decision::Abstain))
    }
}

/// A gate and what belongs to it.
pub(crate) struct World {
    pub(crate) gate: Arc<Gate>,
    pub(crate) facts: Arc<Still>,
    pub(crate) audit: Arc<Kept>,
}

impl World {
    /// In the agent's phase, under this network rule.
    pub(crate) fn under(rule: &str) -> Self {
        Self::with("all", rule, "")
    }

    /// With the rules of set-up and agent; targets with `denied` in them are denied.
    pub(crate) fn with(setup: &str, agent: &str, denied: &'static str) -> Self {
        let rule = |text: &str| text.parse().expect("a network rule");
        let defaults =
            Defaults { setup_network: rule(setup), agent_network: rule(agent), ..sortie_testing::defaults() };
        let list = sortie_testing::link("list", Arc::new(Denies(denied)));
        let (facts, audit) = (Arc::new(Still::default()), Arc::new(Kept::default()));
        let link = Link { layer: Layer::Organisation, ..list };
        let gate =
            sortie_testing::gate_with(vec![link], defaults, Arc::clone(&facts), Arc::clone(&audit) as _);
        Self { gate: Arc::new(gate), facts, audit }
    }

    /// A permit that the gate is known to give.
    pub(crate) async fn permit<A: Effect>(&self, effect: A) -> Permit<A> {
        self.gate.permit(&Actor::Agent, effect).await.expect("the gate allows it")
    }

    /// What `registries` stands for from here on.
    pub(crate) fn learn(&self, hosts: &[&str]) {
        let hosts = hosts.iter().map(|host| host.parse().expect("a host")).collect();
        self.gate.defaults().registries.learn(hosts);
    }

    /// How far connections reach over this network.
    pub(crate) fn reach(&self, wire: Arc<dyn Wire>, trusted: &[&str]) -> Arc<Reach> {
        self.metered(wire, trusted, Arc::default())
    }

    /// The same, with what the connections move counted.
    pub(crate) fn metered(
        &self,
        wire: Arc<dyn Wire>,
        trusted: &[&str],
        meter: Arc<NetworkMeter>,
    ) -> Arc<Reach> {
        let trusted = trusted.iter().map(|host| host.parse().expect("a host")).collect();
        let facts: Arc<dyn FactsSource> = Arc::clone(&self.facts) as _;
        Arc::new(Reach::over(wire, self.gate.defaults().clone(), trusted, facts).metered(meter))
    }
}

/// A network whose names resolve as they are told to, one answer after the
/// other, and whose addresses all lead to one server on this machine.
#[derive(Default)]
pub(crate) struct FakeWire {
    answers: Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>,
    server: Option<SocketAddr>,
    silent: Vec<IpAddr>,
    /// Names that were resolved, and addresses that were connected to.
    pub(crate) resolved: Mutex<Vec<String>>,
    pub(crate) connected: Mutex<Vec<SocketAddr>>,
}

impl FakeWire {
    pub(crate) fn to(server: SocketAddr) -> Self {
        Self { server: Some(server), ..Self::default() }
    }

    /// The next answers for a name.
    pub(crate) fn answer(self, host: &str, addresses: &[&str]) -> Self {
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        self.answers.lock().expect("unshared").entry(host.into()).or_default().push_back(addresses);
        self
    }

    /// An address that never answers.
    pub(crate) fn silent(mut self, address: &str) -> Self {
        self.silent.push(address.parse().expect("an address"));
        self
    }

    pub(crate) fn connected(&self) -> Vec<String> {
        self.connected.lock().expect("no test panics with it").iter().map(ToString::to_string).collect()
    }

    pub(crate) fn resolutions(&self) -> usize {
        self.resolved.lock().expect("no test panics with it").len()
    }
}

#[async_trait]
impl Wire for FakeWire {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.resolved.lock().expect("no test panics with it").push(host.into());
        let mut answers = self.answers.lock().expect("no test panics with it");
        let answer = answers.get_mut(host).and_then(VecDeque::pop_front);
        let answer = answer.ok_or_else(|| io::Error::other("no such name"))?;
        Ok(answer.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.connected.lock().expect("no test panics with it").push(address);
        if self.silent.contains(&address.ip()) {
            return std::future::pending().await;
        }
        let server = self.server.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        TcpStream::connect(server).await
    }
}
