//! What holds where every policy abstains.

use std::net::IpAddr;

use sortie_core::action::{Action, ActionKind};
use sortie_core::network::{Contact, HostPattern, HostRule, NetworkRule};
use sortie_core::{Facts, Phase};

use crate::registries::Registries;

/// What holds for this task where every policy abstains.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// The task's repository, without credentials: the one that may be fetched.
    pub repository: String,
    /// Provider of the configured model.
    pub provider: String,
    /// Where set-up may connect to.
    pub setup_network: NetworkRule,
    /// The key of the settings that says so, such as `network.setup`.
    pub setup_key: String,
    /// Where all later phases, and tools, may connect to.
    pub agent_network: NetworkRule,
    /// The key of the settings that says so, such as `network.agent`.
    pub agent_key: String,
    /// What `registries` stands for in these rules.
    pub registries: Registries,
}

impl Defaults {
    /// None if the action may happen, else why not and what would allow it.
    pub(crate) fn objection(&self, action: &Action, facts: &Facts) -> Option<(String, Option<String>)> {
        match action.kind {
            ActionKind::TaskSubmit
            | ActionKind::WorkspaceCreate
            | ActionKind::ToolCall
            | ActionKind::ToolResult
            | ActionKind::Exec
            | ActionKind::FileRead
            | ActionKind::FileWrite
            | ActionKind::Commit => None,
            // it is asked for where the operator's own settings bind it, for set-up alone
            ActionKind::SecretUse if facts.phase == Phase::Prepare => None,
            ActionKind::RepositoryFetch if action.target == self.repository => None,
            ActionKind::ModelRequest if detail(action, "provider") == self.provider => None,
            ActionKind::NetworkConnect | ActionKind::HttpRequest => self.network_objection(action, facts),
            kind => Some((
                format!("no policy allows this {kind}"),
                Some(format!(
                    "`[[rule]]` in the settings, with `action = \"{kind}\"`, `match = {{ target = {:?} }}`, \
                     `decision = \"allow\"`, a `name` and a `reason`, would allow it",
                    action.target
                )),
            )),
        }
    }

    /// The rule for a phase.
    pub fn network(&self, phase: Phase) -> &NetworkRule {
        if phase == Phase::Prepare { &self.setup_network } else { &self.agent_network }
    }

    fn network_objection(&self, action: &Action, facts: &Facts) -> Option<(String, Option<String>)> {
        let rule = self.network(facts.phase);
        let Some(contact) = contact(action) else {
            return Some(("it names no host".into(), None));
        };
        if self.registries.permit(rule, &contact) {
            return None;
        }
        // the host's name is the workspace's choice: as a rule, it must allow that host and no more
        let meaning = if is_loopback(contact.host()) { LOOPBACK } else { "" };
        let remedy = allowing(rule, &contact).map(|host| {
            let rule = rule.and(host);
            match facts.phase {
                Phase::Prepare => {
                    format!("`{} = \"{rule}\"` in the settings would allow it{meaning}", self.setup_key)
                }
                _ => format!(
                    "`{} = \"{rule}\"` in the settings, or `--network {rule}`, would allow it{meaning}",
                    self.agent_key
                ),
            }
        });
        let why = match contact.method() {
            None if rule.objects_to_method(&contact) => {
                ", which names methods for this host; a tunnel (CONNECT, as for https) hides them"
            }
            Some(_) if rule.objects_to_method(&contact) => ", which names other methods for this host",
            _ => "",
        };
        Some((format!("the network rule of this phase is `{rule}`{why}"), remedy))
    }
}

/// What a rule would have to name as well, and no more.
/// Nothing for an address where a cloud hands out the machine's credentials.
fn allowing(rule: &NetworkRule, contact: &Contact) -> Option<HostRule> {
    if contact.host().parse().is_ok_and(is_link_local) {
        return None;
    }
    let host = HostRule::from(HostPattern::only(contact.host(), contact.port())?);
    match contact.method() {
        Some(method) if rule.objects_to_method(contact) => host.by(method),
        _ => Some(host),
    }
}

/// What it means to let a workspace there.
const LOOPBACK: &str = ", and with it whatever listens there on this machine, not in the workspace";

fn is_loopback(host: &str) -> bool {
    let is_address = |address: IpAddr| address.to_canonical().is_loopback();
    host == "localhost" || host.parse().is_ok_and(is_address)
}

fn is_link_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn detail<'a>(action: &'a Action, key: &str) -> &'a str {
    action.details.get(key).and_then(|value| value.as_str()).unwrap_or_default()
}

/// What a `network-connect` or an `http-request` is to a rule; none for other
/// actions.
pub fn contact(action: &Action) -> Option<Contact> {
    match action.kind {
        ActionKind::NetworkConnect => {
            let port = u16::try_from(action.details.get("port")?.as_u64()?).ok()?;
            let (host, request) = (detail(action, "host"), detail(action, "request"));
            Some(match request.split_once(' ') {
                Some((method, _)) => Contact::request(method, host, port),
                None => Contact::tunnel(host, port),
            })
        }
        ActionKind::HttpRequest => {
            let url = url::Url::parse(detail(action, "url")).ok()?;
            Some(Contact::request(detail(action, "method"), url.host_str()?, url.port_or_known_default()?))
        }
        _ => None,
    }
}
