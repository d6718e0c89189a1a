//! The same tests again in containers, where an image for them is named.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use sortie_policy::ports::Exit;
use sortie_workspace::container::{Container, ContainerConfig, Engine, EngineKind};
use sortie_workspace::sandbox::SandboxConfig;

use crate::support::{Box, Folders, LONG, eventually};

/// Names the image: with a shell, the usual small programs, and the C library that these tests are linked with.
pub(crate) const WANTED: &str = "SORTIE_TEST_IMAGE";
/// Names Podman's socket as `DOCKER_HOST` does, where it is to be tried as well.
pub(crate) const PODMAN: &str = "SORTIE_TEST_PODMAN";
/// Set in the run that uses it.
const USED: &str = "SORTIE_TEST_IN_CONTAINERS";

/// The modules that are about workspaces of any kind.
const OF_EVERY_WORKSPACE: [&str; 14] = [
    "background",
    "clock",
    "commands",
    "containers",
    "disk",
    "escape",
    "folders",
    "images",
    "keepers",
    "kills",
    "limits",
    "network",
    "ports",
    "storms",
];

/// What is about the sandbox's own ways. What of it has to hold in a container as well is in this file.
const OF_THE_SANDBOX: [&str; 13] = [
    // its helper
    "helper",
    "what_is_put_over_files_inside_does_not_cover_the_hosts",
    // the host's own system directories and toolchains, which no container sees
    "a_hidden_folder_of",
    "credentials_and_sockets_of_the_host_are_not_there",
    "rustup_gets_a_home",
    "toolchains_in_the_home",
    // links that a mask names: the sandbox hides what is behind them, a container leaves them out
    "a_mask_through_a_link",
    // its own cgroups, /proc, and what its mounts and its user's status look like
    "cgroups",
    "the_groups_of_root",
    "the_kernels_own_files_give_nothing",
    "no_privilege_is_left",
    "who_keeps_the_limits_is_said",
    // a device can only be there if root of the host made it
    "a_device_node_in_the_work_tree",
];

/// The image, in the run in containers.
pub(crate) fn image() -> Option<String> {
    std::env::var(USED).ok()
}

/// The container that a sandbox's configuration stands for.
pub(crate) async fn start(image: String, config: SandboxConfig, folders: &Folders) -> Container {
    let engine = Engine::connect().await.unwrap_or_else(|error| panic!("there is an engine: {error}"));
    let started = Container::start(&engine, self::config(image, config, folders)).await;
    started.unwrap_or_else(|error| panic!("the container starts: {error}"))
}

fn config(image: String, config: SandboxConfig, folders: &Folders) -> ContainerConfig {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let SandboxConfig { init, work_tree, home, masks, read_only, certificates, limits, .. } = config;
    let folder = folders.outside.path().join(format!("container-{number}"));
    ContainerConfig {
        task: "task-222222".to_owned(),
        owner: format!("tests-{}", std::process::id()),
        masks,
        read_only,
        certificates,
        limits,
        ..ContainerConfig::new(image, init, folder, work_tree, home)
    }
}

#[test]
fn all_of_this_holds_in_containers_too() {
    if let Some(mut again) = again(WANTED) {
        let status = again.status().expect("the tests run");
        assert!(status.success(), "in containers: {status}");
    }
}

#[test]
fn all_of_this_holds_in_containers_of_podmans_too() {
    // not every machine lets it run
    let Ok(socket) = std::env::var(PODMAN) else { return eprintln!("skipped: {PODMAN} is not set") };
    if let Some(mut again) = again(WANTED) {
        let status = again.env("DOCKER_HOST", socket).status().expect("the tests run");
        assert!(status.success(), "in containers of Podman's: {status}");
    }
}

/// These tests in containers of the image that a variable names. None in the run that is there already, and where
/// nothing is named.
fn again(variable: &str) -> Option<Command> {
    if image().is_some() {
        return None;
    }
    let image = named(variable)?;
    let mut again = Command::new("/proc/self/exe");
    again.env(USED, image);
    again.args(OF_EVERY_WORKSPACE.map(|module| format!("{module}::")));
    for name in OF_THE_SANDBOX {
        again.args(["--skip", name]);
    }
    Some(again)
}

fn named(variable: &str) -> Option<String> {
    let named = std::env::var(variable).ok();
    if named.is_none() && rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "{variable} is not set");
        eprintln!("skipped: {variable} is not set");
    }
    named
}

/// Whether these containers are Podman's.
pub(crate) async fn of_podman() -> bool {
    image().is_some() && Engine::connect().await.expect("there is one").about().kind == EngineKind::Podman
}

#[tokio::test]
async fn a_container_has_nothing_of_the_hosts_but_its_folders() {
    if image().is_none() {
        return;
    }
    let inside = Box::start().await;
    let canary = inside.folders.outside.path().join("canary");
    std::fs::write(&canary, "secret").expect("written");
    let home = std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned());
    // what no image has at that path
    let of_home = tempfile::NamedTempFile::new_in(home).expect("the home is the tests' own");
    let engine = Engine::connect().await.expect("there is one").about().socket.clone();
    for path in [canary.as_path(), of_home.path(), &engine, "/var/run/docker.sock".as_ref()] {
        let seen = inside.sh(&format!("ls -A '{}' 2>/dev/null | grep .", path.display())).await;
        assert_eq!(seen.stdout, "", "{}", path.display());
    }
    let mounted = inside.sh("cut -d' ' -f5 /proc/self/mountinfo").await.stdout;
    let of_ours = ["/", "/.sortie", "/etc/group", "/etc/hostname", "/etc/hosts", "/etc/passwd"];
    let of_ours = of_ours.into_iter().chain([
        "/etc/resolv.conf",
        "/home/agent",
        "/run",
        "/tmp",
        "/var/tmp",
        "/workspace",
    ]);
    let of_ours: Vec<_> = of_ours.collect();
    for point in mounted.lines() {
        let of_the_kernel = ["/dev", "/proc", "/sys"]
            .iter()
            .any(|top| point == *top || point.starts_with(&format!("{top}/")));
        assert!(of_the_kernel || of_ours.contains(&point), "{point}");
    }
    let engine = Engine::connect().await.expect("there is one");
    for name in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        // Podman has none of its own with the old cgroups: they are seen, read-only, by their names on the host
        if name == "cgroup" && of_podman().await && engine.about().cgroups == 1 {
            continue;
        }
        let own = inside.run(&["readlink", &format!("/proc/self/ns/{name}")]).await.stdout;
        let host = std::fs::read_link(format!("/proc/self/ns/{name}")).expect("it is there");
        assert!(!own.is_empty() && own.trim() != host.to_string_lossy(), "{name}");
    }
}

#[tokio::test]
async fn a_container_has_no_privilege_and_every_filter() {
    if image().is_none() {
        return;
    }
    let inside = Box::start().await;
    for who in ["self", "1"] {
        let status = inside.run(&["cat", &format!("/proc/{who}/status")]).await.stdout;
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
            line.unwrap_or_else(|| panic!("no {name}: {status}")).to_owned()
        };
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(value(set), "0000000000000000", "{who}: {set}");
        }
        assert_eq!((value("NoNewPrivs").as_str(), value("Seccomp").as_str()), ("1", "2"), "{who}");
        // four of ours, and the engine's own
        assert!(value("Seccomp_filters").parse::<u32>().expect("a number") >= 5, "{who}");
    }
    let root =
        inside.sh("touch /x /usr/x /etc/x; echo x > /etc/passwd; rm /.sortie/init; mkdir /.sortie/x").await;
    assert_eq!(
        root.stderr.lines().filter(|line| line.contains("Read-only file system")).count(),
        6,
        "{root:?}"
    );
}

#[tokio::test]
async fn the_kernels_own_files_give_a_container_nothing_and_take_nothing() {
    if image().is_none() {
        return;
    }
    let inside = Box::start().await;
    for name in ["kcore", "keys", "timer_list", "kallsyms", "config.gz", "sched_debug", "vmallocinfo"] {
        let seen = inside.sh(&format!("head -c 1 /proc/{name}")).await;
        assert_eq!(seen.stdout, "", "{name}");
    }
    assert_eq!(inside.sh("ls -A /sys/kernel /sys/firmware | grep -v :").await.stdout.trim(), "");
    for script in [
        "echo escaped > /proc/sys/kernel/hostname",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
        "echo x > /proc/sys/kernel/core_pattern",
        "echo 1 > /proc/sys/vm/drop_caches",
        "echo b > /proc/sysrq-trigger",
        "head -c 1 /proc/kmsg",
        "head -c 1 /dev/kmsg",
        "head -c 1 /dev/mem",
        "mkdir /sys/fs/cgroup/memory/x || mkdir /sys/fs/cgroup/x",
        "cat /proc/1/attr/current > /proc/self/attr/exec",
    ] {
        let outcome = inside.sh(script).await;
        assert!(outcome.exit != Exit::Code(0) && outcome.stdout.is_empty(), "{script}: {outcome:?}");
    }
    let control = inside.sh("cat /proc/sys/kernel/ostype /proc/meminfo /proc/cpuinfo").await;
    assert!(control.stdout.starts_with("Linux"), "{control:?}");
}

#[tokio::test]
async fn a_container_is_gone_when_it_was_stopped_or_its_host_let_go() {
    let Some(image) = image() else { return };
    let docker = |arguments: &[&str]| {
        let output = Command::new("docker").args(arguments).output().expect("the command is there");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    for stop in [true, false] {
        let folders = Folders::new();
        let mut config = config(image.clone(), folders.config(), &folders);
        config.task = format!("task-stop-{stop}-{}", std::process::id());
        let label = format!("label={}={}", sortie_workspace::container::TASK_LABEL, config.task);
        let beside = config.folder.clone();
        let engine = Engine::connect().await.expect("there is one");
        let container = Container::start(&engine, config).await.expect("it starts");
        assert!(!docker(&["ps", "-q", "--filter", &label]).is_empty());
        if stop {
            container.stop().await;
            assert_eq!(docker(&["ps", "-aq", "--filter", &label]), "");
        }
        drop(container);
        eventually("it is gone", async || docker(&["ps", "-aq", "--filter", &label]).is_empty()).await;
        assert!(!beside.exists());
    }
}

#[tokio::test]
async fn a_container_that_was_never_started_is_removed_by_its_owner_alone() {
    let Some(image) = image() else { return };
    let label = |owner: &str| format!("{}={owner}", sortie_workspace::container::OWNER_LABEL);
    let (ours, theirs) = (format!("ours-{}", std::process::id()), format!("theirs-{}", std::process::id()));
    let make = |owner: &str| {
        let task = format!("{}=task-222222", sortie_workspace::container::TASK_LABEL);
        let labels = ["--label", &label(owner), "--label", &task];
        let made = Command::new("docker").arg("create").args(labels).args([&image, "true"]).output();
        String::from_utf8(made.expect("the command is there").stdout).expect("an id").trim().to_owned()
    };
    let there = |id: &str| {
        let inspected = Command::new("docker").args(["inspect", id]).output();
        inspected.expect("the command is there").status.success()
    };
    let (abandoned, foreign) = (make(&ours), make(&theirs));
    let engine = Engine::connect().await.expect("there is one");
    let removed = async |age| engine.remove_abandoned(&ours, age).await.expect("it answers");
    assert_eq!(removed(LONG).await, 0);
    assert_eq!(removed(std::time::Duration::ZERO).await, 1);
    assert!(!there(&abandoned) && there(&foreign));
    assert_eq!(engine.remove_abandoned(&theirs, std::time::Duration::ZERO).await.expect("it answers"), 1);
}

#[tokio::test]
async fn what_cannot_become_a_container_says_why() {
    let Some(image) = image() else { return };
    let engine = Engine::connect().await.expect("there is one");
    let folders = Folders::new();
    let start = async |change: fn(&mut ContainerConfig)| {
        let mut config = config(image.clone(), folders.config(), &folders);
        change(&mut config);
        Container::start(&engine, config).await.expect_err("it cannot be").to_string()
    };
    let absent = start(|config| config.image = "sortie-no-such-image:1".to_owned()).await;
    assert!(absent.contains("`sortie-no-such-image:1`") && absent.contains("hint: "), "{absent}");
    let init = start(|config| config.init = b"no program".into()).await;
    // some engines say that it starts, and then that it has ended
    assert!(init.contains("cannot start the container") || init.contains("call back: it ended"), "{init}");
    let init = start(|config| config.init = b"#!/bin/true\n".into()).await;
    assert!(init.contains("did not call back: it ended"), "{init}");
    let folder = start(|config| config.work_tree = "/usr".into()).await;
    assert!(folder.contains("`/usr` cannot be a folder of the workspace"), "{folder}");
}

#[tokio::test]
async fn whoever_calls_in_the_place_of_process_1_is_turned_away() {
    let Some(image) = image() else { return };
    let engine = Engine::connect().await.expect("there is one");
    let folders = Folders::new();
    let config = config(image, folders.config(), &folders);
    let control = config.folder.join("control");
    // It is there before the container is, so that this call comes first.
    let caller = std::thread::spawn(move || {
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("a socket");
        let address = SocketAddrUnix::new(&control).expect("the path is short");
        while rustix::net::connect(&socket, &address).is_err() {
            std::thread::yield_now();
        }
        socket
    });
    let error = Container::start(&engine, config).await.expect_err("it is not process 1").to_string();
    let own = format!("process {} called on the workspace's socket", std::process::id());
    // the real one ends when it is not answered, and what Podman says of one that has just ended is not understood
    let ended = of_podman().await && error.contains("cannot inspect the container");
    assert!(error.contains(&own) || ended, "{error}");
    drop(caller.join().expect("it called"));
}
