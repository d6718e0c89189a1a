//! A host that is killed leaves nothing behind after the next start.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::support::{FIX, Site, shell_script};

/// Pseudo-random numbers from a seed that a failure prints.
struct Dice(u64);

impl Dice {
    /// From `SORTIE_TEST_SEED`, or the time.
    fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later");
        let seed = std::env::var("SORTIE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or(u64::from(now.subsec_nanos()) + now.as_secs());
        eprintln!("SORTIE_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// Processes by id, each with the time of its start, that descend from one.
fn descendants(of: u32) -> BTreeMap<u32, u64> {
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").expect("/proc is there").flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        if let Some((pid, (parent, started))) = pid.and_then(|pid| Some((pid, stat(pid)?))) {
            parents.insert(pid, (parent, started));
        }
    }
    let descends = |pid: &u32| {
        let up = |pid: &u32| parents.get(pid).map(|(parent, _)| *parent);
        std::iter::successors(up(pid), up).any(|parent| parent == of)
    };
    parents.iter().filter(|(pid, _)| descends(pid)).map(|(pid, (_, started))| (*pid, *started)).collect()
}

/// Parent and time of start; none for a process that is gone, or only waits to be reaped.
fn stat(pid: u32) -> Option<(u32, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<_> = fields.split_whitespace().collect();
    (fields[0] != "Z").then_some((fields[1].parse().ok()?, fields[19].parse().ok()?))
}

/// Cgroups that this host made.
fn cgroups(host: u32) -> Vec<PathBuf> {
    let prefix = format!("sortie-{host}-");
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().starts_with(&prefix) {
                    found.push(entry.path());
                }
                folders.push(entry.path());
            }
        }
    }
    found
}

/// Names below a folder that begin with a dot, or lie in a folder of scratch, outside of work trees.
fn temporary(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with('.') || folder.ends_with("scratch") || name == "borrowed" || name == "container" {
            found.push(path);
        } else if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && !["workspace", "home"].contains(&&*name)
        {
            found.extend(temporary(&path));
        }
    }
    found
}

/// Starts a task and reads its events until one holds all these words.
fn begin(site: &Site, tmp: &Path, words: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let commands =
        [FIX, "head -c 30000000 /dev/urandom > noise; mkfifo pipe; (setsid sleep 86420 &) ; sleep 2"];
    let mut command = site.scripted(&shell_script(&commands));
    command.args(["--deliver", "none"]).env("TMPDIR", tmp).stdout(Stdio::piped());
    command.env("SORTIE_CACHE", site.path().join("home/cache/components"));
    let mut child = command.spawn().expect("starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    while !words.iter().all(|word| line.contains(word)) {
        line.clear();
        assert!(stdout.read_line(&mut line).expect("is read") > 0, "it ended before {words:?}");
    }
    (child, stdout)
}

#[test]
fn nothing_is_left_of_a_host_that_is_killed() {
    let mut dice = Dice::new();
    // where to wait for, and within how many milliseconds of it to kill
    let points: [(&[&str], u64); 5] = [
        (&["phase.started", "prepare"], 60),
        (&["step.started", "\"workspace\""], 20),
        (&["\"kind\":\"exec\"", "86420"], 300),
        (&["step.started", "\"archive\""], 40),
        (&["step.started", "\"archive\""], 400),
    ];
    let site = Site::new();
    let tmp = site.path().join("tmp");
    std::fs::create_dir(&tmp).expect("is made");
    for (words, within) in points {
        let wait = dice.below(within);
        let (mut child, stdout) = begin(&site, &tmp, words);
        std::thread::sleep(Duration::from_millis(wait));
        let family = descendants(child.id());
        child.kill().expect("is killed");
        child.wait().expect("is gone");
        drop(stdout);

        let next = site
            .sortie()
            .env("TMPDIR", &tmp)
            .env("SORTIE_CACHE", site.path().join("home/cache/components"))
            .args(["list", "--json"])
            .output()
            .expect("runs");
        assert_eq!(next.status.code(), Some(0));
        let at = format!("{words:?} + {wait} ms");
        assert_eq!(cgroups(child.id()), Vec::<PathBuf>::new(), "{at}");
        assert_eq!(temporary(&site.path().join("home")), Vec::<PathBuf>::new(), "{at}");
        assert_eq!(std::fs::read_dir(&tmp).expect("is read").count(), 0, "{at}");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("is read");
        assert!(!mounts.contains(&*site.path().to_string_lossy()), "{at}");
        let begun = Instant::now();
        // a process that was not in a cgroup ends by itself, when its end of the control socket tells it
        while family.iter().any(|(pid, started)| stat(*pid).is_some_and(|(_, now)| now == *started)) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{at}: {family:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    // and the next task works
    let ran = crate::support::Ran::of(&mut site.scripted(&shell_script(&[FIX])));
    assert_eq!(ran.code, Some(0), "{}", ran.report());
}
