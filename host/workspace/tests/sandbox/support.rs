//! What the tests share: a sandbox over temporary folders, and the two programs inside.
//!
//! The test binary itself is the helper, is init, and is the prober that makes bare system calls: before the
//! test harness starts (and with it any thread), [`serve_if_asked`] looks at the arguments. So nothing has to be
//! built or found, and no compiler or interpreter is needed inside.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Pid;
use sortie_init::processes;
use sortie_policy::ports::{Chunk, Exit};
use sortie_workspace::Isolated;
use sortie_workspace::client::{Running, Spec, Stdin};
use sortie_workspace::sandbox::{Sandbox, SandboxConfig};

use crate::containers;
pub(crate) use crate::running::{LONG, Outcome, eventually, give_away, outcome, program};

pub(crate) extern "C" fn serve_if_asked() {
    sortie_workspace::sandbox::helper_main_if_requested();
    let mut arguments = std::env::args();
    let name = arguments.next();
    let first = arguments.next();
    if name.as_deref() == Some("sortie-init") || first.as_deref() == Some("--dial") {
        sortie_init::main();
    }
    if first.as_deref() == Some("--probe") {
        crate::probes::run(&arguments.collect::<Vec<_>>());
    }
}

/// The bytes of init: this binary, or what `SORTIE_TEST_INIT` names, to try the one that is shipped. They
/// are read once: one test looks at how much memory this process takes.
pub(crate) fn init() -> &'static [u8] {
    static INIT: LazyLock<Vec<u8>> = LazyLock::new(|| {
        std::fs::read(shipped_init().unwrap_or_else(|| "/proc/self/exe".into())).expect("init can be read")
    });
    &INIT
}

fn shipped_init() -> Option<PathBuf> {
    std::env::var_os("SORTIE_TEST_INIT").map(PathBuf::from)
}

/// Where the prober lies inside.
pub(crate) fn prober() -> &'static str {
    if shipped_init().is_some() { "/home/agent/prober" } else { "/.sortie/init" }
}

/// A workspace and the folders that it is made of.
pub(crate) struct Box {
    /// In the run that [`crate::containers`] starts, a container.
    pub(crate) sandbox: std::boxed::Box<dyn Isolated>,
    pub(crate) folders: Folders,
}

/// Temporary folders that belong to the sandbox's user.
pub(crate) struct Folders {
    pub(crate) outside: tempfile::TempDir,
    pub(crate) work_tree: PathBuf,
    pub(crate) home: PathBuf,
}

impl Folders {
    pub(crate) fn new() -> Self {
        Self::under(tempfile::tempdir().expect("temporary folders can be made"))
    }

    pub(crate) fn under(outside: tempfile::TempDir) -> Self {
        let folder = |name: &str| {
            let path = outside.path().join(name);
            std::fs::create_dir(&path).expect("the folder is new");
            give_away(&path);
            path
        };
        let (work_tree, home) = (folder("work"), folder("home"));
        if shipped_init().is_some() {
            let own = std::fs::read("/proc/self/exe").expect("the test binary can be read");
            program(&home.join("prober"), &own);
        }
        Self { outside, work_tree, home }
    }

    pub(crate) fn config(&self) -> SandboxConfig {
        SandboxConfig::new(init(), self.work_tree.clone(), self.home.clone())
    }

    /// A file in the work tree, the commands' own.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.work_tree.join(name);
        for folder in path.parent().expect("it is below").ancestors() {
            if !folder.starts_with(&self.work_tree) || folder.exists() {
                break;
            }
            std::fs::create_dir_all(folder).expect("the folder can be made");
            give_away(folder);
        }
        std::fs::write(&path, text).expect("the file can be written");
        give_away(&path);
        path
    }
}

/// Processes of one sandbox, as the host counts them.
pub(crate) struct Numbers {
    pub(crate) helper: Pid,
    pub(crate) init: Pid,
}

/// Processes of this machine that run `sleep` for this many seconds.
pub(crate) fn sleepers(seconds: &str) -> Vec<i32> {
    let line = format!("sleep\0{seconds}\0");
    let runs =
        |pid: i32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|own| own == line.as_bytes());
    processes::all().into_iter().map(|process| process.pid).filter(|pid| runs(*pid)).collect()
}

/// A process of this machine and all that hang on it.
pub(crate) fn beneath(root: Pid) -> usize {
    let parents = parents();
    let leads = |pid: i32| std::iter::successors(Some(pid), |pid| parents.get(pid).copied());
    parents.keys().filter(|pid| leads(**pid).any(|pid| pid == root.as_raw_pid())).count()
}

fn parents() -> HashMap<i32, i32> {
    processes::all().into_iter().map(|process| (process.pid, process.parent)).collect()
}

impl Box {
    pub(crate) async fn start() -> Self {
        Self::of(Folders::new()).await
    }

    pub(crate) async fn of(folders: Folders) -> Self {
        let config = folders.config();
        Self::with(folders, config).await
    }

    pub(crate) async fn with(folders: Folders, config: SandboxConfig) -> Self {
        let sandbox: std::boxed::Box<dyn Isolated> = match containers::image() {
            Some(image) => std::boxed::Box::new(containers::start(image, config, &folders).await),
            None => std::boxed::Box::new(
                Sandbox::start(config).await.unwrap_or_else(|error| panic!("the sandbox starts: {error}")),
            ),
        };
        Self { sandbox, folders }
    }

    pub(crate) fn spec(&self, argv: &[&str]) -> Spec {
        sortie_workspace::probe::command(argv, self.sandbox.environment())
    }

    pub(crate) async fn spawn(&self, spec: &Spec, stdin: Stdin) -> Running {
        let spawned = self.sandbox.client().spawn(spec, stdin, 64 << 20);
        tokio::time::timeout(LONG, spawned).await.expect("init answers").expect("the command starts")
    }

    /// Starts a command that says `up`, with a limit of time that lets it come to that.
    pub(crate) async fn spawn_limited(&self, mut spec: Spec) -> Running {
        for seconds in [2, 10, 60] {
            spec.timeout = Duration::from_secs(seconds);
            let mut running = self.spawn(&spec, Stdin::Null).await;
            match running.next(LONG).await.expect("the workspace is there") {
                Some(Chunk::Stdout(word)) if word == b"up\n" => return running,
                Some(Chunk::Exit(ended)) if ended.exit == Exit::TimedOut => {}
                other => panic!("{other:?}"),
            }
        }
        panic!("it is never up");
    }

    pub(crate) async fn run(&self, argv: &[&str]) -> Outcome {
        let mut running = self.spawn(&self.spec(argv), Stdin::Null).await;
        outcome(&mut running).await
    }

    pub(crate) async fn sh(&self, script: &str) -> Outcome {
        self.run(&["/bin/sh", "-c", script]).await
    }

    /// Finds it from the outside, by a command that nobody else runs.
    pub(crate) async fn numbers(&self) -> Numbers {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let seconds = format!("4{}{:03}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let command = self.spawn(&self.spec(&["sleep", &seconds]), Stdin::Null).await;
        eventually("the command runs", async || !sleepers(&seconds).is_empty()).await;
        let parents = parents();
        let line = std::iter::successors(Some(sleepers(&seconds)[0]), |pid| parents.get(pid).copied());
        let line: Vec<_> = line.filter_map(Pid::from_raw).collect();
        drop(command);
        let [_command, _keeper, init, helper, tests, ..] = line[..] else { panic!("who is who? {line:?}") };
        // a container's init hangs on a process of the engine's
        assert!(containers::image().is_some() || tests == rustix::process::getpid());
        Numbers { helper, init }
    }

    /// Runs a probe inside; its exit code is 0 if the probe could do what it tried.
    pub(crate) async fn probe(&self, arguments: &[&str]) -> Outcome {
        let argv = [&[prober(), "--probe"], arguments].concat();
        self.run(&argv).await
    }
}
