//! Mirrors that something was done to: what is left of a killed host, and a
//! disk that forgets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sortie_delivery::Mirrors;
use sortie_lock::{Hold, Lock};

use super::remotes::{LARGE, Remotes, SMALL, files, noise};
use crate::support::{Ground, Task, git, script, write};

#[tokio::test]
async fn a_damaged_mirror_is_made_again_and_no_error() {
    let pack = |repository: &Path, kind: &str| {
        let packs = files(&repository.join("objects/pack"));
        packs.into_iter().find(|path| path.extension().is_some_and(|found| found == kind)).expect("a pack")
    };
    let writable = |path: PathBuf| {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("is ours");
        path
    };
    type Damage<'a> = (&'static str, &'a dyn Fn(&Path));
    let damages: [Damage<'_>; 7] = [
        ("a byte", &|repository| {
            let path = writable(pack(repository, "pack"));
            let mut bytes = fs::read(&path).expect("is there");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
            fs::write(&path, bytes).expect("is written");
        }),
        ("half a pack", &|repository| {
            let path = writable(pack(repository, "pack"));
            let file = fs::File::options().write(true).open(&path).expect("opens");
            file.set_len(LARGE as u64 / 2).expect("is cut");
        }),
        ("no pack", &|repository| fs::remove_file(pack(repository, "pack")).expect("is removed")),
        ("an empty index", &|repository| {
            fs::write(writable(pack(repository, "idx")), "").expect("is written")
        }),
        ("no objects", &|repository| fs::remove_dir_all(repository.join("objects")).expect("is removed")),
        ("no HEAD", &|repository| fs::remove_file(repository.join("HEAD")).expect("is removed")),
        ("empty references", &|repository| {
            files(&repository.join("refs"))
                .into_iter()
                .for_each(|path| fs::write(path, "").expect("is written"));
        }),
    ];
    for (name, damage) in damages {
        let remotes = Remotes::new();
        remotes.fetch(None).await;
        damage(&remotes.place().join("repository.git"));
        for change in [false, true] {
            if change {
                remotes.change("2\n");
            }
            let (task, base, _) = remotes.fetch(None).await;
            assert_eq!(base, remotes.main(), "{name}");
            git(&task.config.host_repository, &["fsck", "--strict", "--full"]);
            assert_eq!(fs::read(task.config.work_tree.join("large")).expect("is there"), noise(7), "{name}");
        }
        let (_, _, sent) = remotes.fetch(None).await;
        assert!(sent < SMALL, "{name}: it was not made again, {sent}");
    }
}

#[tokio::test]
async fn that_a_mirror_was_damaged_is_told() {
    let remotes = Remotes::new();
    remotes.fetch(None).await;
    fs::remove_dir_all(remotes.place().join("repository.git/objects")).expect("is removed");
    let (task, ..) = remotes.fetch(None).await;
    let notices = task.repository.take_notices();
    assert_eq!(notices, ["the mirror of ssh://host.example/origin.git was damaged, and was made again"]);
    assert_eq!(remotes.fetch(None).await.0.repository.take_notices(), Vec::<String>::new());
}

/// Names the folder of a ground to the process that is killed.
const KILLED: &str = "SORTIE_TEST_KILLED";

#[tokio::test]
async fn a_host_that_is_killed_in_the_middle_leaves_a_mirror_that_the_next_task_makes_whole() {
    if let Some(folder) = std::env::var_os(KILLED) {
        return doomed(Path::new(&folder)).await;
    }
    for is_there in [false, true] {
        let remotes = Remotes::new();
        if is_there {
            remotes.fetch(None).await;
            write(&remotes.ground.seed(), "large", noise(8));
            remotes.ground.publish();
        }
        // what it sends stops in the middle, and nothing ends
        let place = remotes.ground.path().display().to_string();
        let stuck =
            format!("echo $$ > {place}/stuck.new; mv {place}/stuck.new {place}/stuck; exec sleep 1000");
        let is_half = format!("test $(wc -c < {place}/half) -ge 20000");
        remotes.serve(&format!(
            "| {{ dd bs=1 count=40000 2>/dev/null | tee {place}/half; {is_half} && sh -c '{stuck}'; }}"
        ));
        let name = "mirrors::damaged::a_host_that_is_killed_in_the_middle_leaves_a_mirror_that_the_next_task_makes_whole";
        let mut host = Command::new(std::env::current_exe().expect("is known"))
            .args(["--exact", name, "--test-threads=1"])
            .env(KILLED, remotes.ground.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the test runs itself");
        while !remotes.ground.path().join("stuck").exists() {
            assert!(host.try_wait().expect("is asked").is_none(), "it ended by itself");
            tokio::task::yield_now().await;
        }
        host.kill().expect("is killed");
        host.wait().expect("ends");
        let stuck = fs::read_to_string(remotes.ground.path().join("stuck")).expect("is there");
        remotes.serve("");
        let (_, base, _) = remotes.fetch(None).await;
        assert_eq!(base, remotes.main());
        let place = remotes.place();
        let left: Vec<_> = files(&place)
            .into_iter()
            .filter(|path| {
                let text = path.strip_prefix(&place).expect("is in it").to_string_lossy();
                text.contains("tmp_") || text.contains("incoming") || text.ends_with(".lock")
            })
            .collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "{is_there}");
        let (_, _, sent) = remotes.fetch(None).await;
        assert!(sent < SMALL, "{sent}");
        end(stuck.trim());
    }
}

/// The host that is killed.
async fn doomed(folder: &Path) {
    let ground = Ground::with(&[]);
    let task = Task::on(&ground, "ssh://host.example/origin.git", |config| {
        config.mirrors = Some(Mirrors::new(&folder.join("home")));
        config.deliver = false;
        config.environment.push(("GIT_SSH_COMMAND".into(), folder.join("ssh").into()));
    });
    drop(task.fetch().await);
}

/// Ends what the killed host's `git` left of `ssh`.
fn end(pid: &str) {
    let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

#[tokio::test]
async fn a_sweep_removes_what_is_half_made_and_nobody_makes() {
    let remotes = Remotes::new();
    remotes.fetch(None).await;
    let half = remotes.place().join("incoming.git");
    write(&half, "objects/pack/tmp_pack", "half");
    let lock = Lock::open(&remotes.place().join("lock"), Hold::Shared).expect("is locked");
    assert_eq!(remotes.mirrors().sweep(), 0);
    assert!(half.exists());
    drop(lock);
    assert_eq!(remotes.mirrors().sweep(), 1);
    assert!(!half.exists());
    assert_eq!(remotes.mirrors().sweep(), 0);
    assert!(remotes.fetch(None).await.2 < SMALL);
}

#[tokio::test]
async fn what_a_killed_git_left_among_packs_goes_with_the_next_fetch_that_writes() {
    let remotes = Remotes::new();
    remotes.fetch(None).await;
    let packs = remotes.place().join("repository.git/objects/pack");
    let pack = files(&packs).into_iter().find(|path| path.extension().is_some_and(|kind| kind == "pack"));
    let kept = pack.expect("a pack").with_extension("keep");
    let left = ["tmp_pack_x", ".tmp-7-pack-x.pack", ".tmp-7-pack-x.idx", "multi-pack-index.lock"];
    let left: Vec<_> = left.iter().map(|name| packs.join(name)).chain([kept]).collect();
    left.iter().for_each(|path| fs::write(path, "half").expect("is written"));
    remotes.change("2\n");
    assert!(remotes.fetch(None).await.2 < SMALL);
    assert_eq!(left.into_iter().filter(|path| path.exists()).collect::<Vec<_>>(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_git_that_does_not_trust_the_mirrors_folder_is_done_without_them() {
    let remotes = Remotes::new();
    // for the host's end alone, and not for the remote
    let text = fs::read_to_string(remotes.ground.path().join("ssh")).expect("is there");
    let variable = "GIT_TEST_ASSUME_DIFFERENT_OWNER";
    let text = text.replacen("#!/bin/sh\n", &format!("#!/bin/sh\nunset {variable}\n"), 1);
    script(remotes.ground.path(), "ssh", text);
    let mut task = remotes.task();
    task.config.environment.push((variable.into(), "1".into()));
    let task = task.restarted();
    assert_eq!(task.fetch().await.expect("fetches on its own"), remotes.main());
    // once for the mirror, and once for the task
    assert!(remotes.sent() > 2 * LARGE as u64, "the mirror was trusted");
}
