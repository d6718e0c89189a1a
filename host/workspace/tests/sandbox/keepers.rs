//! What commands do to their keepers and to process 1 does not keep them from being ended, nor others from running.

use std::time::Duration;

use sortie_policy::ports::{Chunk, Exit};
use sortie_workspace::client::{Running, Stdin};

use crate::support::{Box, LONG, eventually, outcome, prober};

/// Starts an attack, which has begun when this returns.
async fn attack(inside: &Box, arguments: &[&str]) -> Running {
    attack_within(inside, arguments, Duration::ZERO).await
}

async fn attack_within(inside: &Box, arguments: &[&str], timeout: Duration) -> Running {
    let mut spec = inside.spec(&[&[prober(), "--probe", "attack"], arguments].concat());
    spec.timeout = timeout;
    let mut running = inside.spawn(&spec, Stdin::Null).await;
    assert_eq!(word(&mut running).await, "up\n");
    running
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
async fn a_command_that_left_its_process_group_is_killed_all_the_same() {
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
    let wait = inside.spec(&[prober(), "--probe", "attack", "wait"]);
    let mut held = inside.spawn(&wait, Stdin::Null).await;
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
    let mut running = attack_within(&inside, &["trace-me"], Duration::from_secs(2)).await;
    assert_eq!(outcome(&mut running).await.exit, Exit::TimedOut);
    drop(running);
    nothing_is_left(&inside).await;
}

#[tokio::test]
async fn who_floods_its_keeper_with_word_of_deaths_ends_when_its_time_is_up() {
    let inside = Box::start().await;
    let mut running = attack_within(&inside, &["pester", "8"], Duration::from_secs(2)).await;
    assert_eq!(outcome(&mut running).await.exit, Exit::TimedOut);
    drop(running);
    nothing_is_left(&inside).await;
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
