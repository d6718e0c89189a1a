//! What a task gets by way of a mirror, and what the remote sends for it.

use std::fs;

use sortie_policy::ports::ErrorCode;

use super::remotes::{LARGE, Remotes, SMALL, files, noise};
use crate::support::{git, write};

#[tokio::test]
async fn a_second_task_fetches_only_what_is_new() {
    let remotes = Remotes::new();
    let (_, _, first) = remotes.fetch(None).await;
    assert!(first > LARGE as u64, "{first}");
    let (_, _, unchanged) = remotes.fetch(None).await;
    assert!(unchanged < SMALL, "{unchanged}");
    remotes.change("2\n");
    let (task, base, changed) = remotes.fetch(Some("main")).await;
    assert!(changed < SMALL, "{changed}");
    assert_eq!(base, remotes.main());
    // all of it is the task's own
    fs::remove_dir_all(remotes.home()).expect("is removed");
    git(&task.config.host_repository, &["fsck", "--strict", "--full"]);
    assert!(!task.config.host_repository.join("objects/info/alternates").exists());
    assert_eq!(fs::read(task.config.work_tree.join("large")).expect("is there"), noise(7));
    assert_eq!(git(&task.config.work_tree, &["rev-list", "--count", "HEAD"]), "3");
}

#[tokio::test]
async fn a_task_gets_the_history_of_its_base_alone() {
    let remotes = Remotes::new();
    git(&remotes.ground.seed(), &["checkout", "-q", "-b", "other"]);
    write(&remotes.ground.seed(), "b", "of another branch\n");
    git(&remotes.ground.seed(), &["add", "-A"]);
    git(&remotes.ground.seed(), &["commit", "-qm", "other"]);
    git(&remotes.ground.seed(), &["push", "-q", "origin", "other"]);
    remotes.fetch(Some("other")).await;
    let (task, ..) = remotes.fetch(Some("main")).await;
    let objects = git(&task.config.host_repository, &["cat-file", "--batch-all-objects", "--batch-check"]);
    let other = git(&remotes.ground.seed(), &["rev-parse", "other:b"]);
    assert!(!objects.contains(&other));
    let refs = git(&task.config.host_repository, &["for-each-ref", "--format=%(refname)"]);
    assert_eq!(refs.lines().count(), 3, "{refs}");
}

#[tokio::test]
async fn a_branch_that_was_forced_elsewhere_is_what_it_is_now() {
    let remotes = Remotes::new();
    let (_, old, _) = remotes.fetch(Some("main")).await;
    let seed = remotes.ground.seed();
    git(&seed, &["reset", "-q", "--hard", "HEAD~1"]);
    write(&seed, "small", "another\n");
    git(&seed, &["commit", "-qam", "another"]);
    git(&seed, &["push", "-qf", "origin", "HEAD:refs/heads/main"]);
    let (task, new, _) = remotes.fetch(Some("main")).await;
    assert_eq!(new, remotes.main());
    let objects = git(&task.config.host_repository, &["cat-file", "--batch-all-objects", "--batch-check"]);
    assert!(!objects.contains(&old), "what is no longer part of it came along");
}

#[tokio::test]
async fn references_that_go_and_come_under_each_others_names_do_not_collide() {
    let remotes = Remotes::new();
    let seed = remotes.ground.seed();
    git(&seed, &["push", "-q", "origin", "HEAD:refs/heads/a"]);
    remotes.fetch(Some("a")).await;
    git(&seed, &["push", "-q", "origin", ":refs/heads/a", "HEAD:refs/heads/a/b"]);
    let error = remotes.task().fetch_from(Some("a")).await.expect_err("is gone");
    assert_eq!(error.code, ErrorCode::NotFound, "{error}");
    let (_, beneath, sent) = remotes.fetch(Some("a/b")).await;
    assert_eq!(beneath, remotes.main());
    assert!(sent < SMALL, "{sent}");
    git(&seed, &["push", "-q", "origin", ":refs/heads/a/b", "HEAD:refs/heads/a"]);
    assert_eq!(remotes.fetch(Some("a")).await.1, remotes.main());
}

#[tokio::test]
async fn a_commit_comes_from_a_mirror_only_if_the_remote_still_shows_it() {
    let remotes = Remotes::new();
    let first = remotes.ground.in_origin(&["rev-parse", "main~1"]);
    let (_, secret, _) = remotes.fetch(None).await;
    let (_, base, sent) = remotes.fetch(Some(&first)).await;
    assert_eq!(base, first, "it is part of what the remote shows");
    assert!(sent < SMALL, "{sent}");
    let origin = remotes.ground.origin();
    git(&origin, &["update-ref", "refs/heads/main", &first]);
    git(&origin, &["reflog", "expire", "--expire=now", "--all"]);
    git(&origin, &["gc", "--quiet", "--prune=now"]);
    remotes.task().fetch_from(Some(&secret)).await.expect_err("the remote has it no more");
    assert_eq!(remotes.fetch(Some(&first)).await.1, first);
}

#[tokio::test]
async fn a_shallow_remote_is_fetched_without_a_mirror() {
    let remotes = Remotes::new();
    git(
        remotes.ground.path(),
        &["clone", "-q", "--bare", "--depth", "1", &remotes.ground.url(), "shallow.git"],
    );
    for _ in 0..2 {
        let task = remotes.task_on("ssh://host.example/shallow.git", remotes.mirrors());
        task.prepare().await;
        assert_eq!(git(&task.config.work_tree, &["rev-list", "--count", "HEAD"]), "1");
        assert!(!remotes.place().join("repository.git").exists());
    }
}

#[tokio::test]
async fn many_small_fetches_do_not_leave_many_packs() {
    let remotes = Remotes::new();
    for number in 0..25 {
        remotes.change(&format!("{number}\n"));
        let task = remotes.task();
        task.fetch().await.expect("fetches");
    }
    let packs = files(&remotes.place().join("repository.git/objects/pack"));
    let packs = packs.iter().filter(|path| path.extension().is_some_and(|kind| kind == "pack")).count();
    assert!(packs <= 20, "{packs}");
    assert!(remotes.fetch(None).await.2 < SMALL);
}

#[tokio::test]
async fn tasks_that_begin_together_fetch_once() {
    let remotes = Remotes::new();
    let tasks: Vec<_> = (0..4).map(|_| remotes.task()).collect();
    let mut running = tokio::task::JoinSet::new();
    for task in tasks {
        running.spawn(async move { task.fetch().await.expect("fetches") });
    }
    let bases = running.join_all().await;
    assert!(bases.iter().all(|base| *base == remotes.main()), "{bases:?}");
    assert!(remotes.sent() < LARGE as u64 * 3 / 2, "{}", remotes.sent());
}
