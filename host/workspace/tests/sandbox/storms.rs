//! Init and its keepers under what commands do by mistake and in anger.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sortie_core::action::Exec;
use sortie_init::protocol::Step;
use sortie_policy::ports::{Chunk, Exit};
use sortie_workspace::client::{ClientError, Running, Stdin};
use sortie_workspace::commands::CommandLimits;

use crate::ports::{Ports, shell};
use crate::support::{Box, Folders, LONG, eventually, outcome, prober, sleepers};

async fn with_processes(processes: u64) -> Box {
    let folders = Folders::new();
    let mut config = folders.config();
    config.limits.processes = processes;
    Box::with(folders, config).await
}

#[tokio::test]
async fn a_thousand_commands_run_at_the_same_time() {
    // up to eight of this process's files for each, and some that are others'
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).expect("up to the most one may");
    let most = files.maximum.map_or(1000, |most| (most.saturating_sub(500) / 8).min(1000));
    if most < 1000 {
        eprintln!("{most} commands: this process may not open files for more");
    }
    // with the usual limits
    let inside = Box::start().await;
    // each says its own word when it has been told to, which is when all of them run
    let script = "read word; echo \"$word again\"; exit 7";
    let spec = inside.spec(&["/bin/sh", "-c", script]);
    let spawns = (0..most).map(|_| inside.spawn(&spec, Stdin::Pipe));
    let mut running: Vec<Running> = futures_util::future::join_all(spawns).await;
    let count = inside.sh("ls /proc | grep -c '^[0-9]'").await.stdout;
    assert!(count.trim().parse::<u64>().expect("a count") >= most, "{count}");
    let ends = running.iter_mut().enumerate().map(async |(number, running)| {
        running.write(format!("{number}\n").as_bytes()).await.expect("it reads");
        outcome(running).await
    });
    for (number, end) in futures_util::future::join_all(ends).await.into_iter().enumerate() {
        assert_eq!((end.exit, end.stdout), (Exit::Code(7), format!("{number} again\n")));
    }
    drop(running);
    eventually("nothing of it is left", async || {
        inside.sh("ls /proc | grep -c '^[0-9]'").await.stdout.len() == 2
    })
    .await;
}

#[tokio::test]
async fn commands_that_are_started_during_a_fork_bomb_run_or_are_refused_and_never_hang() {
    let inside = with_processes(200).await;
    let mut bomb = inside.spawn(&inside.spec(&[prober(), "--probe", "fork-bomb"]), Stdin::Null).await;
    let said = bomb.next(LONG).await.expect("it runs");
    assert!(matches!(&said, Some(Chunk::Stdout(said)) if said.starts_with(b"full\n")), "{said:?}");
    for _ in 0..4 {
        let spec = inside.spec(&["/bin/sh", "-c", "echo word"]);
        let spawns = (0..50).map(async |_| {
            let spawned = inside.sandbox.client().spawn(&spec, Stdin::Null, 1 << 20);
            match tokio::time::timeout(LONG, spawned).await.expect("init answers") {
                // a shell that cannot fork may still fail
                Ok(mut running) => drop(outcome(&mut running).await),
                Err(ClientError::Refused { step: Step::Fork, .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        });
        futures_util::future::join_all(spawns).await;
    }
    bomb.kill();
    assert_eq!(outcome(&mut bomb).await.exit, Exit::Signal(9));
    // though those that were killed count until they are reaped
    assert_eq!(inside.run(&["echo", "alive"]).await.stdout, "alive\n");
}

#[tokio::test]
async fn a_command_that_closes_its_streams_and_lives_on_has_not_ended() {
    let inside = Box::start().await;
    let seconds = format!("5{}0", std::process::id());
    let script = format!("echo first; exec sleep {seconds} <&- >&- 2>&-");
    let mut running = inside.spawn(&inside.spec(&["/bin/sh", "-c", &script]), Stdin::Null).await;
    assert_eq!(running.next(LONG).await.expect("it runs"), Some(Chunk::Stdout(b"first\n".to_vec())));
    eventually("it has closed them", async || sleepers(&seconds).len() == 1).await;
    assert_eq!(running.next(Duration::from_millis(100)).await.expect("it runs"), None);
    running.kill();
    assert_eq!(outcome(&mut running).await.exit, Exit::Signal(9));
    eventually("it is gone", async || sleepers(&seconds).is_empty()).await;
    // and one that does so and ends by itself is waited for
    let spec = inside.spec(&["/bin/sh", "-c", "exec <&- >&- 2>&-; sleep 0.2; exit 5"]);
    let mut running = inside.spawn(&spec, Stdin::Null).await;
    assert_eq!(outcome(&mut running).await.exit, Exit::Code(5));
}

#[tokio::test]
async fn a_command_that_ignores_every_signal_ends_when_its_time_is_up() {
    let inside = Box::start().await;
    let script = "trap '' TERM INT HUP QUIT USR1 USR2 PIPE; echo up; while :; do sleep 1; done";
    // before it is up they would end it
    let mut running = inside.spawn_limited(inside.spec(&["/bin/sh", "-c", script])).await;
    for signal in [1, 2, 3, 10, 12, 13, 15] {
        running.signal(signal);
    }
    assert_eq!(outcome(&mut running).await.exit, Exit::TimedOut);
    assert_eq!(inside.sh("echo alive").await.stdout, "alive\n");
}

#[tokio::test]
async fn what_an_orphan_writes_after_its_parent_has_ended_is_nobodys_and_does_no_harm() {
    let inside = Box::start().await;
    // it writes when it is told to: by then the end has been heard, and what was in the pipes has been read
    let script =
        "(until [ -e /tmp/go ]; do sleep 0.01; done; echo late; echo later >&2; touch /tmp/written) &
        echo early; exit 6";
    let mut running = inside.spawn(&inside.spec(&["/bin/sh", "-c", script]), Stdin::Null).await;
    let end = outcome(&mut running).await;
    assert_eq!((end.exit, end.stdout.as_str(), end.stderr.as_str()), (Exit::Code(6), "early\n", ""));
    // it is held, so that the orphan lives and writes, to pipes that nobody reads any more
    assert_eq!(inside.sh("touch /tmp/go").await.exit, Exit::Code(0));
    eventually("it has written", async || inside.sh("ls /tmp/written").await.exit == Exit::Code(0)).await;
    drop(running);
    assert_eq!(inside.sh("echo alive").await.stdout, "alive\n");
}

#[tokio::test]
async fn a_character_that_a_bound_cuts_in_two_is_given_out_to_the_byte() {
    let ports = Ports::open(CommandLimits::default()).await;
    // three bytes each
    let text = "€".repeat(50_000);
    ports.inside.folders.file("text", &text);
    for max_output in [1, 2, 3, 65_536, 65_537, 100_000] {
        let exec = Exec { max_output: Some(max_output), ..shell("cat text") };
        let mut process = ports.spawn(exec).await.expect("it starts");
        let mut bytes = Vec::new();
        let ended = loop {
            match process.next(LONG).await.expect("the workspace is there").expect("it goes on") {
                Chunk::Stdout(piece) => bytes.extend(piece),
                Chunk::Exit(ended) => break ended,
                other => panic!("{other:?}"),
            }
        };
        let kept = usize::try_from(max_output).expect("small");
        assert_eq!(ended.dropped, text.len() as u64 - max_output);
        assert!(bytes == text.as_bytes()[..kept], "{max_output}: {} bytes", bytes.len());
    }
    // in pieces that end within characters, nothing is lost or doubled
    let script = "printf '\\342'; sleep 0.05; printf '\\202'; sleep 0.05; printf '\\254'";
    assert_eq!(ports.inside.sh(script).await.stdout, "€");
}

#[tokio::test]
async fn a_line_without_an_end_is_given_out_as_it_comes() {
    let inside = Box::start().await;
    let script = "printf begun; sleep 1000";
    let mut running = inside.spawn(&inside.spec(&["/bin/sh", "-c", script]), Stdin::Null).await;
    assert_eq!(running.next(LONG).await.expect("it runs"), Some(Chunk::Stdout(b"begun".to_vec())));
    running.kill();
    let endless = inside.sh("head -c 5M /dev/zero | tr '\\0' x").await;
    assert!(endless.stdout.len() == 5 << 20 && endless.stdout.bytes().all(|byte| byte == b'x'));
}

#[tokio::test]
async fn a_time_zone_is_a_commands_own_and_the_clock_is_nobodys() {
    let inside = Box::start().await;
    let zone = "date +%z";
    let before = inside.sh(zone).await.stdout;
    assert_eq!(inside.sh(&format!("TZ=XYZ-13:30 {zone}")).await.stdout, "+1330\n");
    assert_ne!(inside.sh("export TZ=XYZ-13:30; echo XYZ > /etc/timezone").await.exit, Exit::Code(0));
    assert_eq!(inside.sh(zone).await.stdout, before);
    let set = inside.sh("date -s @86400; date +%Y").await;
    assert!(
        set.stdout.trim_end().ends_with(char::is_numeric) && !set.stdout.contains("1970\n1970"),
        "{set:?}"
    );
    assert!(set.stderr.contains("cannot set date") || set.stderr.contains("can't set date"), "{set:?}");
}
