//! What a run does around its set-up.

use std::time::Duration;

use sortie_core::Outcome;
use sortie_core::action::Stage;
use sortie_environment::{Environment, Image, Origin};

use crate::world::{Archives, Starts, Ways, World, roots_files, run_with};

/// The repository's own, with a set-up, in containers.
fn described() -> Ways {
    let environment = Environment {
        origin: Origin::Repository,
        image: Some(Image::Named("theirs".into())),
        setup: vec!["make".into()],
        ..Environment::default()
    };
    Ways { backend: "docker", environment: Some(environment), ..Ways::default() }
}

fn outcome(world: &World) -> Outcome {
    world.ended.as_ref().expect("there is a report").0.outcome
}

#[tokio::test]
async fn package_managers_are_asked_in_no_image_of_the_repositorys_choice() {
    let world = run_with(Ways { wants_registries: true, ..described() }).await;
    assert_eq!(outcome(&world), Outcome::Done);
    let made: Vec<_> = world.created().into_iter().map(|create| (create.stage, create.image)).collect();
    let of = |stage, image: &str| (stage, Some(image.to_owned()));
    // the first is that of the questions, with what stands for the toolchain
    let expected = [of(Stage::Work, "rust:1"), of(Stage::SetUp, "theirs"), of(Stage::Work, "theirs")];
    assert_eq!(made, expected);
}

#[tokio::test]
async fn no_engine_is_asked_for_an_image_of_a_registry_that_nobody_listed() {
    let elsewhere = |backend| {
        let Ways { environment, .. } = described();
        let image = Some(Image::Named("127.0.0.1:1/theirs".into()));
        let environment = environment.map(|environment| Environment { image, ..environment });
        Ways { backend, environment, ..described() }
    };
    let world = run_with(elsewhere("docker")).await;
    assert_eq!(outcome(&world), Outcome::Failed);
    assert!(world.created().is_empty() && world.effects() == ["fetch", "archive"], "{:?}", world.effects());
    assert_eq!(outcome(&run_with(elsewhere("sandbox")).await), Outcome::Done, "it has no images");
}

#[tokio::test]
async fn the_sandbox_is_made_of_no_image_whoever_names_one() {
    let world = run_with(Ways { backend: "sandbox", wants_registries: true, ..described() }).await;
    assert_eq!(outcome(&world), Outcome::Done);
    let made = world.created();
    assert!(made.len() == 3 && made.iter().all(|create| create.image.is_none()), "{made:?}");
}

#[tokio::test]
async fn what_keeps_a_set_up_for_later_tasks_has_its_intent_on_the_disk() {
    let world = run_with(described()).await;
    let step = |step: &str| format!("\"type\":\"step.started\",\"step\":\"{step}\"");
    for (effect, name) in [("image", "image"), ("kept", "keep")] {
        let durable = world.durable_at(effect);
        assert!(durable.contains(&step(name)), "{effect}: {durable}");
    }
    assert!(!world.durable_at("image").contains(&step("keep")), "one after the other");
}

#[tokio::test]
async fn nobody_removes_what_a_task_begins_from_before_it_has_begun() {
    let first = run_with(described()).await;
    let second = first.another().await;
    for world in [&first, &second] {
        assert_eq!(outcome(world), Outcome::Done);
        assert!(!world.effects().contains(&"snapshot removed"), "{:?}", world.effects());
        let last = world.created().pop().expect("the agent's");
        assert_eq!((last.stage, last.image_id.as_deref()), (Stage::Work, Some("sha256:made")));
    }
    assert!(first.effects().contains(&"command") && !second.effects().contains(&"command"));
    assert!(!first.effects().contains(&"discard"), "it goes with the snapshot");
}

#[tokio::test]
async fn a_set_up_that_is_cancelled_as_its_workspace_starts_stops_it_and_runs_nothing() {
    let world = run_with(Ways { starts: Starts::WhileCancelled, ..described() }).await;
    assert_eq!(outcome(&world), Outcome::Cancelled);
    assert_eq!(world.effects(), ["fetch", "workspace", "stop", "archive"]);
}

#[tokio::test]
async fn a_workspace_that_never_starts_is_not_waited_for_once_the_task_is_cancelled() {
    let run = run_with(Ways { starts: Starts::Never, ..described() });
    let world = tokio::time::timeout(Duration::from_secs(60), run).await.expect("it ends");
    assert_eq!(outcome(&world), Outcome::Cancelled);
    assert_eq!(world.effects(), ["fetch", "workspace", "given up", "archive"]);
}

#[tokio::test]
async fn of_a_set_up_whose_workspace_does_not_end_nothing_is_looked_into_or_kept() {
    let stuck = |stuck| Ways { stuck, archives: Archives::Whole, ..described() };
    // it is there when the task ends, too
    let world = run_with(stuck(2)).await;
    assert_eq!(outcome(&world), Outcome::Failed);
    let effects = world.effects();
    assert_eq!(effects, ["fetch", "workspace", "command", "image", "stop", "stop"], "nobody keeps anything");
    let told = world.told();
    assert!(told.contains("end the workspace of set-up: it runs on"), "{told}");
    assert!(told.contains("left as it is, neither archived nor removed: it runs on"), "{told}");
    assert!(world.work_tree.is_dir(), "it is left alone");
    let (_, error) = world.ended.as_ref().expect("there is a report");
    assert!(error.is_some(), "it is the platform that failed");

    // it is gone by then
    let world = run_with(stuck(1)).await;
    assert_eq!(outcome(&world), Outcome::Failed);
    assert!(
        !world.effects().contains(&"kept") && world.effects().contains(&"archive"),
        "{:?}",
        world.effects()
    );
}

#[tokio::test]
async fn a_workspace_that_does_not_end_with_its_task_is_neither_archived_nor_removed() {
    let world = run_with(Ways { stuck: 1, archives: Archives::Whole, ..Ways::default() }).await;
    assert_eq!(outcome(&world), Outcome::Done, "the work is delivered");
    assert!(!world.effects().contains(&"archive") && world.work_tree.is_dir(), "{:?}", world.effects());
    assert!(world.told().contains("neither archived nor removed: it runs on"), "{}", world.told());
}

#[tokio::test]
async fn what_is_roots_is_not_archived_though_its_workspace_ended() {
    let world = run_with(Ways { leaves: roots_files, archives: Archives::Whole, ..described() }).await;
    assert_eq!(outcome(&world), Outcome::Done);
    assert!(!world.effects().contains(&"archive") && world.work_tree.is_dir(), "{:?}", world.effects());
    assert!(world.told().contains("the workspace is not archived: files of "), "{}", world.told());
}
