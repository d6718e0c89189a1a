//! A task through the real binary, and what its journal says of it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use serde_json::json;
use sortie_core::event::Event;
use sortie_orchestrator::Store;
use tempfile::TempDir;

use crate::memory::{self, Peak};
use crate::table::Times;

/// A repository, and homes for Sortie.
pub(crate) struct Site {
    folder: TempDir,
    cache: PathBuf,
}

/// What one task came to.
pub(crate) struct Ran {
    /// From each request to the model to the next one. The scripted model's
    /// own time is in it.
    pub(crate) turns: Times,
    /// The part of it that is the tool call: its permit, the component, the
    /// command, the permit of its result.
    pub(crate) calls: Times,
    /// From the start of the process to the first request to the model,
    /// without clone and baseline.
    pub(crate) first_request: Duration,
    /// Synced commits of the journal.
    pub(crate) commits: u64,
    /// Memory; zero unless it was watched.
    pub(crate) peak: Peak,
}

/// What became of a task's set-up.
pub(crate) enum SetUp {
    /// Its commands ran.
    Done,
    /// It was taken up from an earlier task.
    TakenUp,
    /// One of its commands failed, with these words.
    Failed(String),
}

impl Site {
    /// A repository without tests.
    pub(crate) fn new(cache: &Path) -> anyhow::Result<Self> {
        Self::of(cache, &[("README.md", "# A repository\n")])
    }

    /// A repository of these files.
    pub(crate) fn of(cache: &Path, files: &[(&str, &str)]) -> anyhow::Result<Self> {
        let site = Self { folder: tempfile::tempdir()?, cache: cache.to_owned() };
        let repository = site.repository();
        std::fs::create_dir(&repository)?;
        for (name, content) in files {
            std::fs::write(repository.join(name), content)?;
        }
        for arguments in [
            &["init", "--quiet", "--initial-branch=main"][..],
            &["add", "--all"],
            &["-c", "user.name=B", "-c", "user.email=b@localhost", "commit", "--quiet", "--message", "Begin"],
        ] {
            let status = sortie_testing::git(&repository).args(arguments).status()?;
            ensure!(status.success(), "git {arguments:?} ended with {status}");
        }
        std::fs::write(site.settings(), "[network]\nsetup = \"registries\"\n")?;
        Ok(site)
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// A task of so many shell turns, in a home of its own.
    pub(crate) fn run(&self, name: &str, turns: u32, watched: bool) -> anyhow::Result<Ran> {
        let (journal, log, peak) = self.task(name, turns, watched, &[])?;
        Ok(Ran {
            turns: journal.turns(turns)?,
            calls: journal.calls(turns)?,
            first_request: journal.first_request()?,
            commits: commits(&log)
                .with_context(|| format!("the log does not say how many commits: {log}"))?,
            peak,
        })
    }

    /// A task of one turn, in a home that it may share with earlier ones:
    /// what became of its set-up, and how long it took from the start of the
    /// process to the first request to the model.
    pub(crate) fn start(&self, home: &str, arguments: &[&str]) -> anyhow::Result<(SetUp, Duration)> {
        let (journal, ..) = self.task(home, 1, false, arguments)?;
        self.trust(&journal)?;
        let first = journal.requests().get(&1).copied().context("the model was never asked")?;
        Ok((journal.set_up(), between(journal.started, first)))
    }

    /// Removes the snapshots of a home, and with them their images.
    pub(crate) fn forget(&self, home: &str) -> anyhow::Result<()> {
        let keep_none = self.folder.path().join("keep-none.toml");
        std::fs::write(&keep_none, "[snapshots]\nmax_mb = 0\n")?;
        let mut gc = self.sortie(&self.folder.path().join(home));
        gc.env("SORTIE_CONFIG", keep_none).arg("gc");
        finish(gc, false).map(drop)
    }

    /// Has later tasks connect to the hosts that the package managers named,
    /// whatever their addresses: a mirror's may be private.
    fn trust(&self, journal: &Journal) -> anyhow::Result<()> {
        let learned = journal.events.iter().find_map(|(_, event)| match event {
            Event::RegistriesLearned { hosts, .. } => Some(json!(hosts)),
            _ => None,
        });
        let trusted = learned.map_or_else(String::new, |hosts| format!("trusted = {hosts}\n"));
        Ok(std::fs::write(self.settings(), format!("[network]\nsetup = \"registries\"\n{trusted}"))?)
    }

    fn settings(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    fn task(
        &self,
        name: &str,
        turns: u32,
        watched: bool,
        arguments: &[&str],
    ) -> anyhow::Result<(Journal, String, Peak)> {
        let home = self.folder.path().join(name);
        let script = self.folder.path().join(format!("{name}.json"));
        std::fs::write(&script, shell_turns(turns).to_string())?;
        let mut command = self.sortie(&home);
        command.args(["run", "Say so many words.", "--json", "--deliver", "none", "--repo"]);
        command.arg(self.repository()).arg("--model").arg(format!("scripted:{}", script.display()));
        command.arg("--max-turns").arg((turns + 2).to_string()).args(arguments);
        let started = Timestamp::now();
        let (log, peak) = finish(command, watched)?;
        let store = Store::open(&home)?;
        let tasks = store.tasks()?;
        let task =
            tasks.iter().max_by_key(|task| &task.created_at).context("there is no task in the journal")?;
        let events = store.events(&task.id, 0, u32::MAX)?;
        let events = events
            .into_iter()
            .map(|event| Ok((event.at.parse()?, serde_json::from_str(&event.body)?)))
            .collect::<anyhow::Result<Vec<(Timestamp, Event)>>>()?;
        Ok((Journal { started, events }, log, peak))
    }

    fn sortie(&self, home: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sortie"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("SORTIE_HOME", home).env("SORTIE_CACHE", &self.cache);
        command.env("SORTIE_CONFIG", self.settings()).env("SORTIE_ORG_CONFIG", "/dev/null");
        command.env("SORTIE_LOG", "sortie_orchestrator=info").env("NO_COLOR", "1");
        for name in ["SORTIE_MODEL", "SORTIE_NETWORK", "SORTIE_WORKSPACE"] {
            command.env_remove(name);
        }
        command
    }
}

/// Different commands: an agent that repeats itself is stopped.
fn shell_turns(turns: u32) -> serde_json::Value {
    let mut replies: Vec<_> = (1..=turns)
        .map(|turn| {
            let arguments = json!({ "command": format!("echo turn {turn}") });
            json!({ "tool_calls": [{ "name": "shell", "arguments": arguments }] })
        })
        .collect();
    let arguments = json!({ "outcome": "done", "title": "Words", "summary": "They are said." });
    replies.push(json!({
        "expect": format!("turn {turns}\n[exit code 0]"),
        "tool_calls": [{ "name": "finish", "arguments": arguments }],
    }));
    json!({ "replies": replies })
}

/// Runs the command to its end; returns its log.
fn finish(mut command: Command, watched: bool) -> anyhow::Result<(String, Peak)> {
    let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let (id, ended) = (process.id(), AtomicBool::new(false));
    let mut log = String::new();
    let peak = std::thread::scope(|scope| {
        let watcher = watched.then(|| scope.spawn(|| memory::watch(id, &ended)));
        let read = process.stderr.take().expect("it is piped").read_to_string(&mut log);
        ended.store(true, Ordering::Release);
        let peak = watcher.map(|watcher| watcher.join().expect("looking does not panic"));
        read.map(|_| peak.unwrap_or_default())
    })?;
    let status = process.wait()?;
    // 1: what tests there are did not pass, as where nothing could be installed
    ensure!(matches!(status.code(), Some(0 | 1)), "sortie ended with {status}: {log}");
    Ok((log, peak))
}

/// Reads `commits=N` off the log.
fn commits(log: &str) -> Option<u64> {
    let (_, after) = log.rsplit_once("commits=")?;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A journal, and when its process started.
struct Journal {
    started: Timestamp,
    events: Vec<(Timestamp, Event)>,
}

impl Journal {
    /// When each request to the model was made.
    fn requests(&self) -> BTreeMap<u32, Timestamp> {
        let request = |(at, event): &(Timestamp, Event)| match event {
            Event::ModelRequested { turn } => Some((*turn, *at)),
            _ => None,
        };
        self.events.iter().filter_map(request).collect()
    }

    fn turns(&self, turns: u32) -> anyhow::Result<Times> {
        let requests = self.requests();
        ensure!(requests.len() == turns as usize + 1, "{} requests of {}", requests.len(), turns + 1);
        let mut times = Times::default();
        times
            .extend(requests.values().zip(requests.values().skip(1)).map(|(one, next)| between(*one, *next)));
        Ok(times)
    }

    fn calls(&self, turns: u32) -> anyhow::Result<Times> {
        let mut times = Times::default();
        let (mut begun, mut count) = (self.started, 0);
        for (at, event) in &self.events {
            match event {
                Event::ToolStarted { .. } => begun = *at,
                Event::ToolEnded { failed, content, .. } => {
                    ensure!(!failed, "a call failed: {content}");
                    count += 1;
                    times.push(between(begun, *at));
                }
                _ => {}
            }
        }
        ensure!(count == turns, "{count} calls of {turns}");
        Ok(times)
    }

    fn first_request(&self) -> anyhow::Result<Duration> {
        let first = self.requests().get(&1).copied().context("the model was never asked")?;
        let excluded =
            self.step("clone").context("there was no clone")? + self.step("baseline").unwrap_or_default();
        Ok(between(self.started, first).saturating_sub(excluded))
    }

    /// By what happened before the first turn.
    fn set_up(&self) -> SetUp {
        let before =
            self.events.iter().take_while(|(_, event)| !matches!(event, Event::ModelRequested { .. }));
        let ended = before.filter_map(|(_, event)| match event {
            Event::StepEnded { step, ok, detail, .. } => Some((step, ok, detail)),
            _ => None,
        });
        let mut set_up = SetUp::Done;
        for (step, ok, detail) in ended {
            match step.as_str() {
                _ if !ok => return SetUp::Failed(format!("{step}: {detail}")),
                "snapshot" => set_up = SetUp::TakenUp,
                _ => {}
            }
        }
        set_up
    }

    /// How long a step took.
    fn step(&self, name: &str) -> Option<Duration> {
        let at = |wanted: &dyn Fn(&Event) -> bool| {
            self.events.iter().find(|(_, event)| wanted(event)).map(|(at, _)| *at)
        };
        let begun = at(&|event| matches!(event, Event::StepStarted { step, .. } if step == name))?;
        let ended = at(&|event| matches!(event, Event::StepEnded { step, .. } if step == name))?;
        Some(between(begun, ended))
    }
}

fn between(one: Timestamp, next: Timestamp) -> Duration {
    next.duration_since(one).try_into().unwrap_or_default()
}
