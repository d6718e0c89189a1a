//! A repository to work on, a home of its own for each test, and the binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Long enough for anything here; only a bug lets it pass.
pub(crate) const LONG: Duration = Duration::from_secs(300);

/// Waits until something holds, and panics if it never does.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LONG, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// So many seconds as nobody else on this machine sleeps, to know a sleeper by.
pub(crate) fn own_seconds() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("5{}{:03}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A folder with a bare origin, a clone of it, and a home for Sortie.
pub(crate) struct Site {
    folder: TempDir,
}

/// The repository of the demo: three shell tests, of which one fails.
const FILES: [(&str, &str); 3] = [
    ("slug.sh", include_str!("../host/cli/src/commands/demo/files/slug.sh")),
    ("test.sh", include_str!("../host/cli/src/commands/demo/files/test.sh")),
    (".sortie/config.toml", include_str!("../host/cli/src/commands/demo/files/config.toml")),
];

impl Site {
    /// Without a repository.
    pub(crate) fn empty() -> Self {
        // as Sortie and the kernel name it
        let parent = std::env::temp_dir().canonicalize().expect("there is one for temporary files");
        Self { folder: tempfile::tempdir_in(parent).expect("a temporary folder") }
    }

    /// With the demo's repository.
    pub(crate) fn new() -> Self {
        let site = Self::empty();
        for (name, content) in FILES {
            site.write(name, content);
        }
        site.publish();
        site
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn clone(&self) -> PathBuf {
        self.path().join("clone")
    }

    pub(crate) fn origin(&self) -> PathBuf {
        self.path().join("origin.git")
    }

    /// Writes a file of the clone.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.clone().join(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder is made");
        std::fs::write(path, content).expect("a file is written");
    }

    /// Writes a file beside the clone and returns its path.
    pub(crate) fn aside(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).expect("a file is written");
        path
    }

    /// Commits all that is in the clone and pushes it to a new origin.
    pub(crate) fn publish(&self) {
        let origin = self.origin().display().to_string();
        self.git(self.path(), &["init", "--quiet", "--bare", "--initial-branch=main", &origin]);
        self.git(&self.clone(), &["init", "--quiet", "--initial-branch=main"]);
        self.git(&self.clone(), &["add", "--all", "--force"]);
        self.git(&self.clone(), &["commit", "--quiet", "--message", "Begin"]);
        self.git(&self.clone(), &["remote", "add", "origin", &origin]);
        self.git(&self.clone(), &["push", "--quiet", "origin", "main"]);
    }

    pub(crate) fn git(&self, folder: &Path, arguments: &[&str]) -> String {
        let output = sortie_testing::git(folder)
            .args(["-c", "user.name=Test", "-c", "user.email=test@localhost"])
            .args(arguments)
            .output()
            .expect("git runs");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The binary, with a home of its own, without anybody's keys and settings.
    pub(crate) fn sortie(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sortie"));
        command.current_dir(self.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if [&b"SORTIE_"[..], b"GIT_"].iter().any(|ours| name.as_encoded_bytes().starts_with(ours)) {
                command.env_remove(name);
            }
        }
        command.env("SORTIE_HOME", self.path().join("home"));
        // compiling the components is the same in every test
        command.env("SORTIE_CACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/components"));
        command.env("SORTIE_CONFIG", self.path().join("config.toml"));
        command.env("SORTIE_ORG_CONFIG", self.path().join("organisation.toml"));
        for name in ["OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"] {
            command.env_remove(name);
        }
        command
    }

    /// `sortie run` on the clone with a scripted model.
    pub(crate) fn scripted(&self, script: &Value) -> Command {
        let script = self.aside("script.json", script.to_string());
        let mut command = self.sortie();
        command.args(["run", "Fix the failing test.", "--json", "--repo"]).arg(self.clone());
        command.arg("--model").arg(format!("scripted:{}", script.display()));
        command
    }
}

impl Drop for Site {
    /// Images of set-ups would outlive the home that knows of them.
    fn drop(&mut self) {
        let may_have_images = std::env::var_os("SORTIE_TEST_IMAGE").is_some();
        if may_have_images && self.path().join("home/snapshots").is_dir() {
            let keep_none = self.aside("keep-none.toml", "[snapshots]\nmax_mb = 0\n");
            // what a failed test left shall not hide why it failed
            let _ = self.sortie().env("SORTIE_CONFIG", keep_none).arg("gc").output();
        }
    }
}

/// What a run printed.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) events: Vec<Value>,
    pub(crate) stderr: String,
}

impl Ran {
    /// Runs a command with `--json` to its end.
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::from(command.output().expect("sortie runs"))
    }

    pub(crate) fn from(output: Output) -> Self {
        let stdout = String::from_utf8(output.stdout).expect("events are UTF-8");
        let events =
            stdout.lines().map(|line| serde_json::from_str(line).expect("an event is JSON")).collect();
        Self {
            code: output.status.code(),
            events,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The last event.
    pub(crate) fn report(&self) -> &Value {
        let last = self.events.last().unwrap_or_else(|| panic!("no events; stderr: {}", self.stderr));
        assert_eq!(last["type"], "task.ended", "{}", self.stderr);
        last
    }

    /// Events of one type.
    pub(crate) fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| event["type"] == kind)
    }

    /// What the tools gave, one after the other.
    pub(crate) fn tool_results(&self) -> String {
        self.of_type("tool.ended")
            .map(|event| format!("{}\n", event["content"].as_str().unwrap_or_default()))
            .collect()
    }

    /// Checks that the job of the demo is done: fixed, tested, pushed.
    pub(crate) fn assert_fixed(&self, site: &Site) {
        let report = self.report();
        assert_eq!(
            (self.code, report["outcome"].as_str()),
            (Some(0), Some("done")),
            "{report:#}\n{}",
            self.stderr
        );
        assert_eq!(
            report["tests"]["baseline"],
            serde_json::json!({ "passed": 2, "failed": 1, "skipped": 0 })
        );
        assert_eq!(report["tests"]["final"], serde_json::json!({ "passed": 3, "failed": 0, "skipped": 0 }));
        assert_eq!(report["tests"]["after_last_edit"], true);
        let branch = report["branch"].as_str().expect("a branch");
        let commit = site.git(&site.origin(), &["rev-parse", &format!("refs/heads/{branch}")]);
        assert_eq!(report["commit"], commit.as_str());
        let pushed = site.git(&site.origin(), &["show", &format!("{branch}:slug.sh")]);
        assert!(pushed.contains("tr -cs"), "{pushed}");
        let names = site.git(&site.origin(), &["diff", "--name-only", "main", branch]);
        assert_eq!(names, "slug.sh");
    }
}

/// The command that fixes the demo's bug.
pub(crate) const FIX: &str = "sed -i \"s/tr -c 'a-z0-9'/tr -cs 'a-z0-9'/\" slug.sh";

/// A script of shell commands that then finishes.
pub(crate) fn shell_script(commands: &[&str]) -> Value {
    let mut replies: Vec<Value> = commands
        .iter()
        .map(|command| serde_json::json!({ "tool_calls": [{ "name": "shell", "arguments": { "command": command } }] }))
        .collect();
    replies.push(finish("done"));
    serde_json::json!({ "replies": replies })
}

/// A reply that finishes.
pub(crate) fn finish(outcome: &str) -> Value {
    let arguments =
        serde_json::json!({ "outcome": outcome, "title": "Collapse separators", "summary": "Done." });
    serde_json::json!({ "tool_calls": [{ "name": "finish", "arguments": arguments }] })
}
