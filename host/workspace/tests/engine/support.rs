//! What the tests share: folders, containers over them, and Docker's own client as a witness.

use std::path::PathBuf;
use std::process::Command;

use sortie_core::action::Stage;
use sortie_policy::ports::Exit;
use sortie_workspace::client::Stdin;
use sortie_workspace::container::{Container, ContainerConfig, Engine};

pub(crate) use crate::running::{LONG, Outcome, eventually, give_away, outcome, program};

pub(crate) extern "C" fn serve_if_asked() {
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
        // no other test, run or machine has it; names of images are in lower case
        let own = outside.path().file_name().expect("it has one").to_string_lossy().to_lowercase();
        Self { work_tree, home, owner: format!("{name}-{}", own.trim_start_matches('.')), outside }
    }

    /// A container as the agent's is.
    pub(crate) fn config(&self, image: &str) -> ContainerConfig {
        let (folder, work_tree, home) = (self.outside.path().join("container"), &self.work_tree, &self.home);
        let init = std::fs::read("/proc/self/exe").expect("init can be read");
        ContainerConfig {
            task: "task-222222".to_owned(),
            owner: self.owner.clone(),
            ..ContainerConfig::new(image, init, folder, work_tree.clone(), home.clone())
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
    outcome(&mut running).await
}

/// Runs a script that has to succeed.
pub(crate) async fn succeeds(container: &Container, script: &str) -> String {
    let outcome = sh(container, script).await;
    assert_eq!(outcome.exit, Exit::Code(0), "{script}: {outcome:?}");
    outcome.stdout
}
