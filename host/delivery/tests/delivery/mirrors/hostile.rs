//! Remotes and folders that mean no good, and secrets of those who ask.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use sortie_policy::ports::ErrorCode;

use super::remotes::{Remotes, SMALL, files};
use crate::support::{git, git_command, write};

#[tokio::test]
async fn credentials_are_in_no_mirror() {
    let remotes = Remotes::new();
    write(
        remotes.ground.path(),
        "gitconfig",
        "[url \"ssh://host.example/\"]\n\tinsteadOf = https://host.example/\n",
    );
    let config = remotes.ground.path().join("gitconfig");
    let url = "https://the-user-5f2a:token-5f2a@host.example/origin.git";
    let mut task = remotes.task_on(url, remotes.mirrors());
    let mut settings = task.config.clone();
    settings.environment.retain(|(name, _)| name != "GIT_CONFIG_GLOBAL");
    settings.environment.push(("GIT_CONFIG_GLOBAL".into(), config.into()));
    task.config = settings;
    let task = task.restarted();
    task.fetch().await.expect("fetches");
    for path in files(&remotes.home()) {
        let text = String::from_utf8_lossy(&fs::read(&path).expect("is read")).into_owned();
        for secret in ["the-user-5f2a", "token-5f2a"] {
            assert!(
                !text.contains(secret) && !path.display().to_string().contains(secret),
                "{}",
                path.display()
            );
        }
    }
    let config =
        git(&remotes.place().join("repository.git"), &["config", "--local", "--list", "--name-only"]);
    assert!(config.lines().all(|key| key.starts_with("core.")), "{config}");
    assert_eq!(remotes.mirrors().list()[0].url, "https://host.example/origin.git");
}

#[tokio::test]
async fn what_a_hostile_remote_sends_stays_in_no_mirror() {
    let remotes = Remotes::new();
    let origin = remotes.ground.origin();
    let blob = git(&origin, &["rev-parse", "main:small"]);
    let tree = {
        let mut child = git_command(&origin)
            .args(["mktree", "--missing"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("git runs");
        use std::io::Write;
        let line = format!("100644 blob {blob}\t.GIT\n");
        child.stdin.take().expect("is a pipe").write_all(line.as_bytes()).expect("is written");
        let output = child.wait_with_output().expect("git ends");
        String::from_utf8(output.stdout).expect("an id").trim().to_owned()
    };
    let commit = git(&origin, &["commit-tree", "-m", "hostile", &tree]);
    for was_good in [false, true] {
        if was_good {
            remotes.fetch(None).await;
        }
        let good = remotes.main();
        fs::write(origin.join("refs/heads/main"), &commit).expect("is written");
        let error = remotes.task().fetch().await.expect_err("is refused");
        assert_eq!(error.code, ErrorCode::Invalid, "{error}");
        let place = remotes.place();
        let objects = files(&place);
        let is_incoming = |path: &PathBuf| {
            path.strip_prefix(&place).expect("is in it").to_string_lossy().contains("incoming")
        };
        assert!(!objects.iter().any(is_incoming), "{objects:?}");
        let mirror = place.join("repository.git");
        assert_eq!(mirror.exists(), was_good);
        if was_good {
            let mut held = git_command(&mirror);
            held.args(["cat-file", "-e", &tree]).stderr(Stdio::null());
            assert!(!held.status().expect("git runs").success(), "the mirror has it");
        }
        fs::write(origin.join("refs/heads/main"), good).expect("is written");
    }
    // and what was good before is good still
    let (_, _, sent) = remotes.fetch(None).await;
    assert!(sent < SMALL, "{sent}");
}

#[tokio::test]
async fn a_remote_whose_objects_are_named_otherwise_is_one_clear_line() {
    let remotes = Remotes::new();
    git(remotes.ground.path(), &["init", "-q", "--object-format=sha256", "other"]);
    let other = remotes.ground.path().join("other");
    git(&other, &["commit", "-q", "--allow-empty", "-m", "x"]);
    let task = remotes.task_on("ssh://host.example/other", remotes.mirrors());
    let error = task.fetch().await.expect_err("is refused");
    assert_eq!(error.code, ErrorCode::Invalid, "{error}");
    assert!(error.message.contains("its objects are not named by SHA-1"), "{error}");
}

#[tokio::test]
async fn a_folder_that_cannot_hold_mirrors_is_done_without() {
    let remotes = Remotes::new();
    write(&remotes.home(), "mirrors", "a file");
    assert_eq!(remotes.fetch(None).await.1, remotes.main());
}
