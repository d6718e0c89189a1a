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
