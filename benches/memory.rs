//! The memory of a task: of the host's process, and of all processes that
//! hang on it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// The most memory that was seen, in kilobytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Peak {
    /// Resident in the host's process.
    pub(crate) host: u64,
    /// Resident in all processes together: the host, the sandbox's helper,
    /// init, commands. What they share counts in each.
    pub(crate) all: u64,
}

/// Looks at a process and its descendants until `ended`.
pub(crate) fn watch(process: u32, ended: &AtomicBool) -> Peak {
    let mut peak = Peak::default();
    while !ended.load(Ordering::Acquire) {
        // the kernel's own high-water mark: nothing falls between two looks
        peak.host = peak.host.max(kilobytes(process, "VmHWM:").unwrap_or(0));
        let all = descendants(process).into_iter().filter_map(|one| kilobytes(one, "VmRSS:")).sum();
        peak.all = peak.all.max(all);
        thread::sleep(PAUSE);
    }
    peak
}

/// One field of a process's status. None if it is gone.
fn kilobytes(process: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The process itself, its children, theirs and so on.
fn descendants(process: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(parent) = parent(child) {
            children.entry(parent).or_default().push(child);
        }
    }
    let mut found = vec![process];
    let mut at = 0;
    while let Some(one) = found.get(at) {
        let more = children.remove(one).unwrap_or_default();
        found.extend(more);
        at += 1;
    }
    found
}

fn parent(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // the name of the program stands in brackets and may hold anything
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}
