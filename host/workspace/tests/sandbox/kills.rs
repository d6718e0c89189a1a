//! Whatever ends a command or a sandbox leaves nothing behind.

use std::time::Duration;

use rustix::process::{Signal, kill_process};
use sortie_policy::ports::Exit;
use sortie_workspace::client::Stdin;

use crate::support::{Box, eventually, outcome, prober, sleepers};

/// Starts a process that leaves group, session and environment behind, and outlives its parents.
const RUNAWAY: &str = "env -i setsid sh -c 'sleep 77777 & sleep 77777 & wait' & (setsid sleep 77777 &) & ";

/// How many of the runaways are there.
async fn runaways(inside: &Box) -> usize {
    inside
        .sh("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -c '^77777$'")
        .await
        .stdout
        .trim()
        .parse()
        .expect("a count")
}

async fn nothing_is_left(inside: &Box) {
    eventually("the runaways are gone", async || runaways(inside).await == 0).await;
}

#[tokio::test]
async fn a_command_whose_time_is_up_ends_with_all_that_it_started() {
    let inside = Box::start().await;
    let mut spec = inside.spec(&["/bin/sh", "-c", &format!("{RUNAWAY} sleep 77777")]);
    spec.timeout = Duration::from_millis(300);
    let mut running = inside.spawn(&spec, Stdin::Null).await;
    assert_eq!(outcome(&mut running).await.exit, Exit::TimedOut);
    nothing_is_left(&inside).await;
}

#[tokio::test]
async fn a_killed_command_ends_with_all_that_it_started() {
    let inside = Box::start().await;
    let mut running =
        inside.spawn(&inside.spec(&["/bin/sh", "-c", &format!("{RUNAWAY} sleep 77777")]), Stdin::Null).await;
    eventually("the runaways run", async || runaways(&inside).await == 4).await;
    running.kill();
    assert_eq!(outcome(&mut running).await.exit, Exit::Signal(9));
    nothing_is_left(&inside).await;
}

#[tokio::test]
async fn a_dropped_command_ends_with_all_that_it_started() {
    let inside = Box::start().await;
    let running =
        inside.spawn(&inside.spec(&["/bin/sh", "-c", &format!("{RUNAWAY} sleep 77777")]), Stdin::Null).await;
    eventually("the runaways run", async || runaways(&inside).await == 4).await;
    drop(running);
    nothing_is_left(&inside).await;
}

#[tokio::test]
async fn what_a_command_left_running_ends_when_the_command_is_let_go() {
    let inside = Box::start().await;
    let mut running =
        inside.spawn(&inside.spec(&["/bin/sh", "-c", &format!("{RUNAWAY} sleep 0.1")]), Stdin::Null).await;
    assert_eq!(outcome(&mut running).await.exit, Exit::Code(0));
    // The shell may have ended before what it started has become itself.
    eventually("the runaways run", async || runaways(&inside).await == 3).await;
    drop(running);
    nothing_is_left(&inside).await;
}

#[tokio::test]
async fn short_commands_that_leave_something_running_do_not_hold_up_the_next() {
    let inside = Box::start().await;
    let mut left = Vec::new();
    for _ in 0..50 {
        let mut running = inside.spawn(&inside.spec(&["/bin/sh", "-c", "sleep 77777 &"]), Stdin::Null).await;
        assert_eq!(outcome(&mut running).await.exit, Exit::Code(0));
        left.push(running);
    }
    // The last one's shell may have ended before what it started has become itself.
    eventually("all run", async || runaways(&inside).await == 50).await;
    drop(left);
    nothing_is_left(&inside).await;
}

#[tokio::test]
async fn a_storm_of_all_kinds_of_ends_leaves_init_at_work() {
    let inside = Box::start().await;
    let specs =
        ["true", "sleep 77777", "sleep 77777 & true", "setsid sleep 77777 & sleep 77777", "kill -9 $PPID"]
            .map(|script| inside.spec(&["/bin/sh", "-c", script]));
    for _ in 0..20 {
        let one = async |number: usize| {
            let spec = &specs[number % specs.len()];
            let mut running = inside.sandbox.client().spawn(spec, Stdin::Null, 0).await.expect("it starts");
            match number % 3 {
                0 => drop(running),
                1 => running.kill(),
                _ => drop(running.next(Duration::from_millis(number as u64 % 7)).await),
            }
        };
        futures_util::future::join_all((0..30).map(one)).await;
    }
    nothing_is_left(&inside).await;
    assert_eq!(inside.sh("echo alive").await.stdout, "alive\n");
}

#[tokio::test]
async fn killing_ones_keeper_is_killing_oneself() {
    let inside = Box::start().await;
    let script = format!("{RUNAWAY} sleep 0.1; kill -9 $PPID; sleep 77777");
    let mut running = inside.spawn(&inside.spec(&["/bin/sh", "-c", &script]), Stdin::Null).await;
    assert_eq!(outcome(&mut running).await.exit, Exit::Signal(9));
    nothing_is_left(&inside).await;
}

#[tokio::test]
async fn stopping_ones_keeper_is_killing_oneself() {
    let inside = Box::start().await;
    let script = format!("{RUNAWAY} sleep 0.1; kill -STOP $PPID; sleep 77777");
    let mut running = inside.spawn(&inside.spec(&["/bin/sh", "-c", &script]), Stdin::Null).await;
    assert_eq!(outcome(&mut running).await.exit, Exit::Signal(9));
    nothing_is_left(&inside).await;
}

#[tokio::test]
async fn stopping_everybody_stops_no_further_command() {
    let inside = Box::start().await;
    let mut running =
        inside.spawn(&inside.spec(&["/bin/sh", "-c", "kill -STOP -1; sleep 77777"]), Stdin::Null).await;
    assert_eq!(outcome(&mut running).await.exit, Exit::Signal(9));
    assert_eq!(inside.sh("echo alive").await.stdout, "alive\n");
    nothing_is_left(&inside).await;
}

#[tokio::test]
async fn who_stops_commands_before_they_are_themselves_holds_up_nothing_for_ever() {
    let inside = Box::start().await;
    let attack = inside.spec(&[prober(), "--probe", "stop-newborn", "0"]);
    let mut attack = inside.spawn(&attack, Stdin::Pipe).await;
    // a keeper that is there already: one that is born later is itself stopped, and ends for that
    assert_eq!(inside.sh("echo first").await.stdout, "first\n");
    attack.write(b"go\n").await.expect("it reads");
    assert!(attack.next(crate::support::LONG).await.expect("it runs").is_some());
    let mut victim = inside.spec(&["true"]);
    // for those that are stopped too late
    victim.timeout = Duration::from_millis(100);
    let mut ends = Vec::new();
    while ends.len() < 100 && !ends.contains(&Exit::Signal(9)) {
        let mut running = inside.spawn(&victim, Stdin::Null).await;
        ends.push(outcome(&mut running).await.exit);
    }
    drop(attack);
    // who is born before it is gone may still be stopped by it
    let alive = async || inside.sh("echo alive").await.stdout == "alive\n";
    eventually(&format!("commands run again after {ends:?}"), alive).await;
}

#[tokio::test]
async fn a_command_and_its_group_end_at_one_stroke() {
    let inside = Box::start().await;
    let init = inside.numbers().await.init;
    let seconds = format!("6{}0", std::process::id());
    let script = format!("sleep {seconds} & sleep {seconds} & wait");
    let mut running = inside.spawn(&inside.spec(&["/bin/sh", "-c", &script]), Stdin::Null).await;
    eventually("the sleepers run", async || sleepers(&seconds).len() == 2).await;
    // Process 1 sweeps up what a keeper leaves. While it stands still, only the keeper itself is at work.
    kill_process(init, Signal::STOP).expect("it is ours");
    running.kill();
    assert_eq!(outcome(&mut running).await.exit, Exit::Signal(9));
    eventually("the group is gone", async || sleepers(&seconds).is_empty()).await;
    kill_process(init, Signal::CONT).expect("it is ours");
    assert_eq!(inside.sh("echo alive").await.stdout, "alive\n");
}

#[tokio::test]
async fn everything_ends_with_the_helper_though_the_control_socket_is_held() {
    let inside = Box::start().await;
    let helper = inside.numbers().await.helper;
    let seconds = format!("7{}0", std::process::id());
    let running = inside.spawn(&inside.spec(&["sleep", &seconds]), Stdin::Null).await;
    eventually("the sleeper runs", async || sleepers(&seconds).len() == 1).await;
    kill_process(helper, Signal::KILL).expect("it is ours");
    eventually("the sleeper is gone", async || sleepers(&seconds).is_empty()).await;
    drop((running, inside));
}

#[tokio::test]
async fn ending_one_command_leaves_the_others_alone() {
    let inside = Box::start().await;
    let spec =
        inside.spec(&["/bin/sh", "-c", "setsid sleep 66666 & setsid sleep 66666 & read line; echo $line"]);
    let mut other = inside.spawn(&spec, Stdin::Pipe).await;
    for _ in 0..20 {
        drop(
            inside
                .spawn(&inside.spec(&["/bin/sh", "-c", &format!("{RUNAWAY} sleep 77777")]), Stdin::Null)
                .await,
        );
    }
    nothing_is_left(&inside).await;
    let count =
        inside.sh("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -c '^66666$'").await.stdout;
    assert_eq!(count, "2\n");
    other.write(b"still here\n").await.expect("it reads");
    assert_eq!(outcome(&mut other).await.stdout, "still here\n");
}

#[tokio::test]
async fn process_1_cannot_be_signalled_from_inside() {
    let inside = Box::start().await;
    inside.sh("kill -9 1; kill -STOP 1; kill -TERM 1; kill -CHLD 1; kill -INT 1").await;
    assert_eq!(inside.sh("echo alive").await.stdout, "alive\n");
}

#[tokio::test]
async fn nothing_runs_when_stop_returns() {
    let inside = Box::start().await;
    let seconds = format!("8{}0", std::process::id());
    let script = format!("setsid sleep {seconds} & setsid sleep {seconds} & wait");
    let running = inside.spawn(&inside.spec(&["/bin/sh", "-c", &script]), Stdin::Null).await;
    eventually("the sleepers run", async || sleepers(&seconds).len() == 2).await;
    inside.sandbox.stop().await.expect("it ends");
    assert!(sleepers(&seconds).is_empty());
    drop(running);
}

#[tokio::test]
async fn dropping_the_sandbox_ends_it_too() {
    let inside = Box::start().await;
    let seconds = format!("9{}0", std::process::id());
    let running = inside.spawn(&inside.spec(&["sleep", &seconds]), Stdin::Null).await;
    eventually("the sleeper runs", async || sleepers(&seconds).len() == 1).await;
    let Box { sandbox, folders } = inside;
    drop(sandbox);
    eventually("the sleeper is gone", async || sleepers(&seconds).is_empty()).await;
    drop((running, folders));
}

#[tokio::test]
async fn a_command_of_a_stopped_sandbox_is_an_error_and_not_a_wait() {
    let inside = Box::start().await;
    let mut running = inside.spawn(&inside.spec(&["sleep", "1000"]), Stdin::Null).await;
    inside.sandbox.stop().await.expect("it ends");
    let error = running.next(crate::support::LONG).await.expect_err("it is gone");
    assert_eq!(error.to_string(), "the workspace is gone");
    let result = inside.sandbox.client().spawn(&inside.spec(&["true"]), Stdin::Null, 0).await;
    assert_eq!(result.expect_err("it is gone").to_string(), "the workspace is gone");
}

#[tokio::test]
async fn stopping_twice_is_stopping_once() {
    let inside = Box::start().await;
    inside.sandbox.stop().await.expect("it ends");
    inside.sandbox.stop().await.expect("it ends");
}
