//! What is enforced, by which mechanism, for each kind of workspace.

use std::fmt;

use serde::Serialize;
use sortie_workspace::sandbox::{Enforced, Keeper, Reduced};

use super::Tried;

/// Each row by its name. A kind that cannot be used here has none.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Table {
    sandbox: Option<Rows>,
    docker: Option<Rows>,
}

/// What is enforced, by which mechanism; none where nobody enforces it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Rows {
    files: Option<String>,
    network: Option<String>,
    processes: Option<String>,
    memory: Option<String>,
    cpus: Option<String>,
    disk: Option<String>,
    system_calls: Option<String>,
    landlock: Option<String>,
}

const NETWORK: &str = "network namespace, proxy";
const DISK: &str = "watcher";
const QUOTA: &str = "project quota, watcher";

impl Table {
    pub(super) fn of(tried: &Tried) -> Self {
        let version = tried.cgroups.usable.as_ref().map_or(0, |(version, _)| *version);
        let disk = if tried.file_system.as_ref().is_ok_and(|found| found.quotas) { QUOTA } else { DISK };
        let sandbox = tried
            .sandbox
            .as_ref()
            .ok()
            .map(|probe| Rows::of(probe.enforced, version, "mount namespace", disk, "seccomp"));
        let docker = tried.engine.as_ref().ok().map(|engine| {
            let about = engine.about();
            Rows::of(
                about.enforced(),
                about.cgroups,
                "read-only image, mount namespace",
                disk,
                "seccomp, the engine's too",
            )
        });
        Self { sandbox, docker }
    }
}

impl Rows {
    fn of(enforced: Enforced, version: u8, files: &str, disk: &str, system_calls: &str) -> Self {
        let cgroup = || format!("cgroup v{version}");
        let by = |keeper, without: &str| match keeper {
            Keeper::Cgroup => Some(cgroup()),
            Keeper::Process => Some(without.to_owned()),
            Keeper::Nobody => None,
        };
        Self {
            files: Some(files.to_owned()),
            network: Some(NETWORK.to_owned()),
            processes: by(enforced.processes, "process limits"),
            memory: by(enforced.memory, "process limits, watchdog"),
            cpus: enforced.cpus.then(cgroup),
            disk: Some(disk.to_owned()),
            system_calls: Some(system_calls.to_owned()),
            landlock: enforced.landlock.map(|version| format!("version {version}")),
        }
    }

    fn cells(&self) -> [&Option<String>; 8] {
        let Self { files, network, processes, memory, cpus, disk, system_calls, landlock } = self;
        [files, network, processes, memory, cpus, disk, system_calls, landlock]
    }
}

/// The rows, with the word that accepts their absence.
const ROWS: [(&str, Option<Reduced>); 8] = [
    ("files", None),
    ("network", None),
    ("processes", Some(Reduced::Processes)),
    ("memory", Some(Reduced::Memory)),
    ("cpus", Some(Reduced::Cpus)),
    ("disk", None),
    ("system calls", None),
    ("landlock", None),
];

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<14}{:<32}docker", "", "sandbox")?;
        for (number, (name, word)) in ROWS.iter().enumerate() {
            let cell = |rows: &Option<Rows>| match rows {
                None => "-".to_owned(),
                Some(rows) => match (rows.cells()[number], word) {
                    (Some(by), _) => by.clone(),
                    (None, Some(word)) => format!("no (accept `{}`)", word.name()),
                    (None, None) => "no".to_owned(),
                },
            };
            writeln!(f, "{name:<14}{:<32}{}", cell(&self.sandbox), cell(&self.docker))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_keeps_is_told_with_the_word_that_accepts_it() {
        let without =
            Enforced { memory: Keeper::Process, processes: Keeper::Process, cpus: false, landlock: Some(6) };
        let rootless =
            Enforced { memory: Keeper::Nobody, processes: Keeper::Cgroup, cpus: true, landlock: None };
        let table = Table {
            sandbox: Some(Rows::of(without, 0, "mount namespace", DISK, "seccomp")),
            docker: Some(Rows::of(rootless, 2, "read-only image", QUOTA, "seccomp, the engine's too")),
        };
        assert_eq!(
            table.to_string(),
            // the end of the line above would take the spaces with it
            "              sandbox                         docker
files         mount namespace                 read-only image
network       network namespace, proxy        network namespace, proxy
processes     process limits                  cgroup v2
memory        process limits, watchdog        no (accept `no-memory-limit`)
cpus          no (accept `no-cpu-limit`)      cgroup v2
disk          watcher                         project quota, watcher
system calls  seccomp                         seccomp, the engine's too
landlock      version 6                       no
"
        );
    }

    #[test]
    fn a_kind_that_cannot_be_used_enforces_nothing() {
        let text = Table { sandbox: None, docker: None }.to_string();
        assert_eq!(text.lines().count(), 1 + ROWS.len(), "{text}");
        assert!(
            text.lines().skip(1).all(|line| line.split_whitespace().filter(|word| *word == "-").count() == 2),
            "{text}"
        );
    }
}
