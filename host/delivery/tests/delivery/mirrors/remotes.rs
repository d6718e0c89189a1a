//! Remotes that count what they send.

use std::fs;
use std::path::{Path, PathBuf};

use sortie_delivery::Mirrors;
use sortie_policy::ports::Repository;

use crate::support::{Ground, Task, script, write};

/// Bytes that do not compress.
pub(super) const LARGE: usize = 2 << 20;

/// More than a listing and a small commit, and far less than [`LARGE`].
pub(super) const SMALL: u64 = 64 << 10;

/// Remotes behind `ssh`, which is a script that counts what they send.
pub(super) struct Remotes {
    pub(super) ground: Ground,
    pub(super) tasks: std::cell::Cell<usize>,
}

impl Remotes {
    /// One, `origin.git`, with a large file.
    pub(super) fn new() -> Self {
        let ground = Ground::with(&[("small", "1\n")]);
        let remotes = Self { ground, tasks: std::cell::Cell::new(0) };
        write(&remotes.ground.seed(), "large", noise(7));
        remotes.ground.publish();
        remotes.serve("");
        remotes
    }

    /// Has `ssh` serve repositories of the ground; `filter` stands behind what they send.
    pub(super) fn serve(&self, filter: &str) {
        let folder = self.ground.path().display();
        let text = format!(
            "#!/bin/sh\nfor last; do :; done\ncd {folder} || exit 255\n\
             eval \"git $(printf %s \"${{last#git-}}\" | sed \"s|'/|'|\")\" {filter} | tee -a sent\n"
        );
        script(self.ground.path(), "ssh", text);
    }

    pub(super) fn home(&self) -> PathBuf {
        self.ground.path().join("home")
    }

    pub(super) fn mirrors(&self) -> Mirrors {
        Mirrors::new(&self.home())
    }

    /// A task on `origin.git`.
    pub(super) fn task(&self) -> Task {
        self.task_on("ssh://host.example/origin.git", self.mirrors())
    }

    pub(super) fn task_on(&self, url: &str, mirrors: Mirrors) -> Task {
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
    pub(super) async fn fetch(&self, base: Option<&str>) -> (Task, String, u64) {
        let before = self.sent();
        let task = self.task();
        let id = task.fetch_from(base).await.expect("fetches");
        task.repository.check_out().await.expect("checks out");
        (task, id, self.sent() - before)
    }

    pub(super) fn sent(&self) -> u64 {
        fs::metadata(self.ground.path().join("sent")).map_or(0, |sent| sent.len())
    }

    pub(super) fn main(&self) -> String {
        self.ground.in_origin(&["rev-parse", "main"])
    }

    /// A small change on `main`.
    pub(super) fn change(&self, text: &str) {
        write(&self.ground.seed(), "small", text);
        self.ground.publish();
    }

    /// The one mirror's folder.
    pub(super) fn place(&self) -> PathBuf {
        let mut entries = fs::read_dir(self.home().join("mirrors")).expect("is there");
        let place = entries.next().expect("there is one").expect("is read").path();
        assert!(entries.next().is_none(), "there are more");
        place
    }
}

/// The same for the same seed.
pub(super) fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..LARGE).map(|_| next()).collect()
}

pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("is a folder").map(|entry| entry.expect("is read").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
