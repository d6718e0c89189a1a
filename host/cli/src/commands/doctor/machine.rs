//! The kernel, cgroups, the disk, the clock, and git.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use sortie_workspace::disk::{DiskLimits, FileSystem, Space};
use sortie_workspace::probe::Clock;
use sortie_workspace::sandbox::Cgroups;

use super::Finding;
use crate::archiver::size;
use crate::home::Places;

/// The oldest kernel that has all that a sandbox is made of.
const KERNEL: (u32, u32) = (5, 12);

/// The oldest git that knows all options that we give it.
const GIT: (u32, u32) = (2, 32);

/// How far a clock may be off before certificates and tokens trip over it.
const OFF: Duration = Duration::from_secs(10);

pub(super) fn kernel(release: &str) -> Finding {
    match numbers(release) {
        Some(found) if found < KERNEL => Finding::bad(
            "kernel",
            format!("Linux {release}"),
            format!("workspaces want Linux {}.{} or later", KERNEL.0, KERNEL.1),
        ),
        _ => Finding::good("kernel", format!("Linux {release}, {}", std::env::consts::ARCH)),
    }
}

pub(super) fn cgroups(found: &Cgroups) -> Finding {
    let mounted: Vec<_> = found.mounted.iter().map(|version| format!("v{version}")).collect();
    let mounted = if mounted.is_empty() { "none".to_owned() } else { mounted.join(" and ") };
    let delegation = Cgroups::delegation();
    match &found.usable {
        Ok((version, parents)) => {
            let parents: Vec<_> = parents.iter().map(|parent| parent.display().to_string()).collect();
            let text = format!("{mounted}; may make some of v{version} in {}", parents.join(", "));
            if found.cpus {
                Finding::good("cgroups", text)
            } else {
                let hint = format!("a limit of processors (`cpus`) is kept with\n{delegation} sortie …");
                Finding::bad("cgroups", format!("{text}, without a limit of processors"), hint)
            }
        }
        Err(reason) => Finding::bad(
            "cgroups",
            format!("{mounted}; {reason}"),
            format!(
                "process limits and a watchdog stand in for them; exact limits, and one of processors, with\n\
                 {delegation} sortie …"
            ),
        ),
    }
    .optional()
}

pub(super) fn disk(places: &Places, limits: &DiskLimits, kind: &std::io::Result<FileSystem>) -> Finding {
    let home = &places.home;
    let (space, kind) = match (Space::of(home), kind) {
        (Ok(space), Ok(kind)) => (space, kind),
        (Err(error), _) => return unwritable(home, &error),
        (_, Err(error)) => return unwritable(home, error),
    };
    let reflinks = if kind.reflink { "copies share blocks" } else { "copies are whole copies (no reflinks)" };
    let keeper = if kind.quotas { "a project quota keeps" } else { "no quotas are used: a watcher keeps" };
    let watcher = if kind.quotas { "a watcher " } else { "" };
    let text = format!(
        "{} free on {}; {reflinks}; {keeper} {} for each workspace and {watcher}{} free",
        size(space.bytes),
        kind.kind,
        size(limits.bytes),
        size(limits.free)
    );
    if space.bytes < limits.free {
        let hint = "no workspace is started: free some (`sortie gc --dry-run` says what would go), lower \
                    `disk_free_mb` below `[workspace]`, or have SORTIE_HOME elsewhere";
        return Finding::bad("disk", text, hint);
    }
    if kind.memory {
        let hint = "what lies in SORTIE_HOME is lost with the next start of the machine, and costs memory";
        return Finding::bad("disk", text, hint).optional();
    }
    Finding::good("disk", text)
}

fn unwritable(home: &Path, error: &std::io::Error) -> Finding {
    Finding::bad("disk", format!("`{}`: {error}", home.display()), "name another folder in SORTIE_HOME")
}

/// `built` is when this program was.
pub(super) fn clock(clock: &Clock, built: Option<SystemTime>) -> Finding {
    let shows = jiff::Timestamp::try_from(clock.now).map_or_else(|_| "no time".into(), |now| now.to_string());
    let shows = shows.split('.').next().unwrap_or_default().trim_end_matches('Z').to_owned();
    if clock.now + OFF < built.unwrap_or(SystemTime::UNIX_EPOCH) {
        let hint = "set it: sudo timedatectl set-ntp true";
        return Finding::bad(
            "clock",
            format!("{shows} UTC, which is before this program was installed"),
            hint,
        )
        .optional();
    }
    match (clock.synchronised, clock.error) {
        (Some(true), Some(error)) if error > OFF => {
            let hint = "sudo systemctl restart systemd-timesyncd, or chronyc makestep";
            Finding::bad("clock", format!("{shows} UTC; may be {} s off", error.as_secs()), hint).optional()
        }
        (Some(true), _) => Finding::good("clock", format!("{shows} UTC, synchronised")),
        (Some(false), _) => {
            let hint = "certificates and tokens want a right one: sudo timedatectl set-ntp true";
            Finding::bad("clock", format!("{shows} UTC; nobody synchronises it"), hint).optional()
        }
        (None, _) => {
            Finding::good("clock", format!("{shows} UTC; the kernel does not say whether it is synchronised"))
        }
    }
}

pub(super) fn git() -> Finding {
    #[expect(clippy::disallowed_methods, reason = "asks git for its version; there is no task")]
    let output = Command::new("git").arg("--version").output();
    match output {
        Ok(output) if output.status.success() => of_git(String::from_utf8_lossy(&output.stdout).trim()),
        Ok(output) => {
            Finding::bad("git", String::from_utf8_lossy(&output.stderr).trim().to_owned(), "install git")
        }
        Err(error) => {
            Finding::bad("git", format!("cannot run: {error}"), "install git; fetch and push use it")
        }
    }
}

/// What `git --version` said.
fn of_git(text: &str) -> Finding {
    let version = text.split_whitespace().find_map(numbers);
    if version.is_some_and(|version| version < GIT) {
        let hint = format!("fetch and push want git {}.{} or later", GIT.0, GIT.1);
        return Finding::bad("git", format!("{text} is too old"), hint);
    }
    Finding::good("git", text)
}

/// The first two numbers of a version.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_programs_are_told_from_new_ones_by_number() {
        assert!(!of_git("git version 2.9.5").ok && !of_git("git version 1.8.3.1").ok);
        assert!(of_git("git version 2.100.0").ok && of_git("git version 2.39.3 (Apple Git-145)").ok);
        assert!(!kernel("5.4.0-100-generic").ok && !kernel("4.19.0").ok);
        assert!(kernel("5.12.0").ok && kernel("6.18.44-fc").ok && kernel("10.0").ok);
    }

    #[test]
    fn a_clock_is_right_if_somebody_sees_to_it() {
        let built = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
        let now = built + Duration::from_secs(1);
        let at = |synchronised, error| clock(&Clock { now, synchronised, error }, Some(built));
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert!(at(Some(true), seconds(1)).ok && at(None, None).ok);
        assert!(!at(Some(true), seconds(60)).ok && !at(Some(false), None).ok);
        let early = Clock { now: SystemTime::UNIX_EPOCH, synchronised: Some(true), error: None };
        let early = clock(&early, Some(built));
        assert!(early.detail.contains("before this program"), "{early:?}");
    }

    #[test]
    fn who_may_make_no_cgroups_is_told_how_to_get_some() {
        let none =
            cgroups(&Cgroups { mounted: vec![2], usable: Err("nothing is delegated".into()), cpus: false });
        assert!(!none.ok && none.hint.expect("help").contains("Delegate=yes"));
        let some = |cpus| {
            let usable = Ok((2, vec!["/sys/fs/cgroup/a".into()]));
            cgroups(&Cgroups { mounted: vec![1, 2], usable, cpus })
        };
        let all = some(true);
        assert!(all.ok && all.detail.starts_with("v1 and v2; may make some of v2 in"), "{}", all.detail);
        let most = some(false);
        assert!(!most.ok && !most.needed && most.hint.expect("help").contains("Delegate=yes"));
    }
}
