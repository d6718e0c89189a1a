//! What a run tells of names that a set-up chose, which may be its secrets.

use std::fs;
use std::path::Path;

use sortie_core::Outcome;
use sortie_environment::{Environment, Image, Origin};

use crate::world::{Ways, World, roots_files, run_with};

/// As long as tokens are, so that a cut may go through it.
const TOKEN: &str = "s3cr3t-v4lue-xyz-0123456789-abcdefghijklmnopqrstuvwx";
/// Too much of it to be there by chance.
const PART: &str = "s3cr3t";

/// A set-up of the operator's that has a token.
fn with_token(backend: &'static str) -> Ways {
    let operator = Environment {
        origin: Origin::User("ours".into()),
        image: Some(Image::Named("ours".into())),
        setup: vec!["make".into()],
        ..Environment::default()
    };
    Ways { backend, operator: Some(operator), secret: Some(TOKEN), ..Ways::default() }
}

/// Why the task failed, without a word of the token, nor what would steer a terminal or begin a line, anywhere.
fn why(world: &World) -> &str {
    let (report, error) = world.ended.as_ref().expect("there is a report");
    assert_eq!(report.outcome, Outcome::Failed, "{}", report.summary);
    assert!(error.is_some() && !world.told().contains(PART), "{}", world.told());
    let error = error.as_ref().expect("was looked at").to_string();
    assert!(!error.contains(PART), "{error}");
    let (why, hint) = report.summary.split_once('\n').unwrap_or((&report.summary, "hint: "));
    assert!(!report.summary.contains('\u{1b}') && hint.starts_with("hint: "), "{}", report.summary);
    why
}

#[tokio::test]
async fn a_name_that_is_a_secret_is_masked_where_what_lies_below_cannot_be_looked_through() {
    let deep = |home: &Path| {
        let folder = home.join(format!("a\u{1b}[31mred\nnote: all is well {TOKEN}")).join("d/".repeat(250));
        fs::create_dir_all(folder).expect("is made");
    };
    let world = run_with(Ways { leaves: deep, ..with_token("sandbox") }).await;
    let why = why(&world);
    assert!(why.contains("cannot look through `ared note: all is well ****/d/d/d"), "{why}");
    assert!(why.ends_with("it lies below too many folders"), "{why}");
}

#[tokio::test]
async fn the_end_of_an_error_with_a_long_name_tells_its_cause() {
    let deep = |home: &Path| {
        let folder = ["x".repeat(250), "y".repeat(250), "z".repeat(250), "w".repeat(250)].join("/");
        fs::create_dir_all(home.join(folder).join("d/".repeat(250))).expect("is made");
    };
    let world = run_with(Ways { leaves: deep, ..with_token("sandbox") }).await;
    let why = why(&world);
    assert!(why.contains("cannot look through `xxx") && why.contains("www…d/d/d"), "{why}");
    assert!(why.ends_with("it lies below too many folders") && why.len() < 1200, "{why}");
}

#[tokio::test]
async fn a_secret_is_masked_where_a_message_is_cut_through_its_name() {
    for before in (930..=1000).step_by(7) {
        let names = [200, 200, 200, 200, before - 807].map(|count| "x".repeat(count)).join("/");
        // which is told with `~/` before it, and a slash behind
        assert_eq!(names.len(), before - 3);
        LONG.with(|long| long.replace(names));
        let leaves = |home: &Path| {
            let folder = home.join(LONG.with(|long| long.borrow().clone()));
            fs::create_dir_all(&folder).expect("is made");
            fs::write(folder.join(TOKEN), "").expect("is written");
        };
        let world = run_with(Ways { leaves, ..with_token("sandbox") }).await;
        let why = why(&world);
        assert!(why.starts_with("set-up left the secret `TOKEN` in ~/xxx"), "{before}: {why}");
    }
}

std::thread_local! {
    static LONG: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

#[tokio::test]
async fn a_secret_is_masked_in_what_an_engine_says_of_names_whether_it_fails_or_not() {
    let parted = format!("/opt/{}\u{1b}[1m{}\r\nx", &TOKEN[..20], &TOKEN[20..]);
    let failed = format!("cannot look through the attributes of `{parted}`: no\u{1b}[2J");
    let world = run_with(Ways { beside: Err(failed), ..with_token("docker") }).await;
    assert_eq!(
        why(&world),
        "look for secrets that set-up left: cannot look through the attributes of `/opt/**** x`: no"
    );
    let long = format!("/{}{TOKEN}", "x".repeat(980));
    for (found, shown) in [(parted, "/opt/**** x".to_owned()), (long, format!("/{}****", "x".repeat(980)))] {
        let world = run_with(Ways { beside: Ok(vec![found]), ..with_token("docker") }).await;
        let expected = format!("set-up left the secret `TOKEN` in {shown}: the agent would find it there");
        let (report, _) = world.ended.as_ref().expect("there is a report");
        assert!(report.summary.starts_with(&expected), "{}", report.summary);
        assert!(!world.told().contains(PART), "{}", world.told());
    }
}

#[tokio::test]
async fn a_search_that_fails_is_not_told_as_a_secret_that_was_left() {
    let deep = |home: &Path| fs::create_dir_all(home.join("d/".repeat(260))).expect("is made");
    let world = run_with(Ways { leaves: deep, ..with_token("sandbox") }).await;
    let told = world.told();
    assert!(
        told.contains("removed and not archived: whether set-up left a secret in it cannot be told: "),
        "{told}"
    );
}

#[tokio::test]
async fn a_secret_is_masked_in_the_summary_whatever_failed() {
    let said = "it runs on";
    let world = run_with(Ways { stuck: 2, secret: Some(said), ..with_token("docker") }).await;
    let (report, _) = world.ended.as_ref().expect("there is a report");
    assert!(report.summary.ends_with(": ****"), "{}", report.summary);
    assert!(!world.told().contains(said), "{}", world.told());
}

#[tokio::test]
async fn what_is_roots_is_taken_for_clean_by_nobody_and_goes_once_it_is_given_back() {
    let world = run_with(Ways { leaves: roots_files, ..with_token("docker") }).await;
    let why = why(&world);
    assert!(
        why.starts_with("look for secrets that set-up left: files of ") && why.contains(" are root's"),
        "{why}"
    );
    assert!(world.told().contains("not archived") && world.told().contains("it goes once it can be removed"));
    assert!(world.work_tree.is_dir());
}
