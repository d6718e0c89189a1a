//! How much is kept, and for how long somebody is waited for.

use std::fs;
use std::time::{Duration, SystemTime};

use sortie_delivery::{MirrorBounds, Mirrors};
use sortie_lock::{Hold, Lock};

use super::remotes::{LARGE, Remotes, SMALL};
use crate::support::git;

#[tokio::test]
async fn a_mirror_that_is_in_use_for_too_long_is_not_waited_for() {
    let remotes = Remotes::new();
    remotes.fetch(None).await;
    let _lock = Lock::open(&remotes.place().join("lock"), Hold::Exclusive).expect("is locked");
    let bounds = MirrorBounds { wait: Duration::ZERO, ..MirrorBounds::default() };
    let task = remotes.task_on("ssh://host.example/origin.git", Mirrors::bounded(&remotes.home(), bounds));
    let before = remotes.sent();
    assert_eq!(task.fetch().await.expect("fetches on its own"), remotes.main());
    assert!(remotes.sent() - before > LARGE as u64);
    assert!(
        Mirrors::bounded(&remotes.home(), MirrorBounds { number: 0, ..bounds })
            .enforce(SystemTime::now())
            .is_empty()
    );
    assert_eq!(remotes.mirrors().list().len(), 1, "what is in use is not removed");
}

#[tokio::test]
async fn mirrors_are_bounded_in_number_in_size_and_in_age() {
    let remotes = Remotes::new();
    let day = Duration::from_secs(86_400);
    let now = SystemTime::now();
    for (days, name) in [(3, "a"), (2, "b"), (1, "c")] {
        git(remotes.ground.path(), &["clone", "-q", "--bare", &remotes.ground.url(), &format!("{name}.git")]);
        let known: Vec<_> = fs::read_dir(remotes.home().join("mirrors"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        let task = remotes.task_on(&format!("ssh://host.example/{name}.git"), remotes.mirrors());
        task.fetch().await.expect("fetches");
        let mut entries = fs::read_dir(remotes.home().join("mirrors")).expect("is there").flatten();
        let place = entries.find(|entry| !known.contains(&entry.path())).expect("a new one").path();
        let lock = fs::File::options().write(true).open(place.join("lock")).expect("is there");
        lock.set_modified(now - day * days).expect("is set");
    }
    let names = |mirrors: &Mirrors| {
        let names =
            mirrors.list().into_iter().map(|mirror| mirror.url.trim_end_matches(".git").chars().last());
        names.map(|name| name.expect("a name")).collect::<String>()
    };
    let mirrors = remotes.mirrors();
    assert_eq!(names(&mirrors), "cba");
    let one = mirrors.list()[0].bytes;
    assert!(one > LARGE as u64 && mirrors.enforce(now).is_empty());
    let bounded = |bounds| Mirrors::bounded(&remotes.home(), bounds);
    let usual = MirrorBounds::default();
    let aged = bounded(MirrorBounds { unused: day * 5 / 2, ..usual }).enforce(now);
    assert_eq!(aged.len(), 1);
    assert_eq!(names(&mirrors), "cb");
    bounded(MirrorBounds { bytes: one * 3 / 2, ..usual }).enforce(now);
    assert_eq!(names(&mirrors), "c");
    bounded(MirrorBounds { number: 0, ..usual }).enforce(now);
    assert_eq!(names(&mirrors), "");
    assert_eq!(fs::read_dir(remotes.home().join("mirrors")).expect("is there").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_that_others_remove_all_the_time_cost_no_task_its_fetch() {
    let remotes = Remotes::new();
    let home = remotes.home();
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let remover = std::thread::spawn(move || {
        let bounds = MirrorBounds { number: 0, ..MirrorBounds::default() };
        while is_done.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            let mirrors = Mirrors::bounded(&home, bounds);
            mirrors.sweep();
            mirrors.enforce(SystemTime::now());
        }
    });
    for _ in 0..3 {
        let tasks: Vec<_> = (0..4).map(|_| remotes.task()).collect();
        let mut running = tokio::task::JoinSet::new();
        for task in tasks {
            running.spawn(async move { task.fetch().await.expect("fetches") });
        }
        assert!(running.join_all().await.iter().all(|base| *base == remotes.main()));
    }
    drop(done);
    remover.join().expect("it goes well");
    // and the next one has a mirror again
    remotes.fetch(None).await;
    let (_, _, sent) = remotes.fetch(None).await;
    assert!(sent < SMALL, "{sent}");
}
