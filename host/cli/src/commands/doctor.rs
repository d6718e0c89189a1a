//! `sortie doctor`: what this machine can enforce, found out by trying.

#![expect(clippy::disallowed_methods, reason = "makes two folders to try a sandbox over; there is no task")]

use std::fmt::Write as _;
use std::process::Command;

use serde::Serialize;
use sortie_workspace::container::Engine;
use sortie_workspace::probe::{Probe, probe};
use sortie_workspace::sandbox::{Keeper, Owner};

use crate::args::DoctorArguments;
use crate::exit::Exit;
use crate::home::Places;
use crate::settings::read_file;
use crate::sweep::Scratch;
use crate::{print, workspaces};

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
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

    fn optional(self) -> Self {
        Self { needed: false, ..self }
    }
}

pub(crate) async fn run(places: &Places, arguments: &DoctorArguments) -> anyhow::Result<Exit> {
    let mut findings = vec![git(), settings(places)];
    findings.extend(sandbox(places).await?);
    findings.push(containers().await);
    findings.push(models());
    let broken = findings.iter().any(|finding| finding.needed && !finding.ok);
    if arguments.json {
        print::give(serde_json::to_string(&findings)?);
    } else {
        print::give(table(&findings)?.trim_end());
    }
    Ok(if broken { Exit::Platform } else { Exit::Done })
}

fn table(findings: &[Finding]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for finding in findings {
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

fn git() -> Finding {
    #[expect(clippy::disallowed_methods, reason = "asks git for its version; there is no task")]
    let output = Command::new("git").arg("--version").output();
    match output {
        Ok(output) if output.status.success() => {
            Finding::good("git", String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => {
            Finding::bad("git", String::from_utf8_lossy(&output.stderr).trim().to_owned(), "install git")
        }
        Err(error) => {
            Finding::bad("git", format!("cannot run: {error}"), "install git; fetch and push use it")
        }
    }
}

fn settings(places: &Places) -> Finding {
    let files = [&places.organisation_settings, &places.user_settings];
    for file in files {
        if let Err(error) = read_file(file) {
            return Finding::bad(
                "settings",
                error.to_string(),
                "mend the file, or point SORTIE_CONFIG to another",
            );
        }
    }
    let there: Vec<_> =
        files.iter().filter(|file| file.is_file()).map(|file| file.display().to_string()).collect();
    let files = if there.is_empty() { "no settings file".to_owned() } else { there.join(", ") };
    Finding::good("settings", format!("{files}; state in {}", places.home.display()))
}

/// Starts a sandbox over two empty folders and runs a command in it.
async fn sandbox(places: &Places) -> anyhow::Result<Vec<Finding>> {
    let folder = Scratch::make(&places.home)?;
    let owner = Owner::current();
    let mut made = Vec::new();
    for name in ["work", "home"] {
        let path = folder.path().join(name);
        std::fs::create_dir(&path)?;
        std::os::unix::fs::chown(&path, Some(owner.uid), Some(owner.gid))?;
        made.push(path);
    }
    let [work, home] = <[_; 2]>::try_from(made).expect("two were made");
    Ok(match probe(workspaces::config(work, home, &Default::default())).await {
        Ok(probe) => found(&probe),
        Err(error) => {
            let text = error.to_string();
            let (first, hint) = text.split_once('\n').unwrap_or((&text, "nothing runs without a sandbox"));
            vec![Finding::bad("sandbox", first, hint)]
        }
    })
}

fn found(probe: &Probe) -> Vec<Finding> {
    let by = |keeper: Keeper| match keeper {
        Keeper::Cgroup => "cgroup (exact)",
        Keeper::Process => "process limits and a watchdog",
    };
    let enforced = probe.enforced;
    let user = if probe.owner.uid == 0 { "root".into() } else { format!("uid {}", probe.owner.uid) };
    let cpus = if enforced.cpus {
        Finding::good("cpus", "cgroup")
    } else {
        let hint = "a delegated cgroup can keep one: systemd-run --user --scope -p Delegate=yes sortie …";
        Finding::bad("cpus", "no limit can be kept", hint)
    };
    let landlock = match enforced.landlock {
        Some(version) => Finding::good("landlock", format!("version {version}")),
        None => Finding::bad("landlock", "the kernel has none", "namespaces and seccomp hold without it"),
    };
    vec![
        Finding::good(
            "sandbox",
            format!("namespaces and seccomp; Linux {}, commands run as {user}", probe.kernel),
        ),
        Finding::good("memory", by(enforced.memory)),
        Finding::good("processes", by(enforced.processes)),
        cpus.optional(),
        landlock.optional(),
    ]
}

/// The engine that `--workspace docker` would use.
async fn containers() -> Finding {
    match Engine::connect().await {
        Ok(engine) => {
            let about = engine.about();
            let root = if about.rootless { "rootless" } else { "as root" };
            let text = format!(
                "{} {} {root}, cgroups version {}, at {}",
                about.kind,
                about.version,
                about.cgroups,
                about.socket.display()
            );
            if about.lacks.is_empty() {
                return Finding::good("containers", text).optional();
            }
            let hint = "containers without these limits are refused; delegate cgroups to the engine's user";
            Finding::bad("containers", format!("{text}; cannot limit {}", about.lacks.join(", ")), hint)
                .optional()
        }
        Err(error) => {
            let text = error.to_string();
            let (first, hint) =
                text.split_once('\n').unwrap_or((&text, "only `--workspace docker` needs one"));
            Finding::bad("containers", first, hint.trim_start_matches("hint: ")).optional()
        }
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
