//! Mirrors: what one task fetched, the next does not fetch again, and nothing
//! worse than a slow fetch comes of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use sortie_delivery::{MirrorBounds, Mirrors};
use sortie_policy::ports::{ErrorCode, Repository};

use crate::support::{Ground, Task, environment, git, write};

/// Bytes that do not compress.
const LARGE: usize = 2 << 20;
/// More than a listing and a small commit, and far less than [`LARGE`].
const SMALL: u64 = 64 << 10;

/// Remotes behind `ssh`, which is a script that counts what they send.
struct Remotes {
    ground: Ground,
    tasks: std::cell::Cell<usize>,
}

impl Remotes {
    /// One, `origin.git`, with a large file.
    fn new() -> Self {
        let ground = Ground::with(&[("small", "1\n")]);
        let remotes = Self { ground, tasks: std::cell::Cell::new(0) };
        write(&remotes.ground.seed(), "large", noise(7));
        remotes.ground.publish();
        remotes.serve("");
        remotes
    }

    /// Has `ssh` serve repositories of the ground; `filter` stands behind what they send.
    fn serve(&self, filter: &str) {
        let folder = self.ground.path().display();
        let script = format!(
            "#!/bin/sh\nfor last; do :; done\ncd {folder} || exit 255\n\
             eval \"git $(printf %s \"${{last#git-}}\" | sed \"s|'/|'|\")\" {filter} | tee -a sent\n"
        );
        write(self.ground.path(), "ssh", script);
        fs::set_permissions(self.ground.path().join("ssh"), fs::Permissions::from_mode(0o755))
            .expect("is executable");
    }

    fn home(&self) -> PathBuf {
        self.ground.path().join("home")
    }

    fn mirrors(&self) -> Mirrors {
        Mirrors::new(&self.home())
    }

    /// A task on `origin.git`.
    fn task(&self) -> Task {
        self.task_on("ssh://host.example/origin.git", self.mirrors())
    }

    fn task_on(&self, url: &str, mirrors: Mirrors) -> Task {
        self.tasks.set(self.tasks.get() + 1);
        let (number, folder) = (self.tasks.get(), self.ground.path());
        fs::create_dir_all(folder.join(format!("tree-{number}"))).expect("is made");
        Task::on(&self.ground, url, |config| {
            config.mirrors = Some(mirrors);
            config.deliver = false;
            config.host_repository = folder.join(format!("task-{number}.git"));
            config.work_tree = folder.join(format!("tree-{number}"));
            config.environment.push(("GIT_SSH_COMMAND".into(), folder.join("ssh").into()));
        })
    }

    /// Fetches a base, checks it out, and tells how much the remote sent for it.
    async fn fetch(&self, base: Option<&str>) -> (Task, String, u64) {
        let before = self.sent();
        let task = self.task();
        let id = task.fetch_from(base).await.expect("fetches");
        task.repository.check_out().await.expect("checks out");
        (task, id, self.sent() - before)
    }

    fn sent(&self) -> u64 {
        fs::metadata(self.ground.path().join("sent")).map_or(0, |sent| sent.len())
    }

    fn main(&self) -> String {
        self.ground.in_origin(&["rev-parse", "main"])
    }

    /// A small change on `main`.
    fn change(&self, text: &str) {
        write(&self.ground.seed(), "small", text);
        self.ground.publish();
    }

    /// The one mirror's folder.
    fn place(&self) -> PathBuf {
        let mut entries = fs::read_dir(self.home().join("mirrors")).expect("is there");
        let place = entries.next().expect("there is one").expect("is read").path();
        assert!(entries.next().is_none(), "there are more");
        place
    }
}

/// The same for the same seed.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..LARGE).map(|_| next()).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("is a folder").map(|entry| entry.expect("is read").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

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
            "| {{ dd bs=65536 count=20 2>/dev/null | tee {place}/half; {is_half} && sh -c '{stuck}'; }}"
        ));
        let name =
            "mirrors::a_host_that_is_killed_in_the_middle_leaves_a_mirror_that_the_next_task_makes_whole";
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
        let left: Vec<_> = files(&remotes.place())
            .into_iter()
            .filter(|path| {
                let text = path.display().to_string();
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

#[tokio::test]
async fn a_mirror_that_is_in_use_for_too_long_is_not_waited_for() {
    let remotes = Remotes::new();
    remotes.fetch(None).await;
    let lock = fs::File::open(remotes.place().join("lock")).expect("is there");
    flock(&lock, FlockOperation::LockExclusive).expect("is locked");
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
async fn a_folder_that_cannot_hold_mirrors_is_done_without() {
    let remotes = Remotes::new();
    write(&remotes.home(), "mirrors", "a file");
    assert_eq!(remotes.fetch(None).await.1, remotes.main());
}

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
async fn what_a_hostile_remote_sends_stays_in_no_mirror() {
    let remotes = Remotes::new();
    let origin = remotes.ground.origin();
    let blob = git(&origin, &["rev-parse", "main:small"]);
    let tree = {
        let mut child = Command::new("git")
            .args(["mktree", "--missing"])
            .current_dir(&origin)
            .envs(environment())
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
        let objects = files(&remotes.place());
        assert!(objects.iter().all(|path| !path.display().to_string().contains("incoming")), "{objects:?}");
        fs::write(origin.join("refs/heads/main"), good).expect("is written");
    }
    // and what was good before is good still
    let (_, _, sent) = remotes.fetch(None).await;
    assert!(sent < SMALL, "{sent}");
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

#[tokio::test]
async fn a_sweep_removes_what_is_half_made_and_nobody_makes() {
    let remotes = Remotes::new();
    remotes.fetch(None).await;
    let half = remotes.place().join("incoming.git");
    write(&half, "objects/pack/tmp_pack", "half");
    let lock = fs::File::open(remotes.place().join("lock")).expect("is there");
    flock(&lock, FlockOperation::LockShared).expect("is locked");
    assert_eq!(remotes.mirrors().sweep(), 0);
    assert!(half.exists());
    drop(lock);
    assert_eq!(remotes.mirrors().sweep(), 1);
    assert!(!half.exists());
    assert_eq!(remotes.mirrors().sweep(), 0);
    assert!(remotes.fetch(None).await.2 < SMALL);
}
