//! Tool calls: what runs, and what the model is told.

use serde_json::{Value, json};
use sortie_agent::Limits;
use sortie_core::action::ActionKind;
use sortie_core::event::Event;
use sortie_core::{Decision, Outcome};
use sortie_policy::FactsSource as _;

use crate::world::{Policy, World, call, calls, finish};

/// The world after one call and a finish.
async fn after(tool: &str, arguments: Value) -> World {
    let world = World::new([call("a", tool, arguments), finish("done")]);
    assert_eq!(world.work().await.outcome, Outcome::Done);
    world
}

#[tokio::test]
async fn calls_of_one_reply_run_in_order_and_each_has_its_result() {
    let three = [
        ("1", "echo", json!({ "text": "one" })),
        ("2", "fails", json!({})),
        ("3", "echo", json!({ "text": "three" })),
    ];
    let world = World::new([calls(&three), finish("done")]);
    world.work().await;
    assert_eq!(world.log.acted(), ["1", "2", "3"]);
    assert_eq!(world.told(), ["one", "no such file", "three"]);
    assert_eq!(world.meter.usage().tool_calls, 3);
}

#[tokio::test]
async fn an_unknown_tool_is_answered_with_those_there_are() {
    let world = after("shel\u{1b}[2Jl", json!({})).await;
    let told = world.told().concat();
    assert!(told.starts_with("there is no tool `shell`; there are: cancels, echo,"), "{told}");
    assert!(told.contains("finish") && world.log.acted().is_empty(), "{told}");
}

#[tokio::test]
async fn malformed_arguments_are_answered_and_run_nothing() {
    for arguments in ["{\"text\": ", "", "[1]"] {
        let world = after("echo", Value::String(arguments.into())).await;
        assert!(world.told()[0].starts_with("malformed arguments"), "{:?}", world.told());
        assert!(world.log.acted().is_empty());
    }
    for tool in ["finish", "update_plan", "read_output"] {
        let world = after(tool, json!({ "outcome": "splendid" })).await;
        assert!(world.told()[0].contains(&format!("the arguments of `{tool}` are not valid")));
    }
}

#[tokio::test]
async fn what_an_answer_repeats_is_bounded() {
    let long = "x".repeat(1 << 20);
    let world = after("echo", json!([long])).await;
    assert!(world.told()[0].len() < 20_000);
    let world = after("finish", json!({ "outcome": long })).await;
    assert!(world.told()[0].len() < 20_000);
}

#[tokio::test]
async fn an_error_of_a_tool_reaches_the_model_without_escapes() {
    let world = after("fails", json!({})).await;
    assert_eq!(world.told(), ["no such file"]);
    let result = |event: &Event| matches!(event, Event::Decision { actor, kind: ActionKind::ToolResult, .. } if actor == "tool:props");
    assert!(world.log.events().iter().any(result), "the plugin is the actor");
    let failed = |event: &Event| matches!(event, Event::ToolEnded { failed: true, .. });
    assert!(world.log.events().iter().any(failed));
}

#[tokio::test]
async fn a_refused_call_runs_nothing_and_the_model_learns_why() {
    let policy = Policy { on: ActionKind::ToolCall, decide: |_| Decision::Deny("not on a Sunday".into()) };
    let world = World::governed([call("a", "echo", json!({})), finish("done")], policy);
    world.work().await;
    assert!(world.log.acted().is_empty());
    assert!(world.told()[0].contains("not on a Sunday"), "{:?}", world.told());
}

#[tokio::test]
async fn a_refused_result_is_withheld() {
    let policy = Policy { on: ActionKind::ToolResult, decide: |_| Decision::Deny("it is private".into()) };
    let world = World::governed([call("a", "secretive", json!({})), finish("done")], policy);
    world.work().await;
    assert!(world.told()[0].contains("it is private"), "{:?}", world.told());
    assert!(!format!("{:?} {:?}", world.log.events(), world.asked()).contains("hunter2"));
}

#[tokio::test]
async fn what_a_policy_takes_out_of_a_result_is_nowhere() {
    let redact = |details: &Value| {
        let content = details["content"].as_str().unwrap_or_default();
        if !content.contains("hunter2") {
            return Decision::Abstain;
        }
        let mut details = details.clone();
        details["content"] = content.replace("hunter2", "****").into();
        Decision::Transform(details)
    };
    let policy = Policy { on: ActionKind::ToolResult, decide: redact };
    let world = World::governed([call("a", "secretive", json!({})), finish("done")], policy);
    world.work().await;
    assert_eq!(world.told(), ["the password is ****"]);
    assert!(!format!("{:?}", world.log.events()).contains("hunter2"), "the details still hold it");
}

#[tokio::test]
async fn a_long_output_is_shortened_and_the_whole_can_be_paged_through() {
    let text: String = (0..6000).map(|line| format!("line {line}\n")).collect();
    let page = |name: &str, start: usize| {
        call("b", "read_output", json!({ "output": name, "start": start, "max": 1_000_000 }))
    };
    let world = World::new([call("a", "echo", json!({ "text": text })), finish("done")]);
    world.work().await;
    let told = world.told().concat();
    assert!(told.starts_with("line 0\n") && told.contains("line 5999\n"), "{told}");
    assert!(told.chars().count() < 11_000 && !told.contains("line 2500\n"));
    let name = told.rsplit('`').nth(3).expect("the output is named").to_owned();
    let world = World::new([
        call("a", "echo", json!({ "text": text })),
        page(&name, 20_000),
        page("0000000000000000", 0),
        finish("done"),
    ]);
    world.work().await;
    let asked = world.asked();
    let shown = format!("{:?}", asked[2].messages);
    assert!(shown.contains("[characters 20000 to 50000 of "), "{shown}");
    assert_eq!(world.told(), ["there is no output `0000000000000000`"]);
}

#[tokio::test]
async fn no_setting_shows_more_of_an_output_than_the_bound() {
    let limits = Limits { shown: usize::MAX, ..Limits::default() };
    let text = "x".repeat(100_000);
    let world = World::limited([call("a", "echo", json!({ "text": text })), finish("done")], limits);
    world.work().await;
    assert!(world.told()[0].len() < 31_000);
}

#[tokio::test]
async fn policies_learn_that_text_from_the_network_was_read() {
    let world = after("echo", json!({})).await;
    assert!(!world.meter.facts().untrusted_text);
    let world = after("fetches", json!({})).await;
    assert!(world.meter.facts().untrusted_text);
}

#[tokio::test]
async fn a_plan_is_shown_and_a_malformed_one_is_not() {
    let plan = json!({ "steps": [{ "step": "look", "status": "in_progress" }] });
    let says = [call("a", "update_plan", plan.clone()), call("b", "update_plan", json!({})), finish("done")];
    let world = World::new(says);
    world.work().await;
    let plans: Vec<_> = world
        .log
        .events()
        .into_iter()
        .filter_map(|event| if let Event::PlanUpdated { steps } = event { Some(steps) } else { None })
        .collect();
    assert_eq!(plans, [plan["steps"].clone()]);
}
