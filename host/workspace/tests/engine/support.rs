//! What the tests share: folders, containers over them, and Docker's own client as a witness.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sortie_core::action::Stage;
use sortie_policy::ports::{Chunk, Ended, Exit};
use sortie_workspace::client::Stdin;
use sortie_workspace::container::{Container, ContainerConfig, Engine};
use sortie_workspace::sandbox::{Limits, Owner};

/// Long enough for anything here; only a bug lets it pass.
pub(crate) const LONG: Duration = Duration::from_secs(60);

#[used]
#[expect(unsafe_code, reason = "to be first in the process, before the harness starts its threads")]
// SAFETY: the C library calls each pointer of this section once, with these arguments, before `main`.
#[unsafe(link_section = ".init_array")]
static FIRST: extern "C" fn() = serve_if_asked;

extern "C" fn serve_if_asked() {
    let first = std::env::args().nth(1);
    if matches!(first.as_deref(), Some("--dial" | "--give-back")) {
        sortie_init::main();
    }
}

/// The image, where one is named.
pub(crate) fn image() -> Option<String> {
    let image = std::env::var("SORTIE_TEST_IMAGE").ok();
    if image.is_none() {
        eprintln!("skipped: SORTIE_TEST_IMAGE names no image");
    }
    image
}

/// The folders of a workspace, and whose it is.
pub(crate) struct Place {
    pub(crate) outside: tempfile::TempDir,
    pub(crate) work_tree: PathBuf,
    pub(crate) home: PathBuf,
    pub(crate) owner: String,
}

impl Place {
    /// `name` is the test's own.
    pub(crate) fn new(name: &str) -> Self {
        let outside = tempfile::tempdir().expect("temporary folders can be made");
        let folder = |name: &str| {
            let path = outside.path().join(name);
            std::fs::create_dir(&path).expect("the folder is new");
            give_away(&path);
            path
        };
        let (work_tree, home) = (folder("work"), folder("home"));
        Self { outside, work_tree, home, owner: format!("{name}-{}", std::process::id()) }
    }

    /// A container as the agent's is.
    pub(crate) fn config(&self, image: &str) -> ContainerConfig {
        ContainerConfig {
            image: image.to_owned(),
            task: "task-222222".to_owned(),
            owner: self.owner.clone(),
            init: std::fs::read("/proc/self/exe").expect("init can be read").into(),
            folder: self.outside.path().join("container"),
            work_tree: self.work_tree.clone(),
            home: self.home.clone(),
            masks: Vec::new(),
            read_only: Vec::new(),
            certificates: None,
            stage: Stage::Work,
            root: false,
            services: Vec::new(),
            limits: Limits::default(),
        }
    }

    pub(crate) fn set_up(&self, image: &str) -> ContainerConfig {
        ContainerConfig { stage: Stage::SetUp, root: true, ..self.config(image) }
    }

    /// Containers and images of this test, by the engine's own client.
    pub(crate) fn listed(&self, what: &[&str]) -> Vec<String> {
        let filter = format!("label=dev.sortie.owner={}", self.owner);
        let listed = docker(&[what, &["--quiet", "--filter", &filter]].concat());
        listed.lines().map(str::to_owned).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for id in self.listed(&["ps", "--all"]) {
            docker(&["rm", "--force", "--volumes", &id]);
        }
        // one that another was made from goes after that
        for id in [self.listed(&["images"]), self.listed(&["images"])].concat() {
            docker(&["rmi", "--force", &id]);
        }
    }
}

pub(crate) fn give_away(path: &Path) {
    let owner = Owner::current();
    std::os::unix::fs::lchown(path, Some(owner.uid), Some(owner.gid))
        .expect("root may, and others keep theirs");
}

/// What Docker's client prints; nothing if it fails.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("the command is there");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(crate) async fn engine() -> Engine {
    Engine::connect().await.unwrap_or_else(|error| panic!("there is an engine: {error}"))
}

pub(crate) async fn start(config: ContainerConfig) -> Container {
    let started = Container::start(&engine().await, config).await;
    started.unwrap_or_else(|error| panic!("the container starts: {error}"))
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a script to its end.
pub(crate) async fn sh(container: &Container, script: &str) -> Outcome {
    sh_with(container, script, &[]).await
}

/// The same, with further variables.
pub(crate) async fn sh_with(container: &Container, script: &str, variables: &[(&str, &str)]) -> Outcome {
    let mut environment = container.environment().to_vec();
    environment.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let spec = sortie_workspace::probe::command(&["/bin/sh", "-c", script], &environment);
    let mut running = container.client().spawn(&spec, Stdin::Null, 1 << 20).await.expect("it starts");
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match running.next(LONG).await.expect("the workspace is there") {
            Some(Chunk::Stdout(bytes)) => stdout.extend(bytes),
            Some(Chunk::Stderr(bytes)) => stderr.extend(bytes),
            Some(Chunk::Exit(Ended { exit, .. })) => {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                return Outcome { exit, stdout: text(&stdout), stderr: text(&stderr) };
            }
            Some(Chunk::Skipped(bytes)) => panic!("somebody reads, and {bytes} bytes are missing"),
            None => panic!("the command does not end"),
        }
    }
}

/// Runs a script that has to succeed.
pub(crate) async fn succeeds(container: &Container, script: &str) -> String {
    let outcome = sh(container, script).await;
    assert_eq!(outcome.exit, Exit::Code(0), "{script}: {outcome:?}");
    outcome.stdout
}

/// Waits until something holds, and panics if it never does.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + LONG;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
