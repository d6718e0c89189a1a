//! The order of a run.

use sortie_core::Outcome;
use sortie_orchestrator::RunError;

use crate::world::{Archives, Pushes, Ways, run, run_with};

#[tokio::test]
async fn every_effect_has_its_intent_on_the_disk() {
    let world = run(Pushes::Well, false).await;
    let (report, error) = world.ended.as_ref().expect("there is a report");
    assert_eq!((report.outcome, error.is_none()), (Outcome::Done, true));
    assert_eq!(world.effects(), ["fetch", "workspace", "model", "commit", "push", "stop", "archive"]);
    for (effect, step) in [
        ("fetch", "clone"),
        ("workspace", "workspace"),
        ("commit", "commit"),
        ("push", "push"),
        ("archive", "archive"),
    ] {
        let durable = world.durable_at(effect);
        let last = durable.lines().rfind(|line| line.contains("step.")).expect("there are steps");
        assert!(last.contains("step.started") && last.contains(&format!("\"{step}\"")), "{effect}: {last}");
    }
    assert!(world.durable_at("model").lines().last().expect("events").contains("model.requested"));
    // what leaves the work tree: the decision as well
    for effect in ["commit", "push"] {
        let durable = world.durable_at(effect);
        let last = durable.lines().last().expect("events");
        assert!(last.contains("\"decision\"") && last.contains(&format!("\"kind\":\"{effect}\"")), "{last}");
    }
}

#[tokio::test]
async fn a_delivered_workspace_is_removed() {
    assert!(!run(Pushes::Well, false).await.work_tree.exists());
}

#[tokio::test]
async fn a_workspace_stays_where_the_journal_cannot_say_that_its_work_was_delivered() {
    let world = run(Pushes::Well, true).await;
    assert!(matches!(world.ended, Err(RunError::Journal(_))), "{:?}", world.ended);
    assert!(world.work_tree.exists());
}

#[tokio::test]
async fn a_push_that_the_remote_takes_while_the_task_is_cancelled_is_told() {
    let world = run(Pushes::WhileCancelled, false).await;
    assert_eq!(world.effects()[5..], ["pushed", "stop", "archive"]);
    let (report, error) = world.ended.expect("there is a report");
    assert_eq!((report.outcome, report.branch.as_deref()), (Outcome::Done, Some("sortie/a")), "{error:?}");
}

#[tokio::test]
async fn what_fails_once_the_task_is_cancelled_is_the_cancellation() {
    let world = run(Pushes::UntilCancelled, false).await;
    assert_eq!(world.effects()[5..], ["pushed", "stop", "archive"]);
    let (report, error) = world.ended.as_ref().expect("there is a report");
    assert_eq!((report.outcome, report.branch.as_deref()), (Outcome::Cancelled, None));
    assert!(matches!(error, Some(RunError::Cancelled)), "{error:?}");
    assert!(world.work_tree.exists());
}

#[tokio::test]
async fn a_workspace_goes_once_its_work_is_somewhere_else() {
    for (pushes, archives, keep, stays) in [
        (Pushes::UntilCancelled, Archives::Whole, false, false),
        (Pushes::UntilCancelled, Archives::Partial, false, true),
        (Pushes::UntilCancelled, Archives::Unwanted, false, true),
        (Pushes::UntilCancelled, Archives::Failed, false, true),
        (Pushes::UntilCancelled, Archives::Whole, true, true),
        (Pushes::Well, Archives::Failed, false, false),
        (Pushes::Well, Archives::Whole, true, true),
    ] {
        let world = run_with(Ways { pushes, archives, keep, ..Ways::default() }).await;
        assert_eq!(world.work_tree.exists(), stays, "{pushes:?} {archives:?} {keep}");
        world.ended.expect("no archive fails a task");
    }
}

#[tokio::test]
async fn what_the_agent_left_running_is_named_once() {
    let world = run(Pushes::Well, false).await;
    let (report, _) = world.ended.expect("there is a report");
    let left: Vec<_> =
        report.background.iter().map(|left| (left.id.as_str(), left.command.as_str(), left.ms)).collect();
    assert_eq!(left, [("p1", "sleep 9", 2000)]);
}
