//! Which core does what.

use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

/// Keeps this thread and another process on cores of their own, until it is
/// dropped. Left alone, the scheduler moves the two together and apart as the
/// machine's load has it, and a message between two cores takes several times
/// as long as one within a core.
pub(crate) struct Apart(CpuSet);

impl Apart {
    /// `None` where this process has one core only: then there is no apart.
    pub(crate) fn new(other: u32) -> rustix::io::Result<Option<Self>> {
        let all = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| all.is_set(core));
        let (Some(first), Some(second)) = (cores.next(), cores.next()) else { return Ok(None) };
        sched_setaffinity(None, &one(first))?;
        sched_setaffinity(i32::try_from(other).ok().and_then(Pid::from_raw), &one(second))?;
        Ok(Some(Self(all)))
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // it was this thread's before, so it is allowed
        let _ = sched_setaffinity(None, &self.0);
    }
}

fn one(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core);
    set
}
