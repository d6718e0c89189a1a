//! Limits by cgroup, where this process may make one: version 2 or version 1, whichever has the controllers.

#![expect(clippy::disallowed_methods, reason = "cgroups are folders and files of the kernel's")]

mod hierarchy;

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::{Access, access};
use rustix::process::{Pid, kill_process};
use sortie_lock::{Hold, Lock};
use sortie_policy::ports::CommandLimit;

use hierarchy::{Hierarchies, Version};

use super::error::SandboxError;
use super::limits::{Limits, Reduced};
use crate::counters::Counters;

/// The period over which processor time is counted, in microseconds.
const PERIOD: u64 = 100_000;

/// What our cgroups' names begin with; the host's process id and a number follow.
const PREFIX: &str = "sortie-";

/// How many names may be somebody else's.
const NAMES: u32 = 1000;

/// The cgroups of one sandbox: one for all controllers, or one for each. Dropping it removes them, which wants
/// their processes to be gone, and blocks until the kernel has noticed.
#[derive(Debug)]
pub(super) struct Cgroup {
    directories: Vec<PathBuf>,
    /// The same, open and locked: what nobody holds a lock on was left by a host that was killed.
    locks: Vec<Lock>,
    cpus: bool,
    counters: Arc<Counters>,
}

impl Cgroup {
    /// Makes them with these limits.
    ///
    /// # Errors
    /// Why this process cannot, in words.
    pub(super) fn create(limits: &Limits) -> Result<Self, String> {
        let hierarchies = Hierarchies::read()?;
        Self::sweep(&hierarchies.parents);
        static COUNT: AtomicU32 = AtomicU32::new(0);
        Self::create_in(&hierarchies, &COUNT, limits).map_err(|error| {
            format!(
                "its cgroups cannot be written ({error}); `{} sortie …` gives some",
                Cgroups::delegation()
            )
        })
    }

    /// Makes them by the first name that is free: a host in another process namespace may have our number.
    fn create_in(hierarchies: &Hierarchies, count: &AtomicU32, limits: &Limits) -> io::Result<Self> {
        let mut names = 0;
        loop {
            let name = format!("{PREFIX}{}-{}", std::process::id(), count.fetch_add(1, Ordering::Relaxed));
            let mut cgroup =
                Self { directories: Vec::new(), locks: Vec::new(), cpus: false, counters: Arc::default() };
            match cgroup.fill(hierarchies, &name, limits) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && names < NAMES => names += 1,
                filled => return filled.map(|()| cgroup),
            }
        }
    }

    /// Ends and removes what hosts left that were killed before they could, and returns how many cgroups that were.
    /// A host is dead if nobody holds its lock *and* no process has its number: the lock tells of hosts whose
    /// processes we do not see, the number of one that has just made its cgroup and not locked it yet.
    fn sweep(parents: &[PathBuf]) -> usize {
        sweep_below(parents.iter().cloned().collect(), parents.len())
    }

    fn fill(&mut self, hierarchies: &Hierarchies, name: &str, limits: &Limits) -> io::Result<()> {
        match hierarchies.version {
            Version::Two => {
                let directory = self.make(&hierarchies.parents[0], name)?;
                write(&directory, "memory.max", &limits.memory.to_string())?;
                // Swap would hold what memory may not.
                write_if_there(&directory, "memory.swap.max", "0")?;
                write(&directory, "pids.max", &limits.processes.to_string())?;
                self.counters = Arc::new(counters(Version::Two, &directory, &directory, limits));
                self.cpus = directory.join("cpu.max").exists();
                if let (true, Some(cpus)) = (self.cpus, limits.cpus) {
                    write(&directory, "cpu.max", &format!("{} {PERIOD}", quota(cpus)))?;
                }
            }
            Version::One => {
                let memory = self.make(&hierarchies.parents[0], name)?;
                write(&memory, "memory.limit_in_bytes", &limits.memory.to_string())?;
                write_if_there(&memory, "memory.memsw.limit_in_bytes", &limits.memory.to_string())?;
                let processes = self.make(&hierarchies.parents[1], name)?;
                write(&processes, "pids.max", &limits.processes.to_string())?;
                self.counters = Arc::new(counters(Version::One, &memory, &processes, limits));
                if let Some(parent) = hierarchies.parents.get(2) {
                    let cpu = self.make(parent, name)?;
                    self.cpus = cpu.join("cpu.cfs_quota_us").exists();
                    if let (true, Some(cpus)) = (self.cpus, limits.cpus) {
                        write(&cpu, "cpu.cfs_period_us", &PERIOD.to_string())?;
                        write(&cpu, "cpu.cfs_quota_us", &quota(cpus).to_string())?;
                    }
                }
            }
        }
        Ok(())
    }

    fn make(&mut self, parent: &Path, name: &str) -> io::Result<PathBuf> {
        let directory = parent.join(name);
        match fs::create_dir(&directory) {
            Ok(()) => {}
            // Left by a process of our number that was killed; it is empty, or it would not be left.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let lock = match File::open(&directory) {
            Ok(file) => Lock::of_new(file, &directory)?,
            // A sweep of a host that does not see us took it for left over.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // One that somebody holds is not ours: who removes it kills what is in it.
        self.locks.push(lock.ok_or(io::ErrorKind::WouldBlock)?);
        self.directories.push(directory.clone());
        Ok(directory)
    }

    /// How often its limits were reached.
    pub(super) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Whether processor time can be limited.
    pub(super) fn limits_cpus(&self) -> bool {
        self.cpus
    }

    /// Puts a process, and all that it starts from now on, in.
    pub(super) fn add(&self, pid: u32) -> io::Result<()> {
        self.directories.iter().try_for_each(|directory| write(directory, "cgroup.procs", &pid.to_string()))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for directory in &self.directories {
            remove(directory);
        }
    }
}

/// What cgroups there are here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroups {
    /// The versions that are mounted.
    pub mounted: Vec<u8>,
    /// The version in which this process may make some that limit memory and processes, and below which folders; or
    /// why it may not.
    pub usable: Result<(u8, Vec<PathBuf>), String>,
    /// Whether those that it may make limit processor time as well.
    pub cpus: bool,
}

impl Cgroups {
    /// As this process finds them. Changes nothing.
    pub fn find() -> Self {
        let found = Hierarchies::read();
        let cpus = found.as_ref().is_ok_and(|found| found.cpus);
        let usable = found.and_then(|found| {
            let closed = found.parents.iter().find(|parent| access(*parent, Access::WRITE_OK).is_err());
            match closed {
                Some(closed) => Err(format!("this user may make none in `{}`", closed.display())),
                None => Ok((if found.version == Version::One { 1 } else { 2 }, found.parents)),
            }
        });
        Self { mounted: hierarchy::mounted(), usable, cpus }
    }

    /// Says whether those that this process may make keep the limits; what they do not keep, the sandbox keeps without,
    /// but for processor time.
    ///
    /// # Errors
    /// [`SandboxError::Unenforceable`], as the start of a sandbox fails.
    pub fn keep(&self, limits: &Limits) -> Result<(), SandboxError> {
        Self::check(limits, self.usable.as_ref().map(|_| self.cpus).map_err(String::as_str))
    }

    /// `cpus` is whether cgroups limit processor time, or why there are none.
    pub(super) fn check(limits: &Limits, cpus: Result<bool, &str>) -> Result<(), SandboxError> {
        if limits.cpus.is_none() || cpus == Ok(true) || limits.accepted.has(Reduced::Cpus) {
            return Ok(());
        }
        let none =
            || format!("its cgroups do not limit that; `{} sortie …` gives some that do", Self::delegation());
        let reason = cpus.err().map_or_else(none, str::to_owned);
        Err(SandboxError::Unenforceable { limit: Reduced::Cpus, reason })
    }

    /// What to put before a program so that it may make cgroups with all controllers, where systemd runs.
    pub fn delegation() -> &'static str {
        if rustix::process::geteuid().is_root() {
            "systemd-run --scope -p Delegate=yes"
        } else {
            "systemd-run --user --scope -p Delegate=yes"
        }
    }
}

/// Ends and removes the cgroups of hosts that were killed; returns how many. Each session of a user has cgroups of its
/// own: those of a killed host may lie anywhere. Looks into `most` of each hierarchy, those beside our own first.
pub(super) fn sweep(most: usize) -> usize {
    let beside = Hierarchies::read().map_or_else(|_| Vec::new(), |hierarchies| hierarchies.parents);
    let roots = hierarchy::roots();
    let most = most.saturating_mul(roots.len().max(1));
    sweep_below(beside.into_iter().chain(roots).collect(), most)
}

fn sweep_below(mut cgroups: VecDeque<PathBuf>, most: usize) -> usize {
    let mut gone = 0;
    for _ in 0..most {
        let Some(cgroup) = cgroups.pop_front() else { break };
        for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if owner(&entry.file_name()).is_none() {
                // more than there is a look left for need not be kept
                if cgroups.len() < most {
                    cgroups.push_back(entry.path());
                }
            } else if is_abandoned(&entry) && remove(&entry.path()) {
                gone += 1;
            }
        }
    }
    gone
}

/// The process that made a cgroup of this name, if that was a host of ours.
fn owner(name: &OsStr) -> Option<u32> {
    let (process, count) = name.to_str()?.strip_prefix(PREFIX)?.split_once('-')?;
    // whoever runs a unit `sortie-20261123-nightly.scope` keeps it
    count.parse::<u32>().ok()?;
    process.parse().ok()
}

/// Whether it is a cgroup of a host of ours that is dead.
fn is_abandoned(entry: &fs::DirEntry) -> bool {
    owner(&entry.file_name()).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
        && Lock::open(&entry.path(), Hold::Exclusive).is_ok()
}

/// Kills what is still in it and removes it. Blocks until the kernel has noticed, a second at most.
fn remove(directory: &Path) -> bool {
    for _ in 0..200 {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                kill(directory);
                std::thread::sleep(Duration::from_millis(5));
            }
            removed => return removed.is_ok(),
        }
    }
    false
}

/// Version 2 does it at one stroke; in version 1 each is killed, and again what was forked meanwhile.
fn kill(directory: &Path) {
    if fs::write(directory.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let processes = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    for pid in processes.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
        // it may be gone by now
        let _ = kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// How often the cgroups of a process, which somebody else made, reached these limits; none if they cannot be read.
pub(crate) fn counters_of(pid: i32, limits: &Limits) -> Option<Counters> {
    let (version, [memory, processes]) = hierarchy::of_process(pid)?;
    Some(counters(version, &memory, &processes, limits))
}

fn counters(version: Version, memory: &Path, processes: &Path, limits: &Limits) -> Counters {
    let memory = memory.join(match version {
        Version::One => "memory.oom_control",
        Version::Two => "memory.events",
    });
    let mut counters = Counters::default();
    counters.add(CommandLimit::Memory, limits.memory, &memory, "oom_kill");
    counters.add(CommandLimit::Processes, limits.processes, &processes.join("pids.events"), "max");
    counters
}

fn quota(cpus: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few processors' worth")]
    let quota = (cpus * PERIOD as f64) as u64;
    // The kernel's own lower bound.
    quota.max(1000)
}

fn write(directory: &Path, file: &str, value: &str) -> io::Result<()> {
    fs::write(directory.join(file), value)
}

fn write_if_there(directory: &Path, file: &str, value: &str) -> io::Result<()> {
    if directory.join(file).exists() { write(directory, file, value) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would hold of a cgroup of version 2, in a folder of ours.
    fn fake(files: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let parent = tempfile::tempdir().expect("a folder");
        let cgroup = parent.path().join("sortie-fake");
        fs::create_dir(&cgroup).expect("made");
        for file in files {
            fs::write(cgroup.join(file), "").expect("written");
        }
        (parent, cgroup)
    }

    fn fill(parent: &Path, limits: &Limits) -> Cgroup {
        let mut made =
            Cgroup { directories: Vec::new(), locks: Vec::new(), cpus: false, counters: Arc::default() };
        let hierarchies = Hierarchies { version: Version::Two, parents: vec![parent.to_owned()], cpus: true };
        made.fill(&hierarchies, "sortie-fake", limits).expect("it can be written");
        made
    }

    #[test]
    fn version_2_is_told_every_limit() {
        let (parent, cgroup) = fake(&["memory.swap.max", "cpu.max", "memory.events", "pids.events"]);
        let limits = Limits { memory: 7 << 20, processes: 33, cpus: Some(1.5), ..Limits::default() };
        let made = fill(parent.path(), &limits);
        let read = |file: &str| fs::read_to_string(cgroup.join(file)).expect("it is there");
        assert_eq!(read("memory.max"), (7 << 20).to_string());
        assert_eq!(read("memory.swap.max"), "0");
        assert_eq!(read("pids.max"), "33");
        assert_eq!(read("cpu.max"), "150000 100000");
        assert!(made.limits_cpus());
        made.add(4242).expect("it can be written");
        assert_eq!(read("cgroup.procs"), "4242");
    }

    #[test]
    fn version_2_names_the_limits_that_were_reached() {
        let (parent, cgroup) = fake(&[]);
        fs::write(cgroup.join("memory.events"), "max 1\noom 0\noom_kill 0\n").expect("written");
        fs::write(cgroup.join("pids.events"), "max 0\n").expect("written");
        let made = fill(parent.path(), &Limits::default());
        let counters = made.counters();
        let before = counters.now();
        fs::write(cgroup.join("memory.events"), "max 9\noom 1\noom_kill 1\n").expect("written");
        fs::write(cgroup.join("pids.events"), "max 1\n").expect("written");
        let names: Vec<_> = counters.reached_since(&before).map(|reached| reached.limit.name()).collect();
        assert_eq!(names, ["memory_bytes", "processes"]);
    }

    #[test]
    fn version_2_without_processor_time_says_so() {
        let (parent, _) = fake(&["memory.swap.max"]);
        assert!(!fill(parent.path(), &Limits { cpus: Some(1.0), ..Limits::default() }).limits_cpus());
    }

    #[test]
    fn a_cgroup_of_another_host_that_has_our_number_is_neither_taken_nor_ended() {
        let parent = tempfile::tempdir().expect("a folder");
        let hierarchies =
            Hierarchies { version: Version::Two, parents: vec![parent.path().to_owned()], cpus: false };
        let make = || Cgroup::create_in(&hierarchies, &AtomicU32::new(0), &Limits::default());
        let theirs = make().expect("it can be made");
        fs::write(theirs.directories[0].join("cgroup.kill"), "").expect("written");
        let ours = make().expect("it can be made");
        assert!(ours.directories[0].ends_with(format!("{PREFIX}{}-1", std::process::id())));
        drop(ours);
        assert_eq!(fs::read_to_string(theirs.directories[0].join("cgroup.kill")).expect("it is there"), "");
    }

    #[test]
    fn processor_time_that_nobody_limits_is_refused_unless_it_is_accepted() {
        let cgroups =
            |usable: Result<(u8, Vec<PathBuf>), String>, cpus| Cgroups { mounted: Vec::new(), usable, cpus };
        let there = Ok((2, Vec::new()));
        let wanted = Limits { cpus: Some(1.5), ..Limits::default() };
        assert!(cgroups(there.clone(), true).keep(&wanted).is_ok());
        for (none, why) in [
            (cgroups(there, false), "its cgroups do not limit that"),
            (cgroups(Err("nobody delegates".into()), false), "nobody delegates"),
        ] {
            let error = none.keep(&wanted).expect_err(why).to_string();
            assert!(error.contains(why) && error.contains("--accept no-cpu-limit"), "{error}");
            let accepted = Limits { accepted: wanted.accepted.and(Reduced::Cpus), ..wanted };
            assert!(none.keep(&accepted).is_ok() && none.keep(&Limits::default()).is_ok());
        }
    }

    #[test]
    fn version_2_is_ended_at_one_stroke() {
        let (_parent, cgroup) = fake(&["cgroup.kill"]);
        kill(&cgroup);
        assert_eq!(fs::read_to_string(cgroup.join("cgroup.kill")).expect("it is there"), "1");
    }

    #[test]
    fn what_a_dead_host_left_in_a_cgroup_that_is_not_ours_is_removed_too() {
        let root = tempfile::tempdir().expect("a folder");
        let left = root.path().join("user.slice/session-1.scope/sortie-4294967295-0");
        fs::create_dir_all(&left).expect("is made");
        let sweep = |most| sweep_below([root.path().to_owned()].into(), most);
        assert_eq!((sweep(2), left.exists()), (0, true), "it looks no further than it may");
        assert_eq!((sweep(3), left.exists()), (1, false));
        assert!(root.path().join("user.slice/session-1.scope").exists());
    }

    #[test]
    fn only_what_a_dead_host_of_ours_left_is_abandoned() {
        let parent = tempfile::tempdir().expect("a folder");
        let own = format!("{PREFIX}{}-0", std::process::id());
        // no process has a number as large as these
        for name in [
            own.as_str(),
            "sortie-4294967294-0",
            "sortie-4294967295-0",
            "sortie-4294967295-nightly.scope",
            "sortie-x-0",
            "other-4294967295-0",
        ] {
            fs::create_dir(parent.path().join(name)).expect("is made");
        }
        // a host whose processes cannot be seen from here, in a container say
        let lock = parent.path().join("sortie-4294967294-0");
        let lock = Lock::open(&lock, Hold::Exclusive).expect("is locked");
        let abandoned = || {
            let entries = fs::read_dir(parent.path()).expect("is read").map(|entry| entry.expect("an entry"));
            let mut names: Vec<_> = entries.filter(is_abandoned).map(|entry| entry.file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(abandoned(), ["sortie-4294967295-0"]);
        drop(lock);
        assert_eq!(abandoned(), ["sortie-4294967294-0", "sortie-4294967295-0"]);
    }
}
