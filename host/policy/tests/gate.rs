//! The gate, through its public port.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use sortie_core::action::{
    Action, ActionKind, Effect, Exec, HttpRequest, ModelRequest, NetworkConnect, Push, RepositoryFetch,
    SecretUse,
};
use sortie_core::event::Event;
use sortie_core::network::NetworkRule;
use sortie_core::{Actor, Decision, Facts, Phase, Verdict};
use sortie_policy::{
    Answer, Approver, Audit, AuditError, Chain, Defaults, Fault, Gate, Layer, Link, Nobody, PolicyEvent,
    Question,
};
use sortie_testing::{Deciding, Kept, Still, Unkept, facts};

fn link(
    id: &str,
    layer: Layer,
    decide: impl Fn(&Action) -> Result<Decision, Fault> + Send + Sync + 'static,
) -> Link {
    let by = Deciding(move |event: &PolicyEvent| decide(&event.action).map(Verdict::of));
    Link { layer, ..sortie_testing::link(id, Arc::new(by)) }
}

fn always(id: &str, layer: Layer, decision: Decision) -> Link {
    link(id, layer, move |_| Ok(decision.clone()))
}

fn defaults() -> Defaults {
    Defaults {
        repository: "https://example.org/r".into(),
        provider: "scripted".into(),
        setup_network: NetworkRule::All,
        agent_network: "api.example.org".parse().expect("a rule"),
        ..sortie_testing::defaults()
    }
}

fn at(phase: Phase) -> Arc<Still> {
    Arc::new(Still::at(Facts { phase, ..facts() }))
}

fn gate_in(phase: Phase, links: Vec<Link>, audit: Arc<dyn Audit>, approver: Arc<dyn Approver>) -> Gate {
    Gate::new(Chain::new(links), defaults(), at(phase), audit, approver)
}

fn gate(links: Vec<Link>) -> Gate {
    gate_in(Phase::Work, links, Arc::new(Unkept), Arc::new(Nobody))
}

fn echo() -> Exec {
    Exec { argv: vec!["echo".into(), "a".into()], ..Exec::default() }
}

fn push() -> Push {
    Push { remote: "r".into(), reference: "refs/heads/main".into(), commit: "0".repeat(40), changes: vec![] }
}

async fn permits(gate: &Gate, effect: impl Effect) -> bool {
    gate.permit(&Actor::Agent, effect).await.is_ok()
}

#[tokio::test]
async fn without_policies_the_defaults_hold() {
    let gate = gate(vec![]);
    assert!(permits(&gate, echo()).await);
    assert!(!permits(&gate, push()).await);
    let fetch = |url: &str| RepositoryFetch { url: url.into(), reference: None };
    assert!(permits(&gate, fetch("https://example.org/r")).await);
    assert!(!permits(&gate, fetch("https://example.org/other")).await);
}

#[tokio::test]
async fn the_network_rule_of_the_phase_bounds_connections_and_requests() {
    let connect = |host: &str| NetworkConnect { host: host.into(), port: 443, request: None };
    let request = |url: &str| HttpRequest { method: "GET".into(), url: url.into() };
    let work = gate(vec![]);
    assert!(permits(&work, connect("api.example.org")).await);
    assert!(!permits(&work, connect("example.net")).await);
    assert!(permits(&work, request("https://api.example.org/x")).await);
    assert!(!permits(&work, request("https://user@example.net:443/api.example.org")).await);
    assert!(!permits(&work, request("nonsense")).await);
    let prepare = gate_in(Phase::Prepare, vec![], Arc::new(Unkept), Arc::new(Nobody));
    assert!(permits(&prepare, connect("example.net")).await);
}

#[tokio::test]
async fn the_remedy_for_a_refused_connection_allows_that_host_beside_what_was_allowed_and_no_more() {
    let work = gate(vec![]);
    let remedy = async |host: &str, port| {
        let connect = NetworkConnect { host: host.into(), port, request: None };
        work.permit(&Actor::Agent, connect).await.expect_err("refused").remedy
    };
    for (host, port, shown) in [
        ("example.net", 443, "`--network api.example.org,example.net`"),
        ("example.net", 8443, "`--network api.example.org,example.net:8443`"),
        ("::1", 8443, "`--network api.example.org,[::1]:8443`"),
        ("all", 443, "`--network api.example.org,all.`"),
    ] {
        let remedy = remedy(host, port).await.expect("a remedy");
        assert!(remedy.contains(shown), "{shown}: {remedy}");
    }
    for (host, is_told) in [
        ("127.0.0.1", true),
        ("::1", true),
        ("::ffff:127.0.0.1", true),
        ("localhost", true),
        ("10.0.0.1", false),
    ] {
        let remedy = remedy(host, 443).await.expect("a remedy");
        assert_eq!(remedy.contains("whatever listens there on this machine"), is_told, "{remedy}");
    }
    // nor is anybody told how to let a workspace at a cloud's credentials
    for host in
        ["*.net", "a.net,all", "a.net\n--network all", "169.254.169.254", "::ffff:169.254.169.254", "fe80::1"]
    {
        assert_eq!(remedy(host, 443).await, None, "{host}");
    }
}

#[tokio::test]
async fn registries_are_nobody_until_the_package_managers_were_asked() {
    let mut defaults = defaults();
    defaults.setup_network = "registries".parse().expect("a rule");
    let registries = defaults.registries.clone();
    let gate = sortie_testing::gate_with(vec![], defaults, at(Phase::Prepare), Arc::new(Unkept));
    let connect = |host: &str| NetworkConnect { host: host.into(), port: 443, request: None };
    let refused = gate.permit(&Actor::Host, connect("a.example")).await.expect_err("nobody was asked");
    assert_eq!(
        refused.remedy.as_deref(),
        Some("`network.setup = \"registries,a.example\"` in the settings would allow it")
    );
    registries.learn(vec!["a.example".parse().expect("a host")]);
    drop(gate.permit(&Actor::Host, connect("a.example")).await.expect("it is known"));
    gate.permit(&Actor::Host, connect("b.example")).await.expect_err("nobody named it");
    registries.learn(Vec::new());
    gate.permit(&Actor::Host, connect("a.example")).await.expect_err("nobody names it any more");
}

#[tokio::test]
async fn without_policies_another_provider_is_not_asked() {
    let request = |provider: &str| ModelRequest {
        provider: provider.into(),
        model: "m".into(),
        endpoint: "none".into(),
        max_output_tokens: 1,
        conversation: Arc::default(),
    };
    let gate = gate(vec![]);
    assert!(permits(&gate, request("scripted")).await);
    assert!(!permits(&gate, request("openai")).await);
}

#[tokio::test]
async fn without_policies_a_secret_is_used_in_set_up_alone() {
    for phase in [Phase::Prepare, Phase::Work, Phase::Verify, Phase::Deliver, Phase::Archive] {
        let gate = gate_in(phase, vec![], Arc::new(Unkept), Arc::new(Nobody));
        let used = SecretUse { name: "TOKEN".into(), environment: "ours".into() };
        assert_eq!(permits(&gate, used).await, phase == Phase::Prepare, "{phase:?}");
    }
}

#[tokio::test]
async fn deny_beats_ask_beats_allow_in_any_order() {
    let yes = || always("yes", Layer::User, Decision::Allow);
    let ask = || always("ask", Layer::User, Decision::Ask("sure?".into()));
    let no = || always("no", Layer::Organisation, Decision::Deny("no".into()));
    assert!(permits(&gate(vec![yes()]), push()).await);
    assert!(!permits(&gate(vec![yes(), ask()]), push()).await);
    let refusal = gate(vec![yes(), ask(), no()]).permit(&Actor::Agent, push()).await.expect_err("refused");
    assert_eq!(refusal.policy, "no");
}

#[tokio::test]
async fn a_repository_can_tighten_but_not_grant() {
    assert!(!permits(&gate(vec![always("r", Layer::Repository, Decision::Allow)]), push()).await);
    assert!(!permits(&gate(vec![always("r", Layer::Repository, Decision::Deny("x".into()))]), echo()).await);
}

/// Approves everything.
struct Somebody;

#[async_trait]
impl Approver for Somebody {
    async fn ask(&self, _: Question) -> Answer {
        Answer::Approved
    }
}

#[tokio::test]
async fn a_repository_cannot_have_a_person_asked_for_what_would_be_refused_without_it() {
    let ask = |id, layer| always(id, layer, Decision::Ask("the tests need it".into()));
    let gate = |links| gate_in(Phase::Work, links, Arc::new(Unkept), Arc::new(Somebody));
    let repository = || ask("r", Layer::Repository);
    let refusal = gate(vec![repository()]).permit(&Actor::Agent, push()).await.expect_err("refused");
    assert_eq!(refusal.policy, "default");
    // it still tightens what the others let through, and theirs is still a grant
    assert!(permits(&gate(vec![repository()]), echo()).await);
    assert!(
        !permits(&gate_in(Phase::Work, vec![repository()], Arc::new(Unkept), Arc::new(Nobody)), echo()).await
    );
    assert!(permits(&gate(vec![repository(), always("u", Layer::User, Decision::Allow)]), push()).await);
    assert!(permits(&gate(vec![ask("u", Layer::User)]), push()).await);
}

#[tokio::test]
async fn a_repository_changes_no_action_whatever_is_set() {
    let rewrite = |action: &Action| {
        let mut details = action.details.clone();
        details["argv"] = json!(["rm"]);
        Ok(Decision::Transform(details))
    };
    let link = Link { mutates: true, ..link("r", Layer::Repository, rewrite) };
    let refusal = gate(vec![link]).permit(&Actor::Agent, echo()).await.expect_err("refused");
    assert!(refusal.fault && refusal.reason.contains("may not change actions"), "{refusal}");
}

#[tokio::test]
async fn policies_stand_in_order_of_layer_then_priority_then_id() {
    let mark = |id: &str, layer, priority| {
        let name = id.to_owned();
        let append = move |action: &Action| {
            let mut details = action.details.clone();
            let argv = details["argv"].as_array_mut().expect("an array");
            if argv.contains(&json!(name)) {
                return Ok(Decision::Abstain);
            }
            argv.push(json!(name));
            Ok(Decision::Transform(details))
        };
        Link { mutates: true, priority, ..link(id, layer, append) }
    };
    let gate = gate(vec![
        mark("d", Layer::User, 1),
        mark("c", Layer::User, 1),
        mark("z", Layer::User, 0),
        mark("y", Layer::Organisation, 9),
    ]);
    let permit = gate.permit(&Actor::Agent, echo()).await.expect("permitted");
    assert_eq!(permit.action().argv, ["echo", "a", "y", "z", "c", "d"]);
}

#[tokio::test]
async fn a_fault_denies_what_the_policy_subscribes_to_and_nothing_else() {
    let broken = || link("broken", Layer::User, |_| Err(Fault("trap: unreachable".into())));
    let refusal = gate(vec![broken()]).permit(&Actor::Agent, echo()).await.expect_err("refused");
    assert!(refusal.fault && refusal.reason.contains("unreachable"), "{refusal}");
    let only_push = Link { subscribes: BTreeSet::from([ActionKind::Push]), ..broken() };
    assert!(permits(&gate(vec![only_push]), echo()).await);
}

#[tokio::test]
async fn a_permit_owns_the_action_as_it_was_transformed() {
    let rewrite = |action: &Action| {
        let mut details = action.details.clone();
        details["argv"] = json!(["echo", "b"]);
        Ok(Decision::Transform(details))
    };
    let mutator = Link { mutates: true, ..link("mutator", Layer::User, rewrite) };
    let gate = gate(vec![mutator]);
    let exec =
        gate.permit(&Actor::Agent, echo()).await.expect("permitted").redeem(gate.seal()).expect("ours");
    assert_eq!(exec.argv, ["echo", "b"]);
}

#[tokio::test]
async fn every_policy_sees_the_final_action() {
    let rewrite = |action: &Action| {
        let mut details = action.details.clone();
        details["argv"] = json!(["rm", "-rf"]);
        Ok(Decision::Transform(details))
    };
    let no_rm = |action: &Action| match action.target.as_str() {
        target if target.starts_with("rm") => Ok(Decision::Deny("no rm".into())),
        _ => Ok(Decision::Abstain),
    };
    // the policy that objects stands before the mutator in the chain
    let links = vec![
        link("a-no-rm", Layer::Organisation, no_rm),
        Link { mutates: true, ..link("mutator", Layer::User, rewrite) },
    ];
    assert!(!permits(&gate(links), echo()).await);
}

#[tokio::test]
async fn a_transform_without_leave_of_nonsense_or_without_end_is_a_fault() {
    let as_it_is = |action: &Action| Ok(Decision::Transform(action.details.clone()));
    let nonsense = |_: &Action| Ok(Decision::Transform(json!({ "argv": 7 })));
    let growing = |action: &Action| {
        let mut details = action.details.clone();
        let argv = details["argv"].as_array_mut().expect("an array");
        argv.push(Value::from("x"));
        Ok(Decision::Transform(details))
    };
    let mutator = |l: Link| Link { mutates: true, ..l };
    assert!(permits(&gate(vec![mutator(link("m", Layer::User, as_it_is))]), echo()).await);
    // once it had its way, this one has nothing left to ask for
    let once = |action: &Action| match action.details["argv"].as_array() {
        Some(argv) if argv.len() == 2 => Ok(Decision::Transform(json!({ "argv": ["rm"] }))),
        _ => Ok(Decision::Abstain),
    };
    for (bad, why) in [
        (link("m", Layer::User, as_it_is), "did not set `mutates`"),
        (link("m", Layer::User, once), "did not set `mutates`"),
        (mutator(link("m", Layer::User, nonsense)), "transformed the action to nonsense"),
        (mutator(link("m", Layer::User, growing)), "do not settle"),
    ] {
        let refusal = gate(vec![bad]).permit(&Actor::Agent, echo()).await.expect_err(why);
        assert!(refusal.fault && refusal.reason.contains(why), "{refusal}");
    }
}

/// A record that takes nothing any more.
struct Full;

impl Audit for Full {
    fn record(&self, _: Event) -> Result<(), AuditError> {
        Err(AuditError("disk full".into()))
    }
}

#[tokio::test]
async fn an_action_whose_decision_cannot_be_recorded_does_not_happen() {
    let gate = gate_in(Phase::Work, vec![], Arc::new(Full), Arc::new(Nobody));
    let refusal = gate.permit(&Actor::Agent, echo()).await.expect_err("refused");
    assert_eq!((refusal.policy.as_str(), refusal.fault), ("audit", true));
}

#[tokio::test]
async fn every_decision_leaves_one_record() {
    let log = Arc::<Kept>::default();
    let broken = link("broken", Layer::User, |_| Err(Fault("trap".into())));
    let broken = Link { subscribes: BTreeSet::from([ActionKind::RepositoryFetch]), ..broken };
    let gate = gate_in(Phase::Work, vec![broken], Arc::clone(&log) as _, Arc::new(Nobody));
    assert!(permits(&gate, echo()).await);
    assert!(!permits(&gate, push()).await);
    assert!(!permits(&gate, RepositoryFetch { url: "x".into(), reference: None }).await);
    let lines = log.events();
    let decisions: Vec<_> = lines
        .iter()
        .map(|event| match event {
            Event::Decision { decision, kind, .. } => (decision.as_str(), *kind),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected =
        [("allow", ActionKind::Exec), ("deny", ActionKind::Push), ("fault", ActionKind::RepositoryFetch)];
    assert_eq!(decisions, expected);
}

/// Approves what it is told to approve, by digest.
struct ApprovesOnce(Mutex<Vec<String>>);

#[async_trait]
impl Approver for ApprovesOnce {
    async fn ask(&self, question: Question) -> Answer {
        let mut seen = self.0.lock().expect("not poisoned");
        if seen.contains(&question.digest) {
            return Answer::Denied("asked before".into());
        }
        seen.push(question.digest);
        Answer::Approved
    }
}

#[tokio::test]
async fn an_approval_is_asked_for_each_action_by_its_digest() {
    let ask = always("ask", Layer::User, Decision::Ask("sure?".into()));
    let gate = gate_in(Phase::Work, vec![ask], Arc::new(Unkept), Arc::new(ApprovesOnce(Mutex::default())));
    assert!(permits(&gate, echo()).await);
    assert!(!permits(&gate, echo()).await);
    assert!(permits(&gate, Exec { argv: vec!["echo".into(), "b".into()], ..Exec::default() }).await);
}

#[tokio::test]
async fn a_permit_of_another_gate_is_refused() {
    let (ours, other) = (gate(vec![]), gate(vec![]));
    let permit = other.permit(&Actor::Agent, echo()).await.expect("permitted");
    assert!(permit.redeem(ours.seal()).is_err());
}
