//! Budgets.

use std::time::Duration;

use serde_json::json;
use sortie_agent::Limits;
use sortie_core::Outcome;
use sortie_core::outcome::Usage;

use crate::world::{Says, World, call, calls, finish, reply};

fn echo(text: usize) -> Says {
    call("a", "echo", json!({ "text": text.to_string() }))
}

#[tokio::test]
async fn the_turn_limit_ends_the_work_and_is_announced_once() {
    let world = World::limited((0..20).map(echo), Limits { turns: 10, ..Limits::default() });
    let ended = world.work().await;
    assert_eq!(ended.outcome, Outcome::Budget);
    assert!(ended.summary.contains("10 turns"), "{}", ended.summary);
    let asked = world.asked();
    let told = |turn: usize| format!("{:?}", asked[turn].messages).matches("nearly spent").count();
    assert_eq!((asked.len(), told(8), told(9)), (10, 0, 1));
    assert_eq!(world.meter.usage().turns, 10);
}

#[tokio::test]
async fn the_token_limit_ends_the_work() {
    let world = World::limited((0..20).map(echo), Limits { tokens: 30, ..Limits::default() });
    let ended = world.work().await;
    assert_eq!((ended.outcome, world.asked().len()), (Outcome::Budget, 3));
    assert!(ended.summary.contains("30 tokens"), "{}", ended.summary);
}

#[tokio::test]
async fn a_server_that_claims_all_the_tokens_there_are_spends_the_budget() {
    let greedy = || {
        let Says::Reply(mut reply) = echo(0) else { unreachable!("echo is a reply") };
        reply.usage = Usage { input_tokens: u64::MAX, output_tokens: u64::MAX, ..Usage::default() };
        Says::Reply(reply)
    };
    let limits = Limits { tokens: u64::MAX, time: Duration::MAX, ..Limits::default() };
    let world = World::limited([echo(1), greedy(), greedy()], limits);
    assert_eq!(world.work().await.outcome, Outcome::Budget);
    assert_eq!((world.asked().len(), world.meter.usage().input_tokens), (2, u64::MAX));
}

#[tokio::test]
async fn the_time_limit_ends_the_work_before_a_turn() {
    let world = World::limited([finish("done")], Limits { time: Duration::ZERO, ..Limits::default() });
    assert_eq!(world.work().await.outcome, Outcome::Budget);
    assert!(world.asked().is_empty());
}

#[tokio::test]
async fn the_time_limit_ends_the_wait_for_a_model() {
    // two empty replies before it: the third without anything is the time's doing, not the model's
    let silent = || Says::Reply(reply(vec![]));
    let limits = Limits { time: Duration::from_millis(50), ..Limits::default() };
    let ended = World::limited([silent(), silent(), Says::Nothing], limits).work().await;
    assert_eq!(ended.outcome, Outcome::Budget, "{}", ended.summary);
}

#[tokio::test]
async fn calls_after_the_time_limit_do_not_run_and_a_finish_still_counts() {
    let limits = Limits { time: Duration::from_secs(3), ..Limits::default() };
    let arguments = json!({ "outcome": "done", "title": "t", "summary": "s" });
    let late = [("a", "waits", json!({})), ("b", "echo", json!({})), ("c", "finish", arguments)];
    let world = World::limited([calls(&late)], limits);
    assert_eq!(world.work().await.outcome, Outcome::Done);
    assert_eq!(world.log.acted(), ["a"]);
    // many that do not run are no circles of the model's
    let mut late = late[..2].to_vec();
    late.extend(vec![("b", "echo", json!({})); 10]);
    let world = World::limited([calls(&late)], limits);
    assert_eq!(world.work().await.outcome, Outcome::Budget);
    assert!(!format!("{:?}", world.log.events()).contains("in circles"));
}

#[tokio::test]
async fn calls_beyond_the_bound_of_one_reply_do_not_run() {
    let ids: Vec<_> = (0..70).map(|at| at.to_string()).collect();
    let many: Vec<_> = ids.iter().map(|id| (id.as_str(), "echo", json!({ "text": id }))).collect();
    let world = World::new([calls(&many), finish("done")]);
    assert_eq!(world.work().await.outcome, Outcome::Done);
    assert_eq!(world.log.acted().len(), 64);
    let told = world.told();
    assert!(told.len() == 70 && told[64].contains("more calls than are run of one"), "{:?}", &told[60..]);
}
