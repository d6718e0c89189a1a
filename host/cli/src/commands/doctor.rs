//! `sortie doctor`: what this machine can enforce, found out by trying.

mod engines;
mod machine;
mod security;
mod table;

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use sortie_workspace::container::{Engine, EngineError};
use sortie_workspace::disk::FileSystem;
use sortie_workspace::probe::{Probe, ProbeError, probe};
use sortie_workspace::sandbox::{Cgroups, Owner};

use crate::args::DoctorArguments;
use crate::exit::{Exit, told};
use crate::home::Places;
use crate::plugins::{self, Sinks};
use crate::settings::{SettingsFile, WorkspaceSettings, read_file};
use crate::sweep::Scratch;
use crate::workspaces::{DOCKER, SANDBOX};
use crate::{print, workspaces};

use table::Table;

/// Until an engine that says nothing is left alone.
const ANSWER: Duration = Duration::from_secs(5);

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    name: &'static str,
    ok: bool,
    /// Whether a task cannot run without it.
    needed: bool,
    detail: String,
    /// What would help.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Finding {
    fn good(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, ok: true, needed: true, detail: detail.into(), hint: None }
    }

    fn bad(name: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name, ok: false, needed: true, detail: detail.into(), hint: Some(hint.into()) }
    }

    /// From an error, with the hint that it may have, else with this one.
    fn failed(name: &'static str, error: &str, hint: &str) -> Self {
        let (first, hint) = error.split_once('\n').unwrap_or((error, hint));
        Self::bad(name, first, hint.trim_start_matches("hint: "))
    }

    fn optional(self) -> Self {
        Self { needed: false, ..self }
    }

    fn needed_if(self, needed: bool) -> Self {
        Self { needed, ..self }
    }
}

/// All of it. Its shape is documented in docs/workspaces.md.
#[derive(Debug, Serialize)]
struct Report {
    /// The version of this program.
    sortie: &'static str,
    /// The kind of workspace that the settings choose.
    workspace: String,
    enforced: Table,
    findings: Vec<Finding>,
}

/// What was tried.
struct Tried {
    sandbox: Result<Probe, ProbeError>,
    engine: Result<Engine, EngineError>,
    cgroups: Cgroups,
    file_system: std::io::Result<FileSystem>,
}

pub(crate) async fn run(places: &Places, arguments: &DoctorArguments) -> anyhow::Result<Exit> {
    let (settings, read) = settings(places);
    let (sandbox, (engine, others)) = tokio::join!(sandbox(places, &settings), Engine::all(ANSWER));
    let tried = Tried {
        sandbox: sandbox?,
        engine,
        cgroups: Cgroups::find(),
        file_system: FileSystem::of(&places.home),
    };
    let workspace = settings.backend.clone().unwrap_or_else(|| SANDBOX.into());
    let is_docker = workspace == DOCKER;
    let mut findings = vec![
        Finding::good("sortie", format!("version {}", env!("CARGO_PKG_VERSION"))),
        read,
        machine::kernel(&rustix::system::uname().release().to_string_lossy()),
    ];
    findings.push(of_sandbox(&tried.sandbox).needed_if(!is_docker));
    findings.push(security::finding(
        |path| std::fs::read_to_string(path).ok(),
        &std::env::current_exe().unwrap_or_else(|_| SANDBOX.into()),
        tried.sandbox.is_err(),
    ));
    findings.push(machine::cgroups(&tried.cgroups));
    findings.extend(engines::findings(&tried.engine, &others, is_docker));
    findings.push(machine::disk(places, &workspaces::bounds::disk(&settings), &tried.file_system));
    let built = std::env::current_exe().and_then(std::fs::metadata).and_then(|file| file.modified());
    findings.push(machine::clock(&sortie_workspace::probe::Clock::read(), built.ok()));
    findings.push(machine::git());
    findings.push(models());
    findings.push(of_plugins(places).await);
    let report =
        Report { sortie: env!("CARGO_PKG_VERSION"), workspace, enforced: Table::of(&tried), findings };
    let broken = report.findings.iter().any(|finding| finding.needed && !finding.ok);
    if arguments.json {
        print::give(serde_json::to_string(&report)?);
    } else {
        print::give(text(&report)?.trim_end());
    }
    Ok(if broken { Exit::Platform } else { Exit::Done })
}

fn text(report: &Report) -> Result<String, std::fmt::Error> {
    let mut text = report.enforced.to_string();
    writeln!(text)?;
    for finding in &report.findings {
        let mark = match (finding.ok, finding.needed) {
            (true, _) => "ok",
            (false, true) => "FAIL",
            (false, false) => "-",
        };
        writeln!(text, "{mark:<5} {:<10} {}", finding.name, finding.detail)?;
        for line in finding.hint.iter().flat_map(|hint| hint.lines()) {
            writeln!(text, "      {:<10} {line}", "")?;
        }
    }
    Ok(text)
}

/// What holds of workspaces, and whether the files can be read.
fn settings(places: &Places) -> (WorkspaceSettings, Finding) {
    let files = [&places.organisation_settings, &places.user_settings];
    let [organisation, user] = match files.map(|file| read_file(file)) {
        [Ok(organisation), Ok(user)] => [organisation, user],
        [Err(error), _] | [_, Err(error)] => {
            let hint = "mend the file, or point SORTIE_CONFIG to another";
            return (WorkspaceSettings::default(), Finding::bad("settings", error.to_string(), hint));
        }
    };
    let there: Vec<_> =
        files.iter().filter(|file| file.is_file()).map(|file| file.display().to_string()).collect();
    let files = if there.is_empty() { "no settings file".to_owned() } else { there.join(", ") };
    let finding = Finding::good("settings", format!("{files}; state in {}", places.home.display()));
    (in_force(&user, &organisation), finding)
}

fn in_force(user: &SettingsFile, organisation: &SettingsFile) -> WorkspaceSettings {
    let (user, organisation) = (&user.workspace, &organisation.workspace);
    let variable = std::env::var("SORTIE_WORKSPACE").ok().filter(|kind| !kind.is_empty());
    WorkspaceSettings {
        backend: variable.or_else(|| user.backend.clone()).or_else(|| organisation.backend.clone()),
        disk_mb: user.disk_mb.or(organisation.disk_mb),
        disk_free_mb: user.disk_free_mb.or(organisation.disk_free_mb),
        // what it cannot keep is said here, and no reason to fail
        ..WorkspaceSettings::default()
    }
}

/// Starts a sandbox over two empty folders and runs a command in it.
async fn sandbox(places: &Places, settings: &WorkspaceSettings) -> anyhow::Result<Result<Probe, ProbeError>> {
    let folder = Scratch::make(&places.home).with_context(|| {
        format!(
            "cannot write to the state folder `{}`, where everything of a task is kept; SORTIE_HOME can name another",
            places.home.display()
        )
    })?;
    let owner = Owner::current();
    let [work, home] = ["work", "home"].map(|name| folder.path().join(name));
    for path in [&work, &home] {
        make_folder(path, owner)?;
    }
    Ok(probe(workspaces::config(work, home, settings)).await)
}

#[expect(clippy::disallowed_methods, reason = "makes two folders to try a sandbox over; there is no task")]
fn make_folder(path: &std::path::Path, owner: Owner) -> std::io::Result<()> {
    std::fs::create_dir(path)?;
    std::os::unix::fs::chown(path, Some(owner.uid), Some(owner.gid))
}

fn of_sandbox(sandbox: &Result<Probe, ProbeError>) -> Finding {
    match sandbox {
        Ok(probe) => {
            let user = if probe.owner.uid == 0 { "root".into() } else { format!("uid {}", probe.owner.uid) };
            let landlock = match probe.enforced.landlock {
                Some(version) => format!("Landlock version {version}"),
                None => "no Landlock in this kernel (mounts hold without it)".into(),
            };
            Finding::good("sandbox", format!("starts; commands run as {user}; {landlock}"))
        }
        Err(error) => Finding::failed("sandbox", &error.to_string(), "nothing runs without a sandbox"),
    }
}

/// Whether what the settings name loads, rules included: no task begins without.
async fn of_plugins(places: &Places) -> Finding {
    let load = async {
        let (user, organisation) =
            (read_file(&places.user_settings)?, read_file(&places.organisation_settings)?);
        let host = plugins::host(places, &Sinks::default())?;
        plugins::load(&host, plugins::wanted(&user, &organisation)?).await
    };
    match load.await {
        Ok(loaded) => {
            let (tools, policies) = (loaded.tools.len(), loaded.policies.len());
            Finding::good("plugins", format!("{tools} with tools, {policies} with policies"))
        }
        Err(error) => Finding::failed("plugins", &told(&error), "mend the settings that name it"),
    }
}

fn models() -> Finding {
    let set: Vec<_> = sortie_model::Environment::VARIABLES
        .into_iter()
        .filter(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
        .collect();
    if set.is_empty() {
        let hint = "export ANTHROPIC_API_KEY or OPENAI_API_KEY, or OPENAI_BASE_URL for a local server; \
                    `sortie demo` needs none";
        return Finding::bad("models", "no key and no base URL", hint).optional();
    }
    Finding::good("models", set.join(", "))
}
