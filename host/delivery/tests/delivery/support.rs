//! A repository to work on, a task that works on it, and a gate that allows.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sortie_core::action::{Against, Change, ChangeKind, Commit, FileRead, ReadOperation, RepositoryFetch};
use sortie_core::{Actor, Effect};
use sortie_delivery::{BUILD_OUTPUT, Config, Identity, Source, TaskRepository};
use sortie_policy::ports::{PortError, Repository};
use sortie_policy::{Gate, Permit};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Variables that keep the machine's own Git config out of a test.
pub(crate) fn environment() -> Vec<(OsString, OsString)> {
    let pairs = [
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_DEFAULT_HASH", "sha1"),
        ("GIT_DEFAULT_REF_FORMAT", "files"),
        ("HOME", "/nonexistent"),
        ("no_proxy", "*"),
    ];
    pairs.map(|(name, value)| (name.into(), value.into())).to_vec()
}

/// Git with the variables of a test.
pub(crate) fn git_command(folder: &Path) -> Command {
    let mut command = sortie_testing::git(folder);
    command.envs(environment());
    command
}

/// Runs Git as a user or a model would; returns its output.
pub(crate) fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = git_command(folder)
        .args(["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"])
        .args(["-c", "protocol.file.allow=always", "-c", "commit.gpgSign=false", "-c", "core.fsync=none"])
        .args(arguments)
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

pub(crate) fn write(folder: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().expect("has a parent")).expect("folders are made");
    fs::write(path, content).expect("is written");
}

/// Makes a script that can be run, by a process of its own: one of ours that was just forked off by another test would
/// hold the file open to be written, and nobody can run such a file.
pub(crate) fn script(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell is there");
    writer.stdin.take().expect("it is piped").write_all(text.as_ref()).expect("it reads");
    assert!(writer.wait().expect("it ends").success(), "{} is written", path.display());
    path
}

/// A folder with a bare origin and a clone of it to seed it from.
pub(crate) struct Ground {
    pub(crate) folder: TempDir,
    /// What a program that ran on the host would leave behind.
    pub(crate) marker: PathBuf,
    /// What must never be delivered.
    pub(crate) canary: PathBuf,
}

pub(crate) const CANARY: &str = "canary-5f2a-not-to-be-delivered";

impl Ground {
    /// An origin whose `main` has these files.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ground = Self {
            marker: folder.path().join("marker"),
            canary: folder.path().join("outside/canary"),
            folder,
        };
        write(ground.path(), "outside/canary", CANARY);
        git(ground.path(), &["init", "-q", "--bare", "origin.git"]);
        git(ground.path(), &["init", "-q", "seed"]);
        git(&ground.seed(), &["remote", "add", "origin", &ground.origin().display().to_string()]);
        for (path, content) in files {
            write(&ground.seed(), path, content);
        }
        ground.publish();
        ground
    }

    /// Commits what lies in the seed and pushes it to the origin's `main`.
    pub(crate) fn publish(&self) {
        git(&self.seed(), &["add", "-A"]);
        git(&self.seed(), &["commit", "-q", "--allow-empty", "-m", "seed"]);
        git(&self.seed(), &["push", "-q", "origin", "HEAD:refs/heads/main"]);
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes these files, in great number, the origin's `main`.
    pub(crate) fn import(&self, files: impl Iterator<Item = (String, String)>) {
        let mut stream =
            String::from("commit refs/heads/main\ncommitter A <a@example.org> 1 +0000\ndata 4\nmany\n");
        for (path, content) in files {
            stream.push_str(&format!("M 100644 inline {path}\ndata {}\n{content}\n", content.len()));
        }
        let mut import = git_command(&self.origin())
            .args(["fast-import", "--quiet", "--force"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("git runs");
        import.stdin.take().expect("is a pipe").write_all(stream.as_bytes()).expect("is written");
        assert!(import.wait().expect("git ends").success());
    }

    pub(crate) fn seed(&self) -> PathBuf {
        self.path().join("seed")
    }

    pub(crate) fn origin(&self) -> PathBuf {
        self.path().join("origin.git")
    }

    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.origin().display())
    }

    pub(crate) fn in_origin(&self, arguments: &[&str]) -> String {
        git(&self.origin(), arguments)
    }

    /// A shell command that would leave the marker.
    pub(crate) fn bomb(&self) -> String {
        let path = self.marker.display().to_string();
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
        assert!(path.chars().all(is_plain), "a shell would read {path} as something else: set TMPDIR");
        format!("touch {path}")
    }

    pub(crate) fn nothing_ran(&self) {
        assert!(!self.marker.exists(), "a program of the repository ran on the host");
    }

    /// Nothing that the origin took in holds the canary.
    pub(crate) fn nothing_leaked(&self) {
        let objects = self.in_origin(&["cat-file", "--batch-all-objects", "--batch"]);
        assert!(!objects.contains(CANARY), "the canary was delivered");
    }

    /// A task on the origin's URL.
    pub(crate) fn task(&self) -> Task {
        Task::on(self, &self.url(), |_| {})
    }
}

/// A gate that allows everything.
pub(crate) fn gate() -> Gate {
    sortie_testing::gate(vec![sortie_testing::allowing()], sortie_testing::defaults())
}

pub(crate) const BRANCH: &str = "sortie/fix-7k2m9q";

/// A task, and the gate that permits what it does.
pub(crate) struct Task {
    pub(crate) repository: TaskRepository,
    pub(crate) tree: PathBuf,
    pub(crate) config: Config,
    gate: Gate,
}

impl Task {
    pub(crate) fn on(ground: &Ground, repository: &str, change: impl FnOnce(&mut Config)) -> Self {
        let source = Source::parse(repository, ground.path()).expect("a repository");
        let gate = gate();
        let work_tree = ground.path().join("tree");
        fs::create_dir_all(&work_tree).expect("is made");
        let someone = Identity { name: "Sortie".into(), email: "sortie@example.org".into() };
        let mut config = Config {
            host_repository: ground.path().join("task/repository.git"),
            work_tree: work_tree.clone(),
            source,
            branch: BRANCH.into(),
            deliver: true,
            author: someone.clone(),
            committer: someone,
            trailers: vec![("Sortie-Task".into(), "task-7k2m9q".into())],
            owner: None,
            build_output: BUILD_OUTPUT.iter().map(|&line| line.into()).collect(),
            environment: environment(),
            mirrors: None,
            seal: gate.seal(),
            cancel: CancellationToken::new(),
        };
        change(&mut config);
        let repository = TaskRepository::open(config.clone()).expect("opens");
        Self { repository, tree: work_tree, config, gate }
    }

    /// The same task after a restart of the host.
    pub(crate) fn restarted(self) -> Self {
        let gate = gate();
        let config = Config { seal: gate.seal(), ..self.config };
        let repository = TaskRepository::open(config.clone()).expect("opens again");
        Self { repository, tree: self.tree, config, gate }
    }

    pub(crate) async fn permit<A: Effect>(&self, action: A) -> Permit<A> {
        self.gate.permit(&Actor::Host, action).await.expect("is allowed")
    }

    pub(crate) async fn fetch_from(&self, reference: Option<&str>) -> Result<String, PortError> {
        let action =
            RepositoryFetch { url: self.config.source.masked(), reference: reference.map(String::from) };
        self.repository.fetch(self.permit(action).await).await
    }

    pub(crate) async fn fetch(&self) -> Result<String, PortError> {
        self.fetch_from(None).await
    }

    /// Fetches and checks out.
    pub(crate) async fn prepare(&self) {
        self.fetch().await.expect("fetches");
        self.repository.check_out().await.expect("checks out");
    }

    pub(crate) async fn changes(&self) -> Vec<(String, ChangeKind)> {
        let changes = self.repository.changes(Against::Head).await.expect("changes");
        changes.into_iter().map(|change| (change.path, change.kind)).collect()
    }

    pub(crate) async fn commit_of(&self, changes: Vec<Change>) -> Result<String, PortError> {
        let action = Commit { branch: self.config.branch.clone(), message: "repair it".into(), changes };
        self.repository.commit(self.permit(action).await).await
    }

    /// Commits everything that differs.
    pub(crate) async fn commit(&self) -> Result<String, PortError> {
        let changes = self.repository.changes(Against::Head).await?;
        self.commit_of(changes).await
    }

    pub(crate) async fn push(&self) -> Result<(), PortError> {
        let planned = self.repository.planned_push().await?.expect("there is something to push");
        self.repository.push(self.permit(planned).await).await
    }

    /// Commits everything and pushes it.
    pub(crate) async fn deliver(&self) -> String {
        let commit = self.commit().await.expect("commits");
        self.push().await.expect("pushes");
        commit
    }

    pub(crate) async fn read(&self, operation: ReadOperation, paths: &[&str]) -> Permit<FileRead> {
        let paths = paths.iter().map(|&path| path.into()).collect();
        self.permit(FileRead { operation, paths }).await
    }
}
