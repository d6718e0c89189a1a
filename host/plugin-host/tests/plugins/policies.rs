//! Policies, through a real gate.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use sortie_core::action::{Effect as _, TaskSubmit};
use sortie_core::{ActionKind, Actor, Decision};
use sortie_plugin_host::{Limits, PluginSpec};
use sortie_policy::{Evaluator, FactsSource as _, Gate, PolicyEvent};

use crate::components::{self, host_with};
use crate::task::{Decisions, Log, gate, link, named, still};

async fn evaluator(log: &Log) -> Arc<dyn Evaluator> {
    evaluator_within(log, Duration::from_secs(120)).await
}

async fn evaluator_within(log: &Log, policy_time: Duration) -> Arc<dyn Evaluator> {
    let limits = Limits { policy_time, ..Default::default() };
    let spec = PluginSpec::new("fixture", components::policy(), "fixture");
    host_with(log, limits).load_policy(spec).await.expect("loads").into_evaluator(log.shared())
}

async fn governed(log: &Log) -> Arc<Gate> {
    gate(vec![link("fixture", &[ActionKind::ToolCall], evaluator(log).await)], &Decisions::default())
}

fn event(target: &str) -> PolicyEvent {
    PolicyEvent {
        id: "d1".into(),
        actor: "agent".into(),
        action: named(target).action(),
        facts: still().facts(),
    }
}

#[tokio::test]
async fn each_decision_comes_through_with_its_rule() {
    let policy = evaluator(&Log::default()).await;
    for (target, decision) in [
        ("something", Decision::Abstain),
        ("allow", Decision::Allow),
        ("ask", Decision::Ask("is it red?".into())),
        ("deny", Decision::Deny("it is red".into())),
    ] {
        let verdict = policy.evaluate(&event(target)).await.expect("decides");
        assert_eq!(verdict.decision, decision);
        assert_eq!(
            (verdict.rule.as_deref(), verdict.remedy.as_deref()),
            (Some("a-rule"), Some("ask nicely"))
        );
    }
    let verdict = policy.evaluate(&event("transform")).await.expect("decides");
    let Decision::Transform(details) = verdict.decision else { panic!("{verdict:?}") };
    assert_eq!(details["tool"], "changed");
}

#[tokio::test]
async fn a_policy_sees_the_actor_and_the_facts() {
    let policy = evaluator(&Log::default()).await;
    let verdict = policy.evaluate(&event("facts")).await.expect("decides");
    let Decision::Deny(text) = verdict.decision else { panic!("{verdict:?}") };
    for part in ["agent ", r#""now":"2023-11-14T22:13:20Z""#, r#""phase":"work""#, r#""task":"task-222222""#]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn the_same_event_gives_the_same_verdict_and_the_clock_stands_still() {
    let (first, second) = (evaluator(&Log::default()).await, evaluator(&Log::default()).await);
    let one = first.evaluate(&event("surroundings")).await.expect("decides");
    assert_eq!(one, first.evaluate(&event("surroundings")).await.expect("decides"));
    assert_eq!(one, second.evaluate(&event("surroundings")).await.expect("decides"));
    let Decision::Deny(text) = &one.decision else { panic!("{one:?}") };
    assert!(text.ends_with("1700000000000 0ns"), "{text}");

    let mut orders = std::collections::BTreeSet::new();
    for number in 0..8 {
        let other = PolicyEvent { id: format!("d{number}"), ..event("surroundings") };
        orders.insert(format!("{:?}", first.evaluate(&other).await.expect("decides").decision));
    }
    assert!(orders.len() > 1, "another event has another seed: {orders:?}");
}

#[tokio::test]
async fn a_policy_that_misbehaves_denies_as_a_fault_and_the_next_event_is_decided() {
    let log = Log::default();
    let gate = governed(&log).await;
    for (target, reason) in [
        ("allocate", "it wanted more than its 64 MiB of memory"),
        ("recurse", "it accessed memory out of bounds, or recursed too deeply"),
        ("panic", "it panicked or aborted"),
        ("exit", "it exited with status 1 instead of answering"),
        ("malformed", "malformed JSON"),
        ("no-object", "an object was expected, not an array"),
    ] {
        let refusal = gate.permit(&Actor::Agent, named(target)).await.expect_err(target);
        assert!(refusal.fault, "{target}: {refusal}");
        assert_eq!(refusal.policy, "fixture");
        assert!(refusal.reason.contains(reason), "{target}: {refusal}");
        assert!(gate.permit(&Actor::Agent, named("allow")).await.is_ok(), "after {target}");
    }
    assert!(log.take().iter().any(|line| line.contains("the policy panicked on purpose")));
}

#[tokio::test]
async fn a_policy_that_loops_denies_as_a_fault() {
    let policy = evaluator_within(&Log::default(), Duration::from_millis(300)).await;
    let gate = gate(vec![link("fixture", &[ActionKind::ToolCall], policy)], &Decisions::default());
    let refusal = gate.permit(&Actor::Agent, named("loop")).await.expect_err("it loops");
    assert!(refusal.fault && refusal.reason.contains("it ran longer than its 300 ms"), "{refusal}");
}

#[tokio::test]
async fn a_machine_that_stands_still_is_no_fault_of_a_policys() {
    let policy = evaluator_within(&Log::default(), Duration::from_secs(1)).await;
    let event = event("loop");
    let mut evaluated = pin!(policy.evaluate(&event));
    tokio::time::pause();
    for _ in 0..40 {
        assert!(evaluated.as_mut().now_or_never().is_none(), "it had no turn in that time");
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    // it is bounded all the same
    for _ in 0..40 {
        if let Some(ended) = evaluated.as_mut().now_or_never() {
            let fault = ended.expect_err("it loops").to_string();
            return assert!(fault.contains("it ran longer than its 1000 ms"), "{fault}");
        }
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    panic!("nobody ends it");
}

#[tokio::test]
async fn a_faulty_policy_closes_the_gate_for_what_it_subscribes_to_and_nothing_else() {
    let gate = governed(&Log::default()).await;
    let submit = TaskSubmit { prompt: "loop".into(), repository: "loop".into(), model: "x/y".into() };
    assert!(gate.permit(&Actor::Host, submit).await.is_ok());
    assert!(gate.permit(&Actor::Agent, named("panic")).await.is_err());
}

#[tokio::test]
async fn a_policy_that_prints_without_end_decides_and_its_output_is_cut() {
    let log = Log::default();
    let gate = governed(&log).await;
    assert!(gate.permit(&Actor::Agent, named("print")).await.is_ok());
    let log = log.take();
    assert!(log.iter().map(String::len).sum::<usize>() < 100_000);
    assert!(log.iter().any(|line| line.contains("bytes more were dropped")));
}

#[tokio::test]
async fn a_denial_keeps_no_escapes() {
    let refusal =
        governed(&Log::default()).await.permit(&Actor::Agent, named("deny")).await.expect_err("denied");
    assert!(!refusal.fault);
    assert_eq!(refusal.reason, "it is red");
    assert_eq!(refusal.rule.as_deref(), Some("a-rule"));
}
