//! What commands do to their keepers and to process 1 does not keep them from being ended, nor others from running.

use std::collections::HashSet;
use std::time::Duration;

use rustix::process::Pid;
use sortie_init::processes;
use sortie_policy::ports::{Chunk, Exit};
use sortie_workspace::client::{Running, Spec, Stdin};

use crate::support::{Box, LONG, eventually, outcome, prober};

/// Starts an attack, which has begun when this returns.
async fn attack(inside: &Box, arguments: &[&str]) -> Running {
    let mut running = inside.spawn(&spec(inside, arguments), Stdin::Null).await;
    assert_eq!(word(&mut running).await, "up\n");
    running
}

fn spec(inside: &Box, arguments: &[&str]) -> Spec {
    inside.spec(&[&[prober(), "--probe", "attack"], arguments].concat())
}

async fn word(running: &mut Running) -> String {
    match running.next(LONG).await.expect("the workspace is there") {
        Some(Chunk::Stdout(bytes)) => String::from_utf8(bytes).expect("letters"),
        other => panic!("{other:?}"),
    }
}

async fn nothing_is_left(inside: &Box) {
    eventually("nothing is left", async || {
        // process 1, a keeper, the shell and the two
        inside
            .sh("ls /proc | grep -c '^[0-9]'")
            .await
            .stdout
            .trim()
            .parse::<u32>()
            .is_ok_and(|count| count <= 6)
    })
    .await;
}

#[tokio::test]
async fn a_command_cannot_leave_its_process_group_and_what_it_started_that_has_is_killed_all_the_same() {
    let inside = Box::start().await;
    let mut running = attack(&inside, &["leave-group"]).await;
    running.kill();
    assert_eq!(outcome(&mut running).await.exit, Exit::Signal(9));
    drop(running);
    nothing_is_left(&inside).await;
}

#[tokio::test]
async fn a_command_that_is_traced_as_it_dies_is_told_to_have_ended_and_ends() {
    let inside = Box::start().await;
    let mut running = attack(&inside, &["held"]).await;
    running.kill();
    assert_eq!(outcome(&mut running).await.exit, Exit::Signal(9));
    drop(running);
    nothing_is_left(&inside).await;
}

#[tokio::test]
async fn what_one_command_left_behind_cannot_be_held_by_another_that_traces_it() {
    let inside = Box::start().await;
    let mut held = inside.spawn(&spec(&inside, &["wait"]), Stdin::Null).await;
    let pid = word(&mut held).await;
    let mut holder = attack(&inside, &["hold", pid.trim()]).await;
    drop(held);
    eventually("it is gone", async || {
        inside.sh(&format!("test -e /proc/{}", pid.trim())).await.exit != Exit::Code(0)
    })
    .await;
    assert_eq!(outcome(&mut holder).await.exit, Exit::Signal(9));
    drop(holder);
    nothing_is_left(&inside).await;
}

#[tokio::test]
async fn a_command_that_stops_to_be_looked_at_by_its_keeper_has_not_ended() {
    let inside = Box::start().await;
    let mut running = inside.spawn_limited(spec(&inside, &["trace-me"])).await;
    assert_eq!(outcome(&mut running).await.exit, Exit::TimedOut);
    drop(running);
    nothing_is_left(&inside).await;
}

#[tokio::test]
async fn who_floods_its_keeper_with_word_of_deaths_ends_when_its_time_is_up() {
    let inside = Box::start().await;
    let mut running = inside.spawn_limited(spec(&inside, &["pester", "8"])).await;
    assert_eq!(outcome(&mut running).await.exit, Exit::TimedOut);
    drop(running);
    nothing_is_left(&inside).await;
}

/// Whether a child of a keeper's is stopped that has not become its command yet.
fn is_start_stopped(init: Pid) -> bool {
    let all = processes::all();
    let keepers: HashSet<i32> =
        all.iter().filter(|process| process.parent == init.as_raw_pid()).map(|process| process.pid).collect();
    // its name and its state
    let stat = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = stat.split_once(" (")?.1.rsplit_once(") ")?;
        Some((name.to_owned(), rest.starts_with('T')))
    };
    all.iter().filter(|process| keepers.contains(&process.parent)).any(|process| {
        matches!((stat(process.parent), stat(process.pid)),
            (Some((keeper, _)), Some((name, true))) if name == keeper)
    })
}

#[tokio::test]
async fn who_stops_a_command_before_it_is_itself_holds_it_up_for_a_while_though_another_keeper_sits_down() {
    let inside = Box::start().await;
    let init = inside.numbers().await.init;
    // its keeper has risen, and sits down when it ends
    let mut other = inside.spawn(&inside.spec(&["/bin/sh", "-c", "read line"]), Stdin::Pipe).await;
    let stopper = inside.spec(&[prober(), "--probe", "stop-newborn", "1"]);
    let mut victim = inside.spec(&["true"]);
    // for those that are stopped too late
    victim.timeout = Duration::from_millis(100);
    let deadline = tokio::time::Instant::now() + LONG;
    while tokio::time::Instant::now() < deadline {
        let mut stopper = inside.spawn(&stopper, Stdin::Pipe).await;
        // who would take the next request: now a keeper is born for it, and is spared
        inside.sh("kill -9 $PPID").await;
        stopper.write(b"go\n").await.expect("it reads");
        assert_eq!(word(&mut stopper).await, "up\n");
        let victim = async {
            let mut running = inside.spawn(&victim, Stdin::Null).await;
            outcome(&mut running).await.exit
        };
        let stopped = eventually("the command ends or is stopped", async || is_start_stopped(init));
        tokio::pin!(victim);
        let is_stopped = tokio::select! {
            () = stopped => true,
            _ = &mut victim => false,
        };
        // before anything else is born
        stopper.kill();
        assert_eq!(outcome(&mut stopper).await.exit, Exit::Signal(9));
        if !is_stopped {
            continue;
        }
        other.write(b"\n").await.expect("it reads");
        assert_eq!(outcome(&mut other).await.exit, Exit::Code(0));
        assert_eq!(inside.sh("echo alive").await.stdout, "alive\n");
        assert_eq!(victim.await, Exit::Signal(9));
        drop(other);
        return nothing_is_left(&inside).await;
    }
    panic!("no command was stopped before it was itself");
}

#[tokio::test]
async fn killing_everybody_over_and_over_keeps_no_further_command_from_running() {
    let inside = Box::start().await;
    for _ in 0..200 {
        let short = async || {
            let spawned = inside.sandbox.client().spawn(&inside.spec(&["true"]), Stdin::Null, 0).await;
            let mut running = spawned.expect("the workspace is there");
            outcome(&mut running).await
        };
        // one that kills each keeper there is, those that are sitting down among them
        let all = inside.run(&["/bin/sh", "-c", "kill -9 -1"]);
        tokio::join!(short(), all, short());
    }
    assert_eq!(inside.sh("echo alive").await.stdout, "alive\n");
    nothing_is_left(&inside).await;
}
