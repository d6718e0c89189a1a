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

/// Who traces a process, if anybody does.
pub(crate) fn tracer(pid: i32) -> Option<i32> {
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    // Its name may hold any bytes, but the kernel escapes newlines in it.
    let status = String::from_utf8_lossy(&status);
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?;
    tracer.trim().parse().ok().filter(|tracer| *tracer > 0)
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

/// Those that hang on `root`, and itself.
///
/// The list was not read at one instant: a process whose parent ended meanwhile hangs on nobody, and is left out.
pub fn beneath(processes: &[Process], root: i32) -> Vec<i32> {
    let places = places(processes, HashMap::from([(root, Place::Inside)]));
    processes.iter().map(|process| process.pid).filter(|pid| places[pid] == Place::Inside).collect()
}

/// Those that hang on process 1 other than through one of `roots`.
///
/// The list was not read at one instant: a process whose parent ended meanwhile hangs on nobody. It is not named
/// here, for it may well be beneath a root; whether there are such is the second value.
pub(crate) fn outside(processes: &[Process], roots: &HashSet<i32>) -> (Vec<i32>, bool) {
    let mut known: HashMap<i32, Place> = roots.iter().map(|pid| (*pid, Place::Inside)).collect();
    known.entry(1).or_insert(Place::Outside);
    let places = places(processes, known);
    let others = || processes.iter().map(|process| process.pid).filter(|pid| *pid != 1);
    let outside = others().filter(|pid| places[pid] == Place::Outside).collect();
    (outside, others().any(|pid| places[&pid] == Place::Unclear))
}

/// Where each process hangs, by those of whom it is known.
fn places(processes: &[Process], known: HashMap<i32, Place>) -> HashMap<i32, Place> {
    let parents: HashMap<i32, i32> = processes.iter().map(|process| (process.pid, process.parent)).collect();
    let mut places = known;
    for process in processes {
        // Up to where it is known, and each step once: lines of thousands are easily made.
        let (mut line, mut at) = (Vec::new(), process.pid);
        let place = loop {
            if let Some(place) = places.get(&at) {
                break *place;
            }
            line.push(at);
            // In case the list shows a ring.
            places.insert(at, Place::Unclear);
            match parents.get(&at) {
                Some(parent) => at = *parent,
                None => break Place::Unclear,
            }
        };
        places.extend(line.into_iter().map(|pid| (pid, place)));
    }
    places
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Inside,
    Outside,
    Unclear,
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
    fn a_line_of_many_thousands_hangs_on_who_is_at_its_top() {
        let line = |first: i32, top: i32| {
            let below = (first + 1..first + 200_000).map(|pid| process(pid, pid - 1));
            // from the bottom up: nothing is known of those above
            std::iter::once(process(first, top)).chain(below).rev()
        };
        let all: Vec<_> = line(1_000_000, 2).chain(line(2_000_000, 1)).chain([process(2, 1)]).collect();
        let (outside, unclear) = outside(&all, &HashSet::from([2]));
        assert_eq!((outside.len(), unclear), (200_000, false));
        assert!(outside.iter().all(|pid| *pid >= 2_000_000));

        let beneath = beneath(&all, 2);
        assert_eq!(beneath.len(), 200_001);
        assert!(beneath.iter().all(|pid| *pid < 2_000_000));
    }

    #[test]
    fn only_what_hangs_on_a_process_is_beneath_it() {
        let all = [process(1, 0), process(2, 1), process(3, 2), process(4, 3), process(5, 1), process(9, 8)];
        assert_eq!(beneath(&all, 2), [2, 3, 4]);
        assert_eq!(beneath(&all, 4), [4]);
        assert_eq!(beneath(&all, 7), []);
        assert_eq!(beneath(&[process(7, 8), process(8, 7)], 2), []);
    }

    #[test]
    fn this_process_is_listed_with_its_parent() {
        let own = i32::try_from(std::process::id()).expect("process ids are small");
        // the first of a process namespace has none
        let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_pid());
        assert!(all().iter().any(|process| (process.pid, process.parent) == (own, parent)));
    }
}
