//! How much a plugin may use.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// What the operator may tune; the rest is fixed, below.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of memory of a tool's instance, all its memories together.
    pub tool_memory: usize,
    /// Bytes of memory of a policy's instance, all its memories together.
    pub policy_memory: usize,
    /// The time of one evaluation by a policy. What passes while the machine is too busy for this process does not
    /// count.
    pub policy_time: Duration,
    /// The time that a component has to describe itself, and again to check
    /// its settings; counted likewise.
    pub load_time: Duration,
    /// Tool calls that run at once; more of them wait.
    pub concurrent_tools: u32,
    /// Policy evaluations that run at once; more of them wait. Apart from the
    /// tools', because a tool call waits for the evaluations of its effects.
    pub concurrent_policies: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tool_memory: 256 << 20,
            policy_memory: 64 << 20,
            policy_time: Duration::from_secs(1),
            load_time: Duration::from_secs(10),
            concurrent_tools: 64,
            concurrent_policies: 64,
        }
    }
}

/// Bytes of a component.
pub(crate) const COMPONENT: usize = 64 << 20;
/// Bytes that a guest may pass to the host in one call.
pub(crate) const HOSTCALL_BYTES: usize = 16 << 20;
/// Handles that one store may hold, of all kinds.
pub(crate) const HANDLES: usize = 4096;
/// Bytes of a JSON text, of a result's text and of a written file.
pub(crate) const CONTENT: usize = 8 << 20;
/// Bytes of an error's message.
pub(crate) const MESSAGE: usize = 8 << 10;
/// Bytes of random numbers in one call.
pub(crate) const RANDOM: u64 = 1 << 20;
/// Core instances, memories and tables of one component. A Python component
/// has 38 core modules.
pub(crate) const CORE_INSTANCES: u32 = 128;
/// See [`CORE_INSTANCES`].
pub(crate) const MEMORIES: u32 = 4;
/// See [`CORE_INSTANCES`].
pub(crate) const TABLES: u32 = 16;
/// Elements of one table.
pub(crate) const TABLE_ELEMENTS: usize = 100_000;
/// What a call may go on for after its task was cancelled, to put things in order.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// A limit that an instance ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LimitReached {
    #[error("it wanted more than its {} MiB of memory", .0 >> 20)]
    Memory(usize),
    #[error("it wanted a table of more than {TABLE_ELEMENTS} elements")]
    Table,
}

/// Adds up the memories of a store: wasmtime's own limits count each alone.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory: usize,
    used: usize,
}

impl Limiter {
    pub(crate) fn new(memory: usize) -> Self {
        Self { memory, used: 0 }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        if used > self.memory {
            // a trap, and not a failed growth: it says what happened
            return Err(LimitReached::Memory(self.memory).into());
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS {
            return Err(LimitReached::Table.into());
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_added_up() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).is_ok());
        assert!(limiter.memory_growing(0, 40, None).is_ok());
        let error = limiter.memory_growing(40, 41, None).expect_err("the second memory alone is small");
        assert_eq!(error.downcast_ref(), Some(&LimitReached::Memory(100)));
    }

    #[test]
    fn a_huge_table_is_refused() {
        assert!(Limiter::new(0).table_growing(0, TABLE_ELEMENTS + 1, None).is_err());
    }
}
