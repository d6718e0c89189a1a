//! Limits by cgroup, where this process may make one: version 2 or version 1, whichever has the controllers.

#![expect(clippy::disallowed_methods, reason = "cgroups are folders and files of the kernel's")]

mod hierarchy;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hierarchy::{Hierarchies, Version};

use super::limits::Limits;

/// The period over which processor time is counted, in microseconds.
const PERIOD: u64 = 100_000;

/// What our cgroups' names begin with; the host's process id and a number follow.
const PREFIX: &str = "sortie-";

/// The cgroups of one sandbox: one for all controllers, or one for each. Dropping it removes them, which wants
/// their processes to be gone, and blocks until the kernel has noticed.
#[derive(Debug)]
pub(super) struct Cgroup {
    directories: Vec<PathBuf>,
    cpus: bool,
}

impl Cgroup {
    /// Makes them with these limits.
    ///
    /// # Errors
    /// Why this process cannot, in words.
    pub(super) fn create(limits: &Limits) -> Result<Self, String> {
        let hierarchies = Hierarchies::read()?;
        Self::sweep(&hierarchies.parents);
        let name = {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
        };
        let mut cgroup = Self { directories: Vec::new(), cpus: false };
        cgroup.fill(&hierarchies, &name, limits).map_err(|error| {
            format!("its cgroups cannot be written ({error}); as a plain user, `systemd-run --user --scope -p Delegate=yes` gives some")
        })?;
        Ok(cgroup)
    }

    /// Removes what processes of ours left that were killed before they could. What still has processes in it
    /// stays, whatever its name.
    fn sweep(parents: &[PathBuf]) {
        let entries = parents.iter().flat_map(fs::read_dir).flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let owner = name
                .to_str()
                .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
            if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }

    fn fill(&mut self, hierarchies: &Hierarchies, name: &str, limits: &Limits) -> io::Result<()> {
        match hierarchies.version {
            Version::Two => {
                let directory = self.make(&hierarchies.parents[0], name)?;
                write(&directory, "memory.max", &limits.memory.to_string())?;
                // Swap would hold what memory may not.
                write_if_there(&directory, "memory.swap.max", "0")?;
                write(&directory, "pids.max", &limits.processes.to_string())?;
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
        self.directories.push(directory.clone());
        Ok(directory)
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
            // Only version 2 has it, and only for what should not be there any more.
            let _ = fs::write(directory.join("cgroup.kill"), "1");
            for _ in 0..200 {
                match fs::remove_dir(directory) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    _ => break,
                }
            }
        }
    }
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
