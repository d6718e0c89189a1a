//! What is seen of a repository's commit without a task.

use std::io::Write;
use std::process::Command;

use sortie_delivery::{Peek, Source};
use sortie_policy::ports::ErrorCode;

use crate::raw::{publish_tree, raw_tree};
use crate::support::{Ground, Task, git};

fn source(ground: &Ground) -> Source {
    Source::parse("seed", ground.path()).expect("a repository")
}

#[tokio::test]
async fn the_commit_is_the_one_that_a_task_would_start_from() {
    let ground = Ground::with(&[("a", "1\n")]);
    let seed = ground.seed();
    for (kind, name) in [("branch", "both"), ("tag", "both"), ("tag", "tagged")] {
        git(&seed, &["commit", "-q", "--allow-empty", "-m", kind]);
        git(&seed, &[kind, name]);
    }
    git(&seed, &["update-ref", "refs/remotes/origin/far", "HEAD~2"]);
    let full = git(&seed, &["rev-parse", "HEAD~1"]);
    let bases = [None, Some("HEAD"), Some("both"), Some("tagged"), Some("origin/far"), Some(full.as_str())];
    for (number, base) in bases.into_iter().enumerate() {
        let seen = Peek::at(&source(&ground), base).expect("is read").expect("is on this machine").commit();
        let task = Task::on(&ground, &format!("file://{}", seed.display()), |config| {
            config.host_repository = ground.path().join(format!("task-{number}.git"));
        });
        assert_eq!(seen, task.fetch_from(base).await.expect("is fetched"), "{base:?}");
    }
    // what a task refuses is not shown either
    let short = &full[..8];
    for (base, code) in [
        (short, ErrorCode::NotFound),
        ("HEAD~1", ErrorCode::Invalid),
        (":/seed", ErrorCode::Invalid),
        ("--all", ErrorCode::Invalid),
        ("none", ErrorCode::NotFound),
    ] {
        let error = Peek::at(&source(&ground), Some(base)).err().expect("is refused");
        assert_eq!(error.code, code, "{base}: {error}");
    }
}

#[tokio::test]
async fn a_repository_whose_config_includes_a_fifo_is_not_waited_for() {
    let ground = Ground::with(&[("a", "1\n")]);
    let fifo = ground.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
    let source = source(&ground);
    git(&ground.seed(), &["config", "include.path", &fifo.display().to_string()]);
    let error = Peek::at(&source, None).err().expect("is given up");
    assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
}

#[tokio::test]
async fn folders_without_end_are_not_followed_to_it() {
    let ground = Ground::with(&[("a", "1\n")]);
    let blob = ground.in_origin(&["rev-parse", "main:a"]);
    let leaf = raw_tree(&ground, [("100644", "deep", blob.as_str())]);
    let deep = nested(&ground, &leaf, 50_000);
    publish_tree(&ground, &[("40000", "d", &deep), ("100644", "z", &blob)]);
    let source = Source::parse(&ground.url(), ground.path()).expect("a repository");
    let peek = Peek::at(&source, Some("main")).expect("is read").expect("is on this machine");
    // a thread of the usual size, as it is asked on
    let asked = std::thread::spawn(move || {
        let found = |name: &'static str| peek.any(100, move |path| path.ends_with(name), |_| true);
        (found("deep").expect("is read"), found("z").expect("is read"))
    });
    assert_eq!(asked.join().expect("does not end the process"), (false, true));
}

/// This tree within as many folders as that, as one pack.
fn nested(ground: &Ground, leaf: &str, depth: usize) -> String {
    let repository = git2::Repository::open_bare(ground.origin()).expect("opens");
    let odb = repository.odb().expect("is there");
    odb.add_new_mempack_backend(1000).expect("is added");
    let mut builder = repository.packbuilder().expect("packs");
    let mut id = git2::Oid::from_str(leaf).expect("an id");
    for _ in 0..depth {
        let entry = [b"40000 d\0".as_slice(), id.as_bytes()].concat();
        id = odb.write(git2::ObjectType::Tree, &entry).expect("is written");
        builder.insert_object(id, None).expect("is packed");
    }
    let mut pack = git2::Buf::new();
    builder.write_buf(&mut pack).expect("is packed");
    let repository = git2::Repository::open_bare(ground.origin()).expect("opens");
    let odb = repository.odb().expect("is there");
    let mut writer = odb.packwriter().expect("takes packs");
    writer.write_all(&pack).expect("is written");
    writer.commit().expect("is taken");
    id.to_string()
}
