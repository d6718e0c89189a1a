//! What uses up too much ends, and the host and the sandbox live on.

use sortie_policy::ports::{Chunk, Exit};
use sortie_workspace::client::Stdin;
use sortie_workspace::sandbox::{Accepted, Keeper, Limits, Reduced, Sandbox, SandboxError};

use crate::containers;
use crate::support::{Box, Folders, LONG, beneath, eventually, outcome};

async fn limited(change: impl FnOnce(&mut Limits)) -> Box {
    let folders = Folders::new();
    let mut config = folders.config();
    change(&mut config.limits);
    Box::with(folders, config).await
}

#[tokio::test]
async fn a_fork_bomb_stays_within_its_limit_and_can_be_ended() {
    let inside = limited(|limits| limits.processes = 100).await;
    let init = inside.numbers().await.init;
    let mut bomb =
        inside.spawn(&inside.spec(&[crate::support::prober(), "--probe", "fork-bomb"]), Stdin::Null).await;
    let said = bomb.next(LONG).await.expect("the workspace is there");
    assert!(matches!(&said, Some(Chunk::Stdout(said)) if said.starts_with(b"full\n")), "{said:?}");
    // a fork counts before it can be seen
    let mut count = 0;
    eventually("it is full", async || {
        count = beneath(init);
        count >= 81
    })
    .await;
    assert!(count <= 100, "{count}");
    bomb.kill();
    assert_eq!(outcome(&mut bomb).await.exit, Exit::Signal(9));
    eventually("there is room for a command again", async || {
        let spec = inside.spec(&["/bin/sh", "-c", "ls /proc | grep -c '^[0-9]'"]);
        let Ok(mut running) = inside.sandbox.client().spawn(&spec, Stdin::Null, 1 << 20).await else {
            return false;
        };
        outcome(&mut running).await.stdout.trim().parse::<u32>().is_ok_and(|count| count < 10)
    })
    .await;
    inside.sandbox.stop().await.expect("it ends");
}

#[tokio::test]
async fn one_process_cannot_have_more_memory_than_all() {
    let inside = limited(|limits| limits.memory = 512 << 20).await;
    let little = inside.probe(&["eat", "private", "100"]).await;
    assert_eq!(little.exit, Exit::Code(0), "control: {little:?}");
    let much = inside.probe(&["eat", "private", "2000"]).await;
    assert_ne!(much.exit, Exit::Code(0), "{much:?}");
    assert_eq!(inside.sh("echo alive").await.stdout, "alive\n");
}

#[tokio::test]
async fn shared_memory_counts_too() {
    let inside = limited(|limits| limits.memory = 512 << 20).await;
    let much = inside.probe(&["eat", "shared", "3000"]).await;
    assert_ne!(much.exit, Exit::Code(0), "{much:?}");
    assert_eq!(inside.sh("echo alive").await.stdout, "alive\n");
}

#[tokio::test]
async fn what_a_process_holds_whose_first_thread_has_ended_counts_too() {
    let inside = limited(|limits| limits.memory = 512 << 20).await;
    let little = inside.probe(&["attack", "headless", "100"]).await;
    assert_eq!(little.exit, Exit::Code(0), "control: {little:?}");
    let much = inside.probe(&["attack", "headless", "3000"]).await;
    assert_ne!(much.exit, Exit::Code(0), "{much:?}");
    assert_eq!(inside.sh("echo alive").await.stdout, "alive\n");
}

#[tokio::test]
async fn many_processes_cannot_have_more_memory_than_all() {
    let inside = limited(|limits| limits.memory = 512 << 20).await;
    let much = inside.probe(&["eat", "children", "2400"]).await;
    assert_ne!(much.exit, Exit::Code(0), "{much:?}");
    assert_eq!(inside.sh("echo alive").await.stdout, "alive\n");
}

#[tokio::test]
async fn temporary_folders_have_an_end() {
    let inside = limited(|limits| (limits.tmp, limits.shared_memory) = (8 << 20, 4 << 20)).await;
    let podman = containers::of_podman().await;
    for (path, limit) in [("/tmp", 8 << 20), ("/dev/shm", 4 << 20), ("/run", 16 << 20)] {
        // The image's own mode of this folder counts where it uses runc.
        if podman && path == "/run" {
            continue;
        }
        let outcome = inside.sh(&format!("cat /dev/zero > {path}/full; stat -c %s {path}/full")).await;
        assert!(outcome.stderr.contains("No space left"), "{outcome:?}");
        assert_eq!(outcome.stdout.trim().parse::<u64>().expect("a size"), limit, "{path}");
    }
    if podman {
        // It knows of no end of names: what they take up counts as memory.
        return;
    }
    // Nor does an end of sizes help while names are free.
    let names = inside
        .sh("rm /tmp/full; i=0; while [ $i -lt 9000 ] && : > /tmp/$i; do i=$((i+1)); done; echo $i")
        .await;
    assert!(names.stderr.contains("No space left"), "{names:?}");
}

#[tokio::test]
async fn a_file_has_an_end() {
    let inside = limited(|limits| limits.file = 1 << 20).await;
    let outcome = inside.sh("head -c 2M /dev/zero > /workspace/long; stat -c %s /workspace/long").await;
    assert_eq!(outcome.stdout.trim(), (1 << 20).to_string());
}

#[tokio::test]
async fn each_process_has_its_limits_and_cannot_raise_them() {
    let inside = limited(|limits| {
        (limits.file, limits.open_files) = (7 << 20, 777);
        (limits.processes, limits.memory) = (333, 555 << 20);
    })
    .await;
    let text = inside.sh("cat /proc/self/limits").await.stdout;
    let limit = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel lists it");
        let [soft, hard] = [0, 1].map(|n| line.split_whitespace().nth(n).unwrap_or_default().to_owned());
        (soft.parse().unwrap_or(u64::MAX), hard.parse().unwrap_or(u64::MAX))
    };
    let mut expected = vec![
        ("Max core file size", (0, 0)),
        ("Max file size", (7 << 20, 7 << 20)),
        ("Max open files", (777, 777)),
    ];
    if inside.sandbox.enforced().memory == Keeper::Process {
        expected.push(("Max processes", (333, 333)));
        expected.push(("Max data size", (555 << 20, 555 << 20)));
    }
    let found: Vec<_> = expected.iter().map(|(name, _)| (*name, limit(name))).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_limit_of_processor_time_is_kept_or_refused() {
    let folders = Folders::new();
    let mut config = folders.config();
    config.limits.cpus = Some(0.5);
    match Sandbox::start(config.clone()).await {
        Ok(sandbox) => assert!(sandbox.enforced().cpus),
        Err(error) => {
            assert!(matches!(error, SandboxError::Unenforceable { .. }), "{error}");
            let text = error.to_string();
            assert!(text.ends_with("`--accept no-cpu-limit`") && !text.contains('\n'), "{text}");
            // another name is no help
            config.limits.accepted = Accepted::default().and(Reduced::Memory).and(Reduced::Processes);
            assert!(Sandbox::start(config.clone()).await.is_err());
        }
    }
    config.limits.accepted = Accepted::default().and(Reduced::Cpus);
    let sandbox = Sandbox::start(config.clone()).await.unwrap_or_else(|error| panic!("it starts: {error}"));
    let reduced: Vec<_> = sandbox.enforced().reduced(&config.limits).collect();
    assert_eq!(
        reduced.is_empty(),
        sandbox.enforced().cpus,
        "what is accepted is kept all the same where it can be"
    );
}

#[tokio::test]
async fn who_keeps_the_limits_is_said() {
    let inside = Box::start().await;
    let enforced = inside.sandbox.enforced();
    let bound = inside.sh("ulimit -d").await.stdout;
    assert_eq!(enforced.memory == Keeper::Process, bound != "unlimited\n", "{bound}");
    assert_eq!(enforced.memory, enforced.processes);
    assert_eq!(enforced.landlock.is_some(), crate::probes::has_landlock());
}

#[tokio::test]
async fn out_of_memory_a_command_goes_before_process_1() {
    let inside = Box::start().await;
    assert_eq!(inside.sh("cat /proc/self/oom_score_adj").await.stdout, "500\n");
    assert_eq!(inside.sh("cat /proc/1/oom_score_adj").await.stdout, "0\n");
}

#[tokio::test]
async fn cgroups_of_a_process_that_was_killed_are_removed_by_the_next() {
    let inside = Box::start().await;
    if inside.sandbox.enforced().memory != Keeper::Cgroup {
        return;
    }
    let own = std::process::Command::new("find")
        .args(["/sys/fs/cgroup", "-name", &format!("sortie-{}-*", std::process::id())])
        .output()
        .expect("find runs");
    let own = String::from_utf8_lossy(&own.stdout)
        .lines()
        .next()
        .map(std::path::PathBuf::from)
        .expect("there is one");
    // No process has this number.
    let stale = own.with_file_name("sortie-4194305-0");
    std::fs::create_dir_all(&stale).expect("whoever made the other can make this");
    let another = Box::start().await;
    assert!(!stale.exists());
    drop((inside, another));
}

#[tokio::test]
async fn stopping_removes_the_cgroups() {
    let inside = Box::start().await;
    if inside.sandbox.enforced().memory != Keeper::Cgroup {
        return;
    }
    let helper = inside.spawn(&inside.spec(&["sleep", "1000"]), Stdin::Null).await;
    let init = inside.numbers().await.init.as_raw_pid();
    let cgroups = std::fs::read_to_string(format!("/proc/{init}/cgroup")).expect("it runs");
    let own = cgroups.split(['/', '\n']).find(|name| name.starts_with("sortie-")).expect("it is in one");
    let is_there = || {
        let found = std::process::Command::new("find").args(["/sys/fs/cgroup", "-name", own]).output();
        !found.expect("find runs").stdout.is_empty()
    };
    assert!(is_there(), "{cgroups}");
    inside.sandbox.stop().await.expect("it ends");
    assert!(!is_there(), "{own}");
    drop((helper, LONG));
}
