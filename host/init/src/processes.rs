//! Who runs in this process namespace, as `/proc` tells it.

use std::collections::{HashMap, HashSet};
use std::fs;

/// A process and its parent, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// The process id.
    pub pid: i32,
    /// The parent's process id; 0 for process 1.
    pub parent: i32,
}

/// All processes that `/proc` shows. One that ends meanwhile is left out.
pub fn all() -> Vec<Process> {
    numbers()
        .filter_map(|pid| fs::read(format!("/proc/{pid}/stat")).ok().and_then(|stat| parse(&stat)))
        .collect()
}

/// The numbers of all processes.
pub(crate) fn numbers() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()))
}

/// The children of this process, which has one thread; none if this kernel keeps no such list.
///
/// One may be missing if another died during the look. That other one is still to be reaped, so whoever looks
/// after each reaping misses nobody for long.
pub(crate) fn children() -> Option<Vec<i32>> {
    let own = std::process::id();
    let list = fs::read_to_string(format!("/proc/self/task/{own}/children")).ok()?;
    list.split_ascii_whitespace().map(|pid| pid.parse().ok()).collect()
}

/// Reads `pid (name) state parent …`. The name is the process's own choice and may hold anything, `)` too.
fn parse(stat: &[u8]) -> Option<Process> {
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let pid = str::from_utf8(&stat[..open]).ok()?.trim().parse().ok()?;
    let rest = str::from_utf8(stat.get(close + 1..)?).ok()?;
    let parent = rest.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(Process { pid, parent })
}

/// Those that hang on process 1 other than through one of `roots`.
///
/// The list was not read at one instant: a process whose parent ended meanwhile hangs on nobody. It is not named
/// here, for it may well be beneath a root; whether there are such is the second value.
pub(crate) fn outside(processes: &[Process], roots: &HashSet<i32>) -> (Vec<i32>, bool) {
    let parents: HashMap<i32, i32> = processes.iter().map(|process| (process.pid, process.parent)).collect();
    let place = |pid: i32| {
        // Bounded, in case the list shows a ring.
        let climb = std::iter::successors(Some(pid), |pid| parents.get(pid).copied()).take(parents.len() + 1);
        climb.into_iter().find_map(|pid| {
            let root = roots.contains(&pid).then_some(Place::Inside);
            root.or((pid == 1).then_some(Place::Outside))
        })
    };
    let others = || processes.iter().map(|process| process.pid).filter(|pid| *pid != 1);
    let outside = others().filter(|pid| place(*pid) == Some(Place::Outside)).collect();
    (outside, others().any(|pid| place(pid).is_none()))
}

#[derive(PartialEq)]
enum Place {
    Inside,
    Outside,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_hide_the_parent() {
        let stat = b"12 (a) R 99 (b)) S 7 12 12 0 -1";
        assert_eq!(parse(stat), Some(Process { pid: 12, parent: 7 }));
    }

    #[test]
    fn a_cut_line_is_nobody() {
        for stat in [&b""[..], b"12", b"12 (a", b"12 (a)", b"12 (a) S", b"x (a) S 1"] {
            assert_eq!(parse(stat), None);
        }
    }

    const fn process(pid: i32, parent: i32) -> Process {
        Process { pid, parent }
    }

    #[test]
    fn what_is_not_beneath_a_root_is_outside() {
        let all = [process(1, 0), process(2, 1), process(3, 2), process(4, 3), process(5, 1), process(6, 5)];
        assert_eq!(outside(&all, &HashSet::from([2])), (vec![5, 6], false));
    }

    #[test]
    fn a_process_whose_parent_ended_during_the_look_is_spared() {
        let all = [process(1, 0), process(2, 1), process(4, 3)];
        assert_eq!(outside(&all, &HashSet::from([2])), (vec![], true));
    }

    #[test]
    fn a_ring_of_parents_ends() {
        assert_eq!(outside(&[process(7, 8), process(8, 7)], &HashSet::from([2])), (vec![], true));
    }

    #[test]
    fn this_process_is_listed_with_its_parent() {
        let own = i32::try_from(std::process::id()).expect("process ids are small");
        assert!(all().iter().any(|process| process.pid == own && process.parent > 0));
    }
}
