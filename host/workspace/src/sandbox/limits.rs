//! What a sandbox may use up, and who sees to it.

use serde::{Deserialize, Serialize};

/// Bounds on all commands of one sandbox together, unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in bytes, `/tmp` and shared memory included where a cgroup counts it. 4 GiB.
    pub memory: u64,
    /// Processes and threads at a time. 2048.
    pub processes: u64,
    /// Processors' worth of time; none for all there are. None.
    pub cpus: Option<f64>,
    /// `/tmp` in bytes. 1 GiB.
    pub tmp: u64,
    /// `/dev/shm` in bytes. 256 MiB.
    pub shared_memory: u64,
    /// The largest file that a process can write, in bytes. 16 GiB.
    pub file: u64,
    /// Open files of one process; the machine's own limit if that is lower. 65536.
    pub open_files: u64,
    /// What of these the operator does without where nobody can keep it. Nothing.
    pub accepted: Accepted,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 4 << 30,
            processes: 2048,
            cpus: None,
            tmp: 1 << 30,
            shared_memory: 256 << 20,
            file: 16 << 30,
            open_files: 65536,
            accepted: Accepted::default(),
        }
    }
}

/// A limit that nobody keeps. A workspace without one is refused, unless the operator accepts it by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduced {
    /// No limit of memory.
    Memory,
    /// No limit of processes.
    Processes,
    /// No limit of processor time.
    Cpus,
}

impl Reduced {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Processes, Self::Cpus];

    /// The name to accept it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "no-memory-limit",
            Self::Processes => "no-process-limit",
            Self::Cpus => "no-cpu-limit",
        }
    }

    /// What is not limited, in words.
    pub fn limit(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processes => "processes",
            Self::Cpus => "processor time",
        }
    }
}

/// What an operator does without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    memory: bool,
    processes: bool,
    cpus: bool,
}

impl Accepted {
    /// This one as well.
    #[must_use]
    pub fn and(mut self, reduced: Reduced) -> Self {
        match reduced {
            Reduced::Memory => self.memory = true,
            Reduced::Processes => self.processes = true,
            Reduced::Cpus => self.cpus = true,
        }
        self
    }

    /// Whether this one was accepted.
    pub fn has(self, reduced: Reduced) -> bool {
        match reduced {
            Reduced::Memory => self.memory,
            Reduced::Processes => self.processes,
            Reduced::Cpus => self.cpus,
        }
    }
}

/// Who keeps a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keeper {
    /// A cgroup: the kernel counts exactly, for all processes together.
    Cgroup,
    /// Process limits of the kernel: exact for the number of processes; for memory each process alone, with
    /// init looking at the sum ten times a second and killing the largest process when it is over.
    /// Memory that no process maps (`memfd_create`, System V segments, what sockets hold) is not counted then.
    Process,
    /// Nobody, which was accepted.
    Nobody,
}

/// Who keeps which limit on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enforced {
    /// Memory.
    pub memory: Keeper,
    /// Processes.
    pub processes: Keeper,
    /// Processor time; only a cgroup can keep that.
    pub cpus: bool,
    /// The version of Landlock's interface that applies; none if the kernel has none.
    pub landlock: Option<u32>,
}

impl Enforced {
    /// Which of these limits nobody keeps.
    pub fn reduced(self, limits: &Limits) -> impl Iterator<Item = Reduced> {
        let cpus = limits.cpus.is_some();
        Reduced::ALL.into_iter().filter(move |reduced| match reduced {
            Reduced::Memory => self.memory == Keeper::Nobody,
            Reduced::Processes => self.processes == Keeper::Nobody,
            Reduced::Cpus => cpus && !self.cpus,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted_is_that_and_nothing_else() {
        for one in Reduced::ALL {
            let accepted = Accepted::default().and(one);
            assert!(Reduced::ALL.into_iter().all(|other| accepted.has(other) == (one == other)), "{one:?}");
        }
    }

    #[test]
    fn processor_time_is_missed_by_who_asked_for_it_alone() {
        let enforced =
            Enforced { memory: Keeper::Process, processes: Keeper::Nobody, cpus: false, landlock: None };
        let reduced = |cpus| enforced.reduced(&Limits { cpus, ..Limits::default() }).collect::<Vec<_>>();
        assert_eq!(reduced(None), [Reduced::Processes]);
        assert_eq!(reduced(Some(1.0)), [Reduced::Processes, Reduced::Cpus]);
    }
}
