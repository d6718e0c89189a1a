//! What the kernel itself says about the inside. Where two guards keep the same thing out, no attempt can tell that
//! one of them is gone, so each is looked at by itself.

use std::path::Path;

use sortie_workspace::sandbox::Limits;

use crate::support::{Box, Folders};

/// Mounts that can be written to; whether a command may is the permissions' business then.
const WRITABLE: [&str; 8] =
    ["/dev", "/dev/pts", "/dev/shm", "/home/agent", "/proc", "/run", "/tmp", "/workspace"];

/// Mounts on which devices are devices.
const DEVICES: [&str; 7] =
    ["/dev/full", "/dev/null", "/dev/pts", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero"];

/// A line of `/proc/self/mountinfo`.
struct Mount {
    /// Which part of its file system is mounted.
    part: String,
    point: String,
    options: String,
    /// How it hangs together with others.
    ties: String,
    /// Of the file system, as are the settings.
    kind: String,
    settings: String,
}

impl Mount {
    fn parse(line: &str) -> Self {
        let (own, system) = line.split_once(" - ").expect("a line has two halves");
        let own: Vec<&str> = own.split(' ').collect();
        let system: Vec<&str> = system.split(' ').collect();
        Self {
            part: own[3].to_owned(),
            point: own[4].to_owned(),
            options: own[5].to_owned(),
            ties: own[6..].join(" "),
            kind: system[0].to_owned(),
            settings: system[2].to_owned(),
        }
    }

    fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|own| own == option)
    }
}

async fn mounts(inside: &Box) -> Vec<Mount> {
    inside.sh("cat /proc/self/mountinfo").await.stdout.lines().map(Mount::parse).collect()
}

/// The points of those mounts that lack an option.
fn without(mounts: &[Mount], option: &str) -> Vec<String> {
    let mut points: Vec<_> =
        mounts.iter().filter(|mount| !mount.has(option)).map(|mount| mount.point.clone()).collect();
    points.sort();
    points
}

#[tokio::test]
async fn only_the_commands_own_folders_are_mounted_for_writing() {
    let inside = Box::start().await;
    let mounts = mounts(&inside).await;
    assert_eq!(without(&mounts, "ro"), WRITABLE);
    assert_eq!(without(&mounts, "nosuid"), [""; 0]);
    assert_eq!(without(&mounts, "nodev"), DEVICES);
    for point in ["/proc", "/proc/sys", "/dev/null", "/dev/pts"] {
        assert!(!without(&mounts, "noexec").contains(&point.to_owned()), "{point}");
    }
    let tied: Vec<_> =
        mounts.iter().filter(|mount| !mount.ties.is_empty()).map(|mount| &mount.point).collect();
    assert!(tied.is_empty(), "tied to mounts of the host: {tied:?}");
}

#[tokio::test]
async fn the_parts_of_proc_that_are_not_about_processes_are_frozen_or_hidden() {
    let inside = Box::start().await;
    let mounts = mounts(&inside).await;
    let over = |name: &str| {
        let point = format!("/proc/{name}");
        mounts.iter().rfind(|mount| mount.point == point)
    };
    // Kernels differ in what they have.
    let there = |name: &&&str| Path::new("/proc").join(name).exists();
    for name in ["bus", "fs", "irq", "sys", "sysrq-trigger"].iter().filter(there) {
        assert!(over(name).is_some_and(|mount| mount.kind == "proc" && mount.has("ro")), "{name}");
    }
    let hidden = [
        "acpi",
        "asound",
        "kallsyms",
        "kcore",
        "keys",
        "kmsg",
        "latency_stats",
        "sched_debug",
        "scsi",
        "timer_list",
    ];
    for name in hidden.iter().filter(there) {
        let nothing = |mount: &Mount| mount.part.starts_with("/.sortie/hidden") && mount.has("ro");
        assert!(over(name).is_some_and(nothing), "{name}");
    }
}

#[tokio::test]
async fn each_folder_in_memory_has_an_end_of_bytes_and_of_names() {
    let folders = Folders::new();
    let mut config = folders.config();
    config.limits = Limits { tmp: 8 << 20, shared_memory: 5 << 20, ..config.limits };
    config.hidden = vec!["/usr/share".into()];
    let inside = Box::with(folders, config).await;
    let mounts = mounts(&inside).await;
    for (point, bytes, names) in [
        ("/tmp", "size=8192k", "nr_inodes=2048"),
        ("/dev/shm", "size=5120k", "nr_inodes=1280"),
        ("/run", "size=16384k", "nr_inodes=4096"),
        ("/dev", "size=64k", "nr_inodes=1024"),
        ("/usr/share", "size=1024k", "nr_inodes=1024"),
    ] {
        let mount = mounts.iter().rfind(|mount| mount.point == point).expect(point);
        let has = |setting: &str| mount.settings.split(',').any(|own| own == setting);
        assert!(mount.kind == "tmpfs" && has(bytes) && has(names), "{point}: {}", mount.settings);
    }
    for mount in mounts.iter().filter(|mount| mount.kind == "tmpfs") {
        assert!(mount.settings.contains("size=") && mount.settings.contains("nr_inodes="), "{}", mount.point);
    }
}

#[tokio::test]
async fn nothing_is_shared_with_the_hosts_namespaces() {
    let inside = Box::start().await;
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        let path = format!("/proc/self/ns/{name}");
        let own = std::fs::read_link(&path).expect("it is always there").display().to_string();
        let theirs = inside.run(&["readlink", &path]).await.stdout;
        assert!(theirs.starts_with(&format!("{name}:[")), "{theirs}");
        assert_ne!(theirs.trim(), own);
    }
}

#[tokio::test]
async fn process_1_is_in_a_session_of_the_helpers_without_a_terminal() {
    let inside = Box::start().await;
    let numbers = inside.numbers().await;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", numbers.init.as_raw_pid())).expect("it runs");
    let (_, fields) = stat.rsplit_once(") ").expect("its name is in brackets");
    let fields: Vec<&str> = fields.split(' ').collect();
    assert_eq!((fields[3], fields[4]), (numbers.helper.as_raw_pid().to_string().as_str(), "0"), "{stat}");
}
