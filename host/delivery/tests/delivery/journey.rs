//! The usual way: fetch, check out, change, commit, push.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use sortie_core::action::{Against, Change, ChangeKind, Commit, Push, ReadOperation, RepositoryFetch};
use sortie_delivery::branch_diff;
use sortie_policy::ports::{ErrorCode, Repository};

use crate::support::{BRANCH, Ground, Task, gate, git, script, write};

#[tokio::test]
async fn a_change_reaches_the_origin_as_one_commit_on_its_branch() {
    let ground = Ground::with(&[("src/a.txt", "one\n"), ("gone.txt", "x\n"), ("run.sh", "echo\n")]);
    let task = ground.task();
    let base = task.fetch().await.expect("fetches");
    assert_eq!(base, ground.in_origin(&["rev-parse", "main"]));
    task.repository.check_out().await.expect("checks out");
    assert_eq!(task.changes().await, []);

    write(&task.tree, "src/a.txt", "two\n");
    write(&task.tree, "src/new/b.txt", "b\n");
    fs::remove_file(task.tree.join("gone.txt")).expect("is removed");
    fs::set_permissions(task.tree.join("run.sh"), fs::Permissions::from_mode(0o755)).expect("is executable");
    symlink("src/a.txt", task.tree.join("link")).expect("is linked");
    let expected = [
        ("gone.txt", ChangeKind::Deleted),
        ("link", ChangeKind::Added),
        ("run.sh", ChangeKind::Modified),
        ("src/a.txt", ChangeKind::Modified),
        ("src/new/b.txt", ChangeKind::Added),
    ];
    assert_eq!(task.changes().await, expected.map(|(path, kind)| (path.to_owned(), kind)));

    let commit = task.deliver().await;
    assert_eq!(ground.in_origin(&["rev-parse", BRANCH]), commit);
    assert_eq!(ground.in_origin(&["rev-parse", &format!("{BRANCH}^")]), base);
    let listed = ground.in_origin(&["ls-tree", "-r", "--format=%(objectmode) %(path)", BRANCH]);
    assert_eq!(listed, "120000 link\n100755 run.sh\n100644 src/a.txt\n100644 src/new/b.txt");
    let message = ground.in_origin(&["log", "-1", "--format=%an <%ae>%n%B", BRANCH]);
    assert_eq!(message, "Sortie <sortie@example.org>\nrepair it\n\nSortie-Task: task-7k2m9q");
    assert_eq!(task.changes().await, []);
    assert_eq!(ground.in_origin(&["fsck", "--strict", "--no-dangling"]), "");
}

#[tokio::test]
async fn the_models_own_git_sees_a_clean_tree_with_history() {
    let ground = Ground::with(&[("a", "1\n"), ("dir/b", "2\n")]);
    symlink("a", ground.seed().join("link")).expect("is linked");
    ground.publish();
    let task = ground.task();
    task.prepare().await;
    assert_eq!(git(&task.tree, &["status", "--porcelain"]), "");
    assert_eq!(git(&task.tree, &["branch", "--show-current"]), BRANCH);
    assert_eq!(git(&task.tree, &["rev-list", "--count", "HEAD"]), "2");
    assert_eq!(git(&task.tree, &["remote"]), "");
    assert_eq!(git(&task.tree, &["fsck", "--strict"]), "");
    write(&task.tree, "a", "3\n");
    git(&task.tree, &["commit", "-qam", "the model's own"]);
    // what the model commits for itself is content like any other
    assert_eq!(task.changes().await, [("a".to_owned(), ChangeKind::Modified)]);
}

#[tokio::test]
async fn the_work_trees_git_shares_no_file_with_the_hosts() {
    let ground = Ground::with(&[("a", "1\n")]);
    let task = ground.task();
    task.prepare().await;
    let packs = fs::read_dir(task.tree.join(".git/objects/pack")).expect("there are packs");
    let links: Vec<_> =
        packs.map(|pack| pack.expect("is read").metadata().expect("has metadata").nlink()).collect();
    assert!(!links.is_empty() && links.iter().all(|links| *links == 1), "{links:?}");
    assert!(!task.tree.join(".git/objects/info/alternates").exists());
}

#[tokio::test]
async fn only_permitted_paths_are_committed() {
    let ground = Ground::with(&[("a", "1\n"), ("b", "1\n")]);
    let task = ground.task();
    task.prepare().await;
    for path in ["a", "b", "c"] {
        write(&task.tree, path, "2\n");
    }
    let commit =
        task.commit_of(vec![Change { path: "b".into(), kind: ChangeKind::Modified }]).await.expect("commits");
    let changed = git(&task.config.host_repository, &["diff", "--name-only", "HEAD~1", &commit]);
    assert_eq!(changed, "b");
    let left = task.changes().await;
    assert_eq!(left, [("a".to_owned(), ChangeKind::Modified), ("c".to_owned(), ChangeKind::Added)]);
}

#[tokio::test]
async fn a_path_whose_kind_of_change_is_not_the_permitted_one_is_a_conflict() {
    let ground = Ground::with(&[("a", "1\n")]);
    let task = ground.task();
    task.prepare().await;
    fs::remove_file(task.tree.join("a")).expect("is removed");
    let error = task.commit_of(vec![Change { path: "a".into(), kind: ChangeKind::Modified }]).await;
    assert_eq!(error.expect_err("is refused").code, ErrorCode::Conflict);
}

#[tokio::test]
async fn a_file_that_becomes_a_folder_and_back_is_committed_whole() {
    let ground = Ground::with(&[("a", "1\n"), ("d/x", "1\n"), ("d/y", "1\n")]);
    let task = ground.task();
    task.prepare().await;
    fs::remove_file(task.tree.join("a")).expect("is removed");
    write(&task.tree, "a/b/c", "2\n");
    fs::remove_dir_all(task.tree.join("d")).expect("is removed");
    write(&task.tree, "d", "2\n");
    task.deliver().await;
    assert_eq!(ground.in_origin(&["ls-tree", "-r", "--name-only", BRANCH]), "a/b/c\nd");
}

#[tokio::test]
async fn half_of_a_folder_that_became_a_file_is_refused() {
    let ground = Ground::with(&[("d/x", "1\n"), ("d/y", "1\n")]);
    let task = ground.task();
    task.prepare().await;
    fs::remove_dir_all(task.tree.join("d")).expect("is removed");
    write(&task.tree, "d", "2\n");
    let mut changes = task.repository.changes(Against::Head).await.expect("changes");
    changes.retain(|change| change.path != "d/y");
    assert_eq!(task.commit_of(changes).await.expect_err("is refused").code, ErrorCode::Invalid);
}

#[tokio::test]
async fn nothing_to_commit_is_said_so() {
    let ground = Ground::with(&[("a", "1\n")]);
    let task = ground.task();
    task.prepare().await;
    assert_eq!(task.commit().await.expect_err("nothing differs").code, ErrorCode::Invalid);
    assert_eq!(task.repository.planned_push().await.expect("reads"), None);
}

#[tokio::test]
async fn what_set_up_left_is_no_change_and_what_follows_is() {
    let ground = Ground::with(&[("lock.json", "1\n"), ("a", "1\n"), (".gitignore", "*.log\n")]);
    let task = ground.task();
    task.prepare().await;
    write(&task.tree, "made/by/set-up", "x");
    write(&task.tree, "lock.json", "by set-up\n");
    task.repository.mark_set_up().await.expect("is marked");
    assert_eq!(task.changes().await, []);
    write(&task.tree, "made/by/set-up", "changed");
    write(&task.tree, "made/by/the-model", "x");
    write(&task.tree, "noise.log", "x");
    let model = ("made/by/the-model".to_owned(), ChangeKind::Added);
    assert_eq!(task.changes().await, std::slice::from_ref(&model));
    write(&task.tree, "lock.json", "by the model\n");
    let lock = ("lock.json".to_owned(), ChangeKind::Modified);
    assert_eq!(task.changes().await, [lock.clone(), model.clone()]);
    // and after a restart of the host
    assert_eq!(task.restarted().changes().await, [lock, model]);
}

#[tokio::test]
async fn build_output_is_left_out_unless_the_base_has_it() {
    let ground =
        Ground::with(&[("node_modules/kept/a.js", "1\n"), ("Cargo.toml", ""), ("src/target/mod.rs", "1\n")]);
    let task = ground.task();
    task.prepare().await;
    for path in [
        "x/node_modules/b.js",
        "__pycache__/a.pyc",
        "target/debug/a",
        "pkg.egg-info/x",
        ".venv/bin/x",
        "a.pyc",
    ] {
        write(&task.tree, path, "x");
    }
    for path in ["node_modules/kept/c.js", "src/target/other.rs", "docs/target/x"] {
        write(&task.tree, path, "x");
    }
    let paths: Vec<_> = task.changes().await.into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["docs/target/x", "node_modules/kept/c.js", "src/target/other.rs"]);
}

#[tokio::test]
async fn ignore_rules_hold_from_root_and_nested_files_and_never_for_tracked_ones() {
    let ground =
        Ground::with(&[(".gitignore", "*.log\n/build/\n!keep.log\n"), ("sub/.gitignore", "x\n!b.log\n")]);
    write(&ground.seed(), "build/tracked", "1\n");
    git(&ground.seed(), &["add", "-f", "build/tracked"]);
    ground.publish();
    let task = ground.task();
    task.prepare().await;
    for path in
        ["a.log", "keep.log", "build/new", "build/tracked", "sub/x", "sub/b.log", "sub/build/y", "sub/c.log"]
    {
        write(&task.tree, path, "2\n");
    }
    let paths: Vec<_> = task.changes().await.into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["build/tracked", "keep.log", "sub/b.log", "sub/build/y"]);
}

#[tokio::test]
async fn a_rule_that_the_model_deletes_still_holds_and_a_written_exception_counts() {
    let ground = Ground::with(&[(".gitignore", ".env\ndist/\n")]);
    let task = ground.task();
    task.prepare().await;
    write(&task.tree, ".gitignore", "!dist/\n");
    write(&task.tree, ".env", "key");
    write(&task.tree, "dist/a", "x");
    let paths: Vec<_> = task.changes().await.into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, [".gitignore", "dist/a"]);
    let notices = task.repository.take_notices();
    assert!(notices.iter().any(|notice| notice.contains("`.env` is left out")), "{notices:?}");
    assert_eq!(task.repository.take_notices(), [""; 0]);
}

#[tokio::test]
async fn diffs_show_permitted_paths_against_head_and_base() {
    let ground = Ground::with(&[("a", "1\n"), ("b", "1\n")]);
    let task = ground.task();
    task.prepare().await;
    write(&task.tree, "a", "2\n");
    task.commit().await.expect("commits");
    write(&task.tree, "b", "2\n");
    write(&task.tree, "c", "3\n");
    let diff = async |against, paths: &[&str]| {
        let permit = task.read(ReadOperation::Diff { against, max: 10_000 }, paths).await;
        task.repository.diff(permit).await.expect("compares")
    };
    let head = diff(Against::Head, &["a", "b"]).await;
    assert!(head.contains("+++ b/b\n@@ -1 +1 @@\n-1\n+2\n") && !head.contains("b/a"), "{head}");
    let base = diff(Against::Base, &["a", "b"]).await;
    assert!(base.contains("--- a/a") && base.contains("--- a/b") && !base.contains("b/c"), "{base}");
    let status = task.read(ReadOperation::Status, &["c"]).await;
    let status = task.repository.status(status).await.expect("reads");
    assert_eq!(status, [Change { path: "c".into(), kind: ChangeKind::Added }]);
    let applied = branch_diff(&task.config.host_repository, BRANCH, 10_000).expect("compares");
    assert!(applied.contains("--- a/a") && !applied.contains("b/b"), "{applied}");
}

#[tokio::test]
async fn a_diff_applies_with_git() {
    let ground = Ground::with(&[("a b", "1\n2\n"), ("d", "x"), ("e", "y\n")]);
    let task = ground.task();
    task.prepare().await;
    write(&task.tree, "a b", "1\n3");
    write(&task.tree, "new\tname", "n\n");
    fs::remove_file(task.tree.join("d")).expect("is removed");
    fs::set_permissions(task.tree.join("e"), fs::Permissions::from_mode(0o755)).expect("is executable");
    task.commit().await.expect("commits");
    let diff = branch_diff(&task.config.host_repository, BRANCH, 100_000).expect("compares");
    write(ground.path(), "patch", diff);
    git(&ground.seed(), &["apply", "--index", "../patch"]);
    let expected = git(&task.config.host_repository, &["rev-parse", "HEAD^{tree}"]);
    assert_eq!(git(&ground.seed(), &["write-tree"]), expected);
}

#[tokio::test]
async fn log_and_show_tell_of_the_branch() {
    let ground = Ground::with(&[("a", "1\n"), ("b", "1\n")]);
    let task = ground.task();
    task.prepare().await;
    write(&task.tree, "a", "2\n");
    write(&task.tree, "b", "2\n");
    let commit = task.commit().await.expect("commits");
    let log = task.repository.log(task.read(ReadOperation::Log { max: 10 }, &[]).await).await.expect("lists");
    assert_eq!(log.len(), 2);
    assert_eq!(
        (log[0].id.as_str(), log[0].author.as_str()),
        (commit.as_str(), "Sortie <sortie@example.org>")
    );
    assert_eq!(task.repository.survey_show("HEAD").await.expect("lists"), ["a", "b"]);
    let show = ReadOperation::Show { rev: "HEAD".into(), max: 10_000 };
    let text = task.repository.show(task.read(show, &["a"]).await).await.expect("shows");
    assert!(
        text.contains("    repair it\n") && text.contains("--- a/a") && !text.contains("--- a/b"),
        "{text}"
    );
    assert_eq!(task.repository.survey_show("HEAD~1").await.expect("lists the first commit"), ["a", "b"]);
    for rev in ["nope", "--all", ":/repair", "@{-1}", "HEAD:a", ""] {
        assert_eq!(task.repository.survey_show(rev).await.expect_err(rev).code, ErrorCode::NotFound);
    }
}

#[tokio::test]
async fn a_permit_serves_for_what_it_says_and_at_its_own_gate() {
    let ground = Ground::with(&[("a", "1\n")]);
    let task = ground.task();
    let elsewhere = RepositoryFetch { url: "https://elsewhere.example/a".into(), reference: None };
    let error = task.repository.fetch(task.permit(elsewhere).await).await.expect_err("is refused");
    assert_eq!(error.code, ErrorCode::Invalid);
    task.prepare().await;
    write(&task.tree, "a", "2\n");
    let changes = task.repository.changes(Against::Head).await.expect("changes");
    let elsewhere = Commit { branch: "main".into(), message: "m".into(), changes };
    let error = task.repository.commit(task.permit(elsewhere).await).await.expect_err("is refused");
    assert_eq!(error.code, ErrorCode::Invalid);
    task.commit().await.expect("commits");

    let planned = task.repository.planned_push().await.expect("plans").expect("there is one");
    for forged in [
        Push { reference: "refs/heads/main".into(), ..planned.clone() },
        Push { remote: "https://elsewhere.example/a".into(), ..planned.clone() },
        Push { commit: task.repository.state().await.expect("state").base, ..planned.clone() },
        Push { changes: Vec::new(), ..planned.clone() },
    ] {
        let error = task.repository.push(task.permit(forged).await).await.expect_err("is refused");
        assert_eq!(error.code, ErrorCode::Invalid);
    }
    let foreign = gate().permit(&sortie_core::Actor::Host, planned).await.expect("another gate allows");
    assert_eq!(task.repository.push(foreign).await.expect_err("is refused").code, ErrorCode::Denied);
    let log = task.read(ReadOperation::Log { max: 1 }, &[]).await;
    assert_eq!(task.repository.diff(log).await.expect_err("is refused").code, ErrorCode::Invalid);
    assert_eq!(ground.in_origin(&["for-each-ref", "--format=%(refname)"]), "refs/heads/main");
}

#[tokio::test]
async fn a_push_again_is_no_error_and_later_commits_follow() {
    let ground = Ground::with(&[("a", "1\n")]);
    let task = ground.task();
    task.prepare().await;
    write(&task.tree, "a", "2\n");
    task.deliver().await;
    task.push().await.expect("the same commit is there");
    let task = task.restarted();
    task.push().await.expect("and still is after a restart");
    write(&task.tree, "a", "3\n");
    let commit = task.deliver().await;
    assert_eq!(ground.in_origin(&["rev-parse", BRANCH]), commit);
}

#[tokio::test]
async fn a_branch_with_other_commits_is_a_conflict_and_never_forced() {
    let ground = Ground::with(&[("a", "1\n")]);
    let task = ground.task();
    task.prepare().await;
    write(&task.tree, "a", "2\n");
    task.commit().await.expect("commits");
    // somebody takes the name meanwhile; it is even an ancestor
    ground.in_origin(&["branch", BRANCH, "main"]);
    let error = task.push().await.expect_err("is a conflict");
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(error.message.contains("--branch"), "{error}");
    assert_eq!(ground.in_origin(&["rev-parse", BRANCH]), ground.in_origin(&["rev-parse", "main"]));
}

#[tokio::test]
async fn a_branch_that_is_taken_is_found_out_at_the_fetch() {
    for taken in [BRANCH, "sortie"] {
        let ground = Ground::with(&[("a", "1\n")]);
        ground.in_origin(&["branch", taken, "main"]);
        let error = ground.task().fetch().await.expect_err("is a conflict");
        assert_eq!(error.code, ErrorCode::Conflict, "{error}");
        Task::on(&ground, &ground.url(), |config| config.deliver = false)
            .fetch()
            .await
            .expect("nothing is delivered");
    }
}

#[tokio::test]
async fn the_base_is_a_branch_a_tag_or_a_commit() {
    let ground = Ground::with(&[("a", "1\n")]);
    let first = ground.in_origin(&["rev-parse", "main"]);
    git(&ground.seed(), &["tag", "-a", "v1", "-m", "v1"]);
    git(&ground.seed(), &["push", "-q", "origin", "v1"]);
    write(&ground.seed(), "a", "2\n");
    ground.publish();
    for base in ["v1", "refs/tags/v1", first.as_str()] {
        let task = Task::on(&ground, &ground.url(), |config| {
            config.host_repository = ground.path().join(format!("task-{}.git", base.replace('/', "-")));
        });
        assert_eq!(task.fetch_from(Some(base)).await.expect(base), first);
    }
    let task = ground.task();
    for base in ["nope", "0123456789012345678901234567890123456789"] {
        let error = task.fetch_from(Some(base)).await.expect_err("there is none");
        assert_eq!(error.code, ErrorCode::NotFound, "{error}");
    }
    assert_ne!(task.fetch().await.expect("HEAD"), first);
    assert_ne!(task.restarted().fetch_from(Some("v1")).await.expect("the base stays"), first);
}

#[tokio::test]
async fn lock_files_of_a_killed_git_do_not_stop_a_restart() {
    let ground = Ground::with(&[("a", "1\n")]);
    let task = ground.task();
    for lock in ["refs/sortie/fetched.lock", "HEAD.lock", "shallow.lock", "packed-refs.lock"] {
        write(&task.config.host_repository, lock, "");
    }
    let task = task.restarted();
    task.prepare().await;
}

#[tokio::test]
async fn cancelling_ends_a_fetch() {
    let ground = Ground::with(&[("a", "1\n")]);
    let slow = script(ground.path(), "ssh", "#!/bin/sh\nexec sleep 1000\n");
    let task = Task::on(&ground, "git@host.example:a.git", |config| {
        config.environment.push(("GIT_SSH_COMMAND".into(), slow.into()));
    });
    let cancel = task.config.cancel.clone();
    let (fetched, ()) = tokio::join!(task.fetch(), async { cancel.cancel() });
    assert_eq!(fetched.expect_err("is cancelled").code, ErrorCode::Cancelled);
}

#[tokio::test]
async fn a_file_of_the_base_can_be_read_whatever_the_work_tree_says() {
    let ground = Ground::with(&[(".sortie/config.toml", "x = 1\n")]);
    let task = ground.task();
    task.prepare().await;
    write(&task.tree, ".sortie/config.toml", "x = 2\n");
    let read = async |path, max| task.repository.base_file(path, max).await.expect("reads");
    assert_eq!(read(".sortie/config.toml", 100).await.as_deref(), Some(&b"x = 1\n"[..]));
    assert_eq!(read(".sortie/config.toml", 1).await, None);
    assert_eq!(read("nope", 100).await, None);
}
