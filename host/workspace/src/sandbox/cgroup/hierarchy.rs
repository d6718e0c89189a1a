//! Where cgroups can be made: what is mounted, where this process is in it, and who above may have children.

use std::fs;
use std::path::{Path, PathBuf};

/// Which interface the controllers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// Where to make cgroups.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hierarchies {
    pub(super) version: Version,
    /// Version 2: one folder. Version 1: memory, processes and, if it is there, processor time.
    pub(super) parents: Vec<PathBuf>,
    /// Whether processor time can be limited below them.
    pub(super) cpus: bool,
}

impl Hierarchies {
    /// As `/proc/self` tells.
    ///
    /// # Errors
    /// Why there are none to use, in words.
    pub(super) fn read() -> Result<Self, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("`{path}`: {error}"));
        Self::of(&Mounts { mounts: &read("/proc/self/mountinfo")?, own: &read("/proc/self/cgroup")? })
    }

    fn of(mounts: &Mounts<'_>) -> Result<Self, String> {
        if let Some(parent) = mounts.unified().and_then(|(own, root)| delegated(&own, &root)) {
            let cpus = gives(&parent, &["cpu"]);
            return Ok(Self { version: Version::Two, parents: vec![parent], cpus });
        }
        match (mounts.controller("memory"), mounts.controller("pids")) {
            (Some(memory), Some(processes)) => {
                let cpu = mounts.controller("cpu");
                let cpus = cpu.is_some();
                let parents = [memory, processes].into_iter().chain(cpu).collect();
                Ok(Self { version: Version::One, parents, cpus })
            }
            _ => Err("no cgroup above this process lets it limit memory and processes".to_owned()),
        }
    }
}

/// The versions that are mounted here, the old one first.
pub(super) fn mounted() -> Vec<u8> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = Mounts { mounts: &mounts, own: "" };
    let is_there = |kind| mounts.mount(kind, |_| true).is_some();
    [(1, "cgroup"), (2, "cgroup2")]
        .into_iter()
        .filter(|(_, kind)| is_there(kind))
        .map(|(version, _)| version)
        .collect()
}

/// The tops of the hierarchies in which we may have made some.
pub(super) fn roots() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = Mounts { mounts: &mounts, own: "" };
    let of_first = ["memory", "pids", "cpu"]
        .map(|controller| mounts.mount("cgroup", |list| list.split(',').any(|name| name == controller)));
    let found = of_first.into_iter().chain([mounts.mount("cgroup2", |_| true)]);
    found.flatten().map(|(_, point)| point).collect()
}

/// The cgroups of a process that count memory and processes, of either version, if they are mounted here.
pub(super) fn of_process(pid: i32) -> Option<(Version, [PathBuf; 2])> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let mounts = Mounts { mounts: &mounts, own: &own };
    if let (Some(memory), Some(processes)) = (mounts.controller("memory"), mounts.controller("pids")) {
        return Some((Version::One, [memory, processes]));
    }
    let (own, _) = mounts.unified()?;
    Some((Version::Two, [own.clone(), own]))
}

/// The nearest cgroup from `own` up to `root` whose children have limits and may be made by this process.
///
/// Our own has processes in it (us), so its children have none, unless it is the root. The one above usually
/// does: a slice of systemd's, or the user's own manager.
fn delegated(own: &Path, root: &Path) -> Option<PathBuf> {
    own.ancestors()
        .take_while(|path| path.starts_with(root))
        .find(|path| gives(path, &["memory", "pids"]) && may_write(path))
        .map(Path::to_owned)
}

/// Whether the children of a cgroup have all of these controllers.
fn gives(cgroup: &Path, wanted: &[&str]) -> bool {
    let controllers = fs::read_to_string(cgroup.join("cgroup.subtree_control")).unwrap_or_default();
    wanted.iter().all(|wanted| controllers.split_whitespace().any(|given| given == *wanted))
}

/// Whether we may make a child there and move a process from our own cgroup into it: for that, the kernel wants
/// the list of the common ancestor, which is this one.
fn may_write(cgroup: &Path) -> bool {
    let writable = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    writable(cgroup) && writable(&cgroup.join("cgroup.procs"))
}

struct Mounts<'a> {
    /// `/proc/self/mountinfo`.
    mounts: &'a str,
    /// `/proc/self/cgroup`.
    own: &'a str,
}

impl Mounts<'_> {
    /// Our own cgroup of version 2, and the top of what is mounted.
    fn unified(&self) -> Option<(PathBuf, PathBuf)> {
        let own = self.own.lines().find_map(|line| line.strip_prefix("0::"))?;
        let (root, point) = self.mount("cgroup2", |_| true)?;
        Some((join(&point, root, own)?, point))
    }

    /// Our own cgroup of a controller of version 1.
    fn controller(&self, controller: &str) -> Option<PathBuf> {
        let has = |list: &str| list.split(',').any(|name| name == controller);
        let own = self.own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            has(controllers).then_some(path)
        })?;
        let (root, point) = self.mount("cgroup", has)?;
        join(&point, root, own)
    }

    /// The part of a hierarchy that is mounted, and where.
    fn mount(&self, kind: &str, options: impl Fn(&str) -> bool) -> Option<(&str, PathBuf)> {
        self.mounts.lines().find_map(|line| {
            let (head, tail) = line.split_once(" - ")?;
            let mut head = head.split(' ').skip(3);
            let (root, point) = (head.next()?, head.next()?);
            let mut tail = tail.split(' ');
            let (found, list) = (tail.next()?, tail.nth(1)?);
            (found == kind && options(list)).then(|| (root, PathBuf::from(point)))
        })
    }
}

/// The folder of cgroup `own` if its part of the hierarchy is mounted.
fn join(point: &Path, root: &str, own: &str) -> Option<PathBuf> {
    let below = Path::new(own).strip_prefix(root).ok()?;
    // A process outside of its cgroup namespace sees itself above the top.
    (!below.starts_with("..")).then(|| point.join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
30 23 0:26 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
31 23 0:27 /box /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 23 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
";
    const OWN: &str = "4:memory:/user/me\n3:cpu,cpuacct:/box/inner\n0::/user.slice/me.scope\n";

    fn mounts() -> Mounts<'static> {
        Mounts { mounts: MOUNTS, own: OWN }
    }

    /// A hierarchy of version 2 in folders of ours: a slice with controllers, and in it the scope that we are in.
    struct Fake {
        folder: tempfile::TempDir,
        mounts: String,
    }

    impl Fake {
        fn new(controllers: &str) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let scope = folder.path().join("my.slice/run.scope");
            fs::create_dir_all(&scope).expect("made");
            let slice = folder.path().join("my.slice");
            for cgroup in [folder.path(), &slice, &scope] {
                fs::write(cgroup.join("cgroup.procs"), "").expect("written");
                fs::write(cgroup.join("cgroup.subtree_control"), "").expect("written");
            }
            fs::write(slice.join("cgroup.subtree_control"), format!("{controllers}\n")).expect("written");
            let mounts = format!("30 23 0:26 / {} rw - cgroup2 cgroup2 rw\n", folder.path().display());
            Self { folder, mounts }
        }

        fn read(&self) -> Result<Hierarchies, String> {
            Hierarchies::of(&Mounts { mounts: &self.mounts, own: "0::/my.slice/run.scope\n" })
        }
    }

    #[test]
    fn of_version_2_the_nearest_above_is_taken_that_gives_the_controllers_to_its_children() {
        for (controllers, cpus) in [("cpu memory pids", true), ("cpuset memory pids", false)] {
            let fake = Fake::new(controllers);
            let parents = vec![fake.folder.path().join("my.slice")];
            assert_eq!(fake.read(), Ok(Hierarchies { version: Version::Two, parents, cpus }));
        }
    }

    #[test]
    fn without_delegation_there_is_none_of_version_2() {
        for controllers in ["", "cpu memory", "pids", "memory_pressure pids"] {
            assert!(Fake::new(controllers).read().is_err(), "{controllers}");
        }
        let fake = Fake::new("memory pids");
        // a list that processes cannot be moved into is no delegation: the kernel wants the common ancestor's
        fs::remove_file(fake.folder.path().join("my.slice/cgroup.procs")).expect("it is there");
        assert!(fake.read().is_err());
    }

    #[test]
    fn a_controller_of_version_1_is_found_where_we_are() {
        assert_eq!(mounts().controller("memory"), Some("/sys/fs/cgroup/memory/user/me".into()));
        assert_eq!(mounts().controller("cpu"), Some("/sys/fs/cgroup/cpu,cpuacct/inner".into()));
        assert_eq!(mounts().controller("pids"), None);
    }

    #[test]
    fn our_own_cgroup_of_version_2_is_found_with_its_root() {
        let expected = ("/sys/fs/cgroup/unified/user.slice/me.scope".into(), "/sys/fs/cgroup/unified".into());
        assert_eq!(mounts().unified(), Some(expected));
    }

    #[test]
    fn a_cgroup_outside_of_what_is_mounted_cannot_be_used() {
        assert_eq!(join(Path::new("/sys/fs/cgroup"), "/box", "/other"), None);
        assert_eq!(join(Path::new("/sys/fs/cgroup"), "/", "/../up"), None);
    }
}
