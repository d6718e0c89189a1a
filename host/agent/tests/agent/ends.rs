//! How the work ends.

use serde_json::json;
use sortie_agent::AgentError;
use sortie_core::action::ActionKind;
use sortie_core::conversation::{Item, StopReason};
use sortie_core::{Decision, Outcome};
use sortie_policy::ports::ModelError;

use crate::world::{Policy, Says, World, call, calls, finish, reply, says};

#[tokio::test]
async fn finish_ends_the_work_with_its_outcome_title_and_summary() {
    for (text, outcome) in
        [("done", Outcome::Done), ("partial", Outcome::Partial), ("blocked", Outcome::Blocked)]
    {
        let ended = World::new([finish(text)]).work().await;
        assert_eq!(
            (ended.outcome, ended.title.as_str(), ended.summary.as_str()),
            (outcome, "Mend it", "It is mended.")
        );
    }
}

#[tokio::test]
async fn a_reply_without_tool_calls_ends_the_work_with_its_text() {
    let ended = World::new([says("All is\n\u{1b}[1mwell.")]).work().await;
    assert_eq!(
        (ended.outcome, ended.title.as_str(), ended.summary.as_str()),
        (Outcome::Done, "All is well.", "All is\nwell.")
    );
}

#[tokio::test]
async fn an_empty_reply_is_told_and_the_third_in_a_row_fails() {
    let world = World::new([says(""), says("\n"), finish("done")]);
    assert_eq!(world.work().await.outcome, Outcome::Done);
    assert!(world.told().concat().contains("Your reply was empty"), "{:?}", world.told());
    let ended = World::new([says(""), says(" "), says(""), finish("done")]).work().await;
    assert_eq!(ended.outcome, Outcome::Failed);
    assert!(ended.summary.contains("3 replies in a row"), "{}", ended.summary);
    // calls in between begin the count anew
    let between = call("a", "echo", json!({ "text": "x" }));
    let world = World::new([says(""), says(""), between, says(""), finish("done")]);
    assert_eq!(world.work().await.outcome, Outcome::Done);
}

#[tokio::test]
async fn a_reply_that_was_cut_is_no_end() {
    let mut cut = reply(vec![Item::Text { text: "I will now".into() }]);
    cut.stop = StopReason::Length;
    let world = World::new([Says::Reply(cut), finish("done")]);
    assert_eq!(world.work().await.summary, "It is mended.");
    assert!(world.told().concat().contains("cut at its length"), "{:?}", world.told());
}

#[tokio::test]
async fn a_model_that_declines_blocks_the_task() {
    let mut declined = reply(vec![]);
    declined.stop = StopReason::Declined;
    let ended = World::new([Says::Reply(declined)]).work().await;
    assert_eq!((ended.outcome, ended.summary.as_str()), (Outcome::Blocked, "the model declined the task"));
}

#[tokio::test]
async fn a_model_that_fails_is_an_error() {
    let error = World::new([]).try_work().await.expect_err("there is no reply");
    assert!(matches!(error, AgentError::Model(ModelError::Protocol { .. })), "{error}");
}

#[tokio::test]
async fn a_model_that_may_not_be_asked_is_an_error_and_is_not_asked() {
    let policy = Policy { on: ActionKind::ModelRequest, decide: |_| Decision::Deny("no models".into()) };
    let world = World::governed([finish("done")], policy);
    assert!(matches!(world.try_work().await, Err(AgentError::Refused(_))));
    assert!(world.asked().is_empty());
}

#[tokio::test]
async fn cancelling_ends_the_wait_for_the_model() {
    let ended = World::new([Says::Cancels]).work().await;
    assert_eq!(ended.outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn cancelling_ends_the_call_and_those_after_it_do_not_run() {
    let world = World::new([calls(&[("a", "cancels", json!({})), ("b", "echo", json!({}))]), finish("done")]);
    assert_eq!(world.work().await.outcome, Outcome::Cancelled);
    assert_eq!(world.log.acted(), ["a"]);
    assert_eq!(world.asked().len(), 1);
}

#[tokio::test]
async fn cancelling_ends_the_wait_for_a_person() {
    for on in [ActionKind::ModelRequest, ActionKind::ToolCall, ActionKind::ToolResult] {
        let policy = Policy { on, decide: |_| Decision::Ask("may it?".into()) };
        let world = World::governed([call("a", "echo", json!({})), finish("done")], policy);
        assert_eq!(world.work().await.outcome, Outcome::Cancelled, "{on}");
        assert_eq!(world.log.acted().is_empty(), on != ActionKind::ToolResult, "{on}");
    }
}

#[tokio::test]
async fn going_in_circles_is_told_once_then_stopped() {
    let same = || call("a", "echo", json!({ "text": "x" }));
    let world = World::new((0..8).map(|_| same()));
    let ended = world.work().await;
    assert_eq!(ended.outcome, Outcome::Failed);
    assert!(ended.summary.contains("in circles"), "{}", ended.summary);
    let asked = world.asked();
    let told = |turn: usize| format!("{:?}", asked[turn].messages).matches("going in circles").count();
    assert_eq!((asked.len(), told(3), told(4), told(7)), (8, 0, 1, 1));
}

#[tokio::test]
async fn circles_within_one_reply_are_told_before_they_stop_the_work() {
    let many: Vec<_> = (0..12).map(|_| ("a", "fails", json!({}))).collect();
    let world = World::new([calls(&many), finish("done")]);
    assert_eq!(world.work().await.outcome, Outcome::Done);
    assert!(world.told().concat().contains("going in circles"), "{:?}", world.told());
    let world = World::new([calls(&many), calls(&many), finish("done")]);
    assert_eq!(world.work().await.outcome, Outcome::Failed);
}
