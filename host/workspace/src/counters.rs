//! How often a workspace ran into its own limits, as the kernel counts it.
//!
//! A command that the kernel killed for its memory, or whose fork failed, does not know why. Whoever waits for it
//! asks before and after, and can say so.

use std::fs::File;
use std::io;
use std::path::Path;

use sortie_init::protocol::Met;
use sortie_policy::ports::{CommandLimit, LimitReached};

/// The most that is read of a counter's file; they have a few short lines.
const MOST: usize = 1024;

/// The counters of one workspace.
#[derive(Debug, Default)]
pub struct Counters {
    counters: Vec<Counter>,
    /// Memory in bytes, where init keeps that limit and looks after that of processes.
    by_init: Option<u64>,
    /// The most processes, if that is known.
    processes: Option<u64>,
}

#[derive(Debug)]
struct Counter {
    reached: LimitReached,
    file: File,
    key: &'static str,
}

/// What the counters stood at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts(Vec<u64>);

impl Counters {
    /// None but init's own, who says with each command's end what it saw of these limits.
    pub(crate) fn of_init(memory: u64, processes: u64) -> Self {
        Self { counters: Vec::new(), by_init: Some(memory), processes: Some(processes) }
    }

    /// The most processes, for a command that could not be started.
    pub(crate) fn processes(&self) -> Option<LimitReached> {
        self.processes.map(|value| LimitReached { limit: CommandLimit::Processes, value })
    }

    /// The limits that init saw met, if it is the one to look after them.
    pub(crate) fn met_by_init(&self, met: Met) -> impl Iterator<Item = LimitReached> + '_ {
        let memory = self.by_init.filter(|_| met.memory);
        let memory = memory.map(|value| LimitReached { limit: CommandLimit::Memory, value });
        let processes = self.by_init.filter(|_| met.processes).and_then(|_| self.processes());
        memory.into_iter().chain(processes)
    }

    /// Adds the counter `key` of a file, such as `memory.events`, if there is such a file.
    pub(crate) fn add(&mut self, limit: CommandLimit, value: u64, file: &Path, key: &'static str) {
        if limit == CommandLimit::Processes {
            self.processes = Some(value);
        }
        // A kernel that does not count it costs the explanation and nothing else.
        if let Ok(file) = File::open(file) {
            self.counters.push(Counter { reached: LimitReached { limit, value }, file, key });
        }
    }

    /// What they stand at.
    pub fn now(&self) -> Counts {
        Counts(self.counters.iter().map(|counter| counter.read().unwrap_or(0)).collect())
    }

    /// The limits that were reached since then, by whatever command.
    pub fn reached_since<'a>(&'a self, before: &'a Counts) -> impl Iterator<Item = LimitReached> + 'a {
        let counters = self.counters.iter().zip(&before.0);
        counters
            .filter(|(counter, before)| counter.read().is_ok_and(|now| now > **before))
            .map(|(counter, _)| counter.reached)
    }
}

impl Counter {
    fn read(&self) -> io::Result<u64> {
        let mut buffer = [0; MOST];
        // From the start each time: the kernel writes the file anew for it.
        let length = rustix::io::pread(&self.file, &mut buffer, 0)?;
        Ok(value(&String::from_utf8_lossy(&buffer[..length]), self.key).unwrap_or(0))
    }
}

/// The number after `key` in lines of two words.
fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split_once(' ').filter(|(name, _)| *name == key)?.1.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_its_whole_name() {
        let text = "low 0\nhigh 3\nmax 7\noom 1\noom_kill 2\noom_group_kill 5\n";
        assert_eq!(value(text, "oom_kill"), Some(2));
        assert_eq!(value(text, "max"), Some(7));
        assert_eq!(value(text, "kill"), None);
        assert_eq!(value("max\n", "max"), None);
    }

    #[test]
    fn only_a_counter_that_moved_names_its_limit() {
        let folder = tempfile::tempdir().expect("temporary folders can be made");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("the folder is ours");
            path
        };
        let memory = file("memory.events", "oom_kill 4\n");
        let processes = file("pids.events", "max 0\n");
        let mut counters = Counters::default();
        counters.add(CommandLimit::Memory, 1 << 30, &memory, "oom_kill");
        counters.add(CommandLimit::Processes, 9, &processes, "max");
        counters.add(CommandLimit::Processes, 9, Path::new("/no/such/file"), "max");
        let before = counters.now();
        assert_eq!(counters.reached_since(&before).count(), 0);
        file("memory.events", "oom_kill 5\n");
        let reached = LimitReached { limit: CommandLimit::Memory, value: 1 << 30 };
        assert_eq!(counters.reached_since(&before).collect::<Vec<_>>(), [reached]);
    }
}
