//! Commands in the background, and the limits that ends name.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sortie_core::action::Exec;
use sortie_policy::ports::{
    Background, Chunk, CommandLimit, Commands as _, Ended, ErrorCode, Exit, LimitReached, Process,
};
use sortie_workspace::commands::{BackgroundWatch, CommandLimits, WorkspaceCommands};
use sortie_workspace::sandbox::{Keeper, Limits};

use crate::ports::{Ports, code, shell};
use crate::support::{Box as Inside, Folders, LONG, eventually, prober, sleepers};

/// A number of seconds that no other command on this machine sleeps.
fn seconds() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("7{}{:03}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

async fn start(ports: &Ports, exec: Exec) -> String {
    let process = ports.spawn(Exec { background: true, ..exec }).await.expect("it starts");
    process.detach().await.expect("there is room")
}

async fn attach(ports: &Ports, id: &str) -> Box<dyn Process> {
    ports.commands.attach(id).await.expect("it is there")
}

/// Reads until these words have come.
async fn read_until(process: &mut Box<dyn Process>, words: &str) {
    let mut text = String::new();
    while !text.contains(words) {
        match process.next(LONG).await.expect("the workspace is there").expect("it goes on") {
            Chunk::Stdout(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
            // a shell tells of its children's ends there
            Chunk::Stderr(_) => {}
            other => panic!("{other:?} after {text}"),
        }
    }
}

/// Reads to the end; what came before is of no concern.
async fn end(process: &mut Box<dyn Process>) -> Ended {
    loop {
        let chunk = process.next(LONG).await.expect("the workspace is there").expect("it goes on");
        if let Chunk::Exit(ended) = chunk {
            return ended;
        }
    }
}

fn state(ports: &Ports) -> Vec<(String, Option<Exit>)> {
    ports.commands.background().into_iter().map(|command| (command.id, command.exit)).collect()
}

#[tokio::test]
async fn background_commands_have_short_ids_and_are_listed_with_their_end() {
    let ports = Ports::open(CommandLimits::default()).await;
    assert_eq!(start(&ports, shell("sleep 1000")).await, "p1");
    assert_eq!(start(&ports, shell("exit 4")).await, "p2");
    let expected = [("p1".to_owned(), None), ("p2".to_owned(), Some(Exit::Code(4)))];
    eventually("the second has ended", async || state(&ports) == expected).await;
    let list = ports.commands.background();
    assert_eq!(list[0].command, "/bin/sh -c 'sleep 1000'");
    assert!(list[0].age > Duration::ZERO);
    assert_eq!(list[1].age, ports.commands.background()[1].age, "the age of what ended stands still");
}

#[tokio::test]
async fn the_end_can_be_read_again_after_it_was_read() {
    let ports = Ports::open(CommandLimits::default()).await;
    let id = start(&ports, shell("echo word; exit 4")).await;
    for output in ["word\n", "", ""] {
        let mut process = attach(&ports, &id).await;
        let mut text = Vec::new();
        let ended = loop {
            match process.next(LONG).await.expect("the workspace is there").expect("it goes on") {
                Chunk::Stdout(bytes) => text.extend(bytes),
                Chunk::Exit(ended) => break ended,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((ended, String::from_utf8_lossy(&text).as_ref()), (Ended::of(Exit::Code(4)), output));
        assert_eq!(process.next(Duration::ZERO).await.expect("it is over"), None);
        process.detach().await.expect("it has its place");
    }
}

#[tokio::test]
async fn what_was_not_asked_for_the_background_is_not_detached_and_dies() {
    let ports = Ports::open(CommandLimits::default()).await;
    let seconds = seconds();
    let process = ports.spawn(shell(&format!("exec sleep {seconds}"))).await.expect("it starts");
    eventually("it runs", async || !sleepers(&seconds).is_empty()).await;
    assert_eq!(code(process.detach().await), Some(ErrorCode::Invalid));
    eventually("it is gone", async || sleepers(&seconds).is_empty()).await;
    assert_eq!(ports.commands.background(), []);
}

#[tokio::test]
async fn places_are_freed_by_ends_and_the_oldest_ends_are_forgotten() {
    let ports = Ports::open(CommandLimits::default()).await;
    for number in 1..=150 {
        start(&ports, shell("true")).await;
        eventually("it has ended", async || state(&ports).last().is_some_and(|(_, exit)| exit.is_some()))
            .await;
        assert!(ports.commands.background().len() <= 65, "after {number}");
    }
    assert_eq!(code(ports.commands.attach("p1").await), Some(ErrorCode::NotFound));
    assert_eq!(end(&mut attach(&ports, "p150").await).await.exit, Exit::Code(0));
    for _ in 0..64 {
        start(&ports, shell("sleep 1000")).await;
    }
    let refused = ports.spawn(Exec { background: true, ..shell("sleep 1000") }).await.expect("it starts");
    assert_eq!(code(refused.detach().await), Some(ErrorCode::Unavailable));
}

#[tokio::test]
async fn terminating_reaches_the_group_and_what_ignores_it_is_killed_with_those_of_its_own_session() {
    let ports = Ports::open(CommandLimits::default()).await;
    let seconds = seconds();
    let script =
        format!("trap '' TERM; setsid sleep {seconds} & sleep {seconds} & echo up; wait; wait; sleep 1000");
    let id = start(&ports, shell(&script)).await;
    let mut process = attach(&ports, &id).await;
    read_until(&mut process, "up\n").await;
    eventually("both run", async || sleepers(&seconds).len() == 2).await;
    process.terminate().await.expect("the workspace is there");
    process.kill().await.expect("the workspace is there");
    assert_eq!(end(&mut process).await.exit, Exit::Signal(9));
    process.detach().await.expect("it has its place");
    eventually("nothing is left", async || sleepers(&seconds).is_empty()).await;
}

#[tokio::test]
async fn a_command_that_is_asked_to_end_may_tidy_up() {
    let ports = Ports::open(CommandLimits::default()).await;
    let id =
        start(&ports, shell("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done")).await;
    let mut process = attach(&ports, &id).await;
    read_until(&mut process, "up\n").await;
    process.terminate().await.expect("the workspace is there");
    read_until(&mut process, "bye\n").await;
    assert_eq!(end(&mut process).await.exit, Exit::Code(3));
}

#[tokio::test]
async fn when_a_background_command_ends_all_that_it_started_does() {
    let ports = Ports::open(CommandLimits::default()).await;
    let seconds = seconds();
    let id = start(&ports, shell(&format!("setsid sleep {seconds} & read line"))).await;
    let expected = [(id, Some(Exit::Code(1)))];
    eventually("it has ended", async || state(&ports) == expected).await;
    eventually("nothing is left", async || sleepers(&seconds).is_empty()).await;
}

#[tokio::test]
async fn a_terminal_in_the_background_takes_keys() {
    let ports = Ports::open(CommandLimits::default()).await;
    // No program of its own before the one that is to be interrupted: a shell that waits for one which ends well
    // takes the interruption as that one's, and goes on.
    let script = "[ -t 0 ] && [ -t 1 ] && echo terminal; exec sleep 1000";
    let id = start(&ports, Exec { tty: true, ..shell(script) }).await;
    let mut process = attach(&ports, &id).await;
    read_until(&mut process, "terminal").await;
    process.write(b"\x03").await.expect("a terminal has an input");
    assert_eq!(end(&mut process).await.exit, Exit::Signal(2));
}

#[tokio::test]
async fn input_that_a_background_command_does_not_read_is_an_error_and_leaves_it_alive() {
    let ports = Ports::open(CommandLimits::default()).await;
    let seconds = seconds();
    let mut process = ports
        .spawn(Exec { background: true, stdin: true, ..shell(&format!("exec sleep {seconds}")) })
        .await
        .expect("it starts");
    let written = process.write(&vec![b'x'; 1 << 20]).await.expect_err("nobody reads it");
    assert_eq!(written.code, ErrorCode::Unavailable);
    assert!(written.message.contains("does not read"), "{written}");
    process.detach().await.expect("there is room");
    eventually("it lives", async || sleepers(&seconds).len() == 1).await;
}

#[tokio::test]
async fn a_flood_of_small_pieces_keeps_its_tail_and_says_how_much_is_missing() {
    let ports = Ports::open(CommandLimits::default()).await;
    // lines of 9 bytes, now on the one stream and now on the other
    let script = "i=10000000; while [ $i -lt 10100000 ]; do echo $i; echo $i >&2; i=$((i+1)); done; touch done; sleep 1000";
    let id = start(&ports, shell(script)).await;
    eventually("it has written all", async || ports.inside.folders.work_tree.join("done").exists()).await;
    let mut process = attach(&ports, &id).await;
    process.kill().await.expect("the workspace is there");
    let (mut kept, mut skipped, mut last) = (0, 0, Vec::new());
    loop {
        match process.next(LONG).await.expect("the workspace is there").expect("it goes on") {
            Chunk::Stdout(bytes) | Chunk::Stderr(bytes) => {
                kept += bytes.len() as u64;
                last = bytes;
            }
            Chunk::Skipped(bytes) => {
                assert_eq!(kept, 0, "what is missing was the oldest");
                skipped += bytes;
            }
            Chunk::Exit(ended) => break assert_eq!((ended.exit, ended.dropped), (Exit::Signal(9), 0)),
        }
    }
    assert_eq!(kept + skipped, 2 * 9 * 100_000);
    assert!(skipped > 0 && kept <= (1 << 20) + (256 << 10), "{kept} kept, {skipped} missing");
    assert!(last.ends_with(b"10099999\n"));
}

/// Remembers what it is told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl BackgroundWatch for Told {
    fn started(&self, command: &Background) {
        self.0.lock().expect("lock").push(format!("{} started", command.id));
    }

    fn ended(&self, command: &Background) {
        let exit = command.exit.expect("it has ended");
        self.0.lock().expect("lock").push(format!("{} {exit}", command.id));
    }
}

#[tokio::test]
async fn each_begin_and_each_end_is_told_once_however_it_ends() {
    let mut ports = Ports::open(CommandLimits::default()).await;
    let told = Arc::new(Told::default());
    let watch = Arc::clone(&told);
    ports.change(|commands: WorkspaceCommands| commands.with_watch(watch));
    // by itself; by being dropped; at the end, parked and held
    start(&ports, shell("exit 3")).await;
    eventually("the first has ended", async || state(&ports)[0].1.is_some()).await;
    let dropped = start(&ports, shell("sleep 1000")).await;
    drop(attach(&ports, &dropped).await);
    let parked = start(&ports, shell("sleep 1000")).await;
    let held = start(&ports, shell("sleep 1000")).await;
    let process = attach(&ports, &held).await;
    let left: Vec<_> = ports.commands.end_background().await.into_iter().map(|left| left.id).collect();
    assert_eq!(left, [parked, held]);
    drop(process);
    assert_eq!(ports.commands.end_background().await, []);
    let expected = [
        "p1 started",
        "p1 exit code 3",
        "p2 started",
        "p2 killed by signal 9",
        "p3 started",
        "p4 started",
        "p3 killed by signal 9",
        "p4 killed by signal 9",
    ];
    assert_eq!(*told.0.lock().expect("lock"), expected);
}

#[tokio::test]
async fn the_end_of_the_background_leaves_no_process() {
    let ports = Ports::open(CommandLimits::default()).await;
    let seconds = seconds();
    for _ in 0..5 {
        start(&ports, shell(&format!("setsid sleep {seconds} & exec sleep {seconds}"))).await;
    }
    eventually("all run", async || sleepers(&seconds).len() == 10).await;
    assert_eq!(ports.commands.end_background().await.len(), 5);
    eventually("none is left", async || sleepers(&seconds).is_empty()).await;
}

#[tokio::test]
async fn a_background_command_outlives_the_limit_of_the_others_but_not_its_own() {
    let limits = CommandLimits { timeout: Duration::from_millis(50), ..CommandLimits::default() };
    let ports = Ports::open(limits).await;
    let unlimited = start(&ports, shell("sleep 0.3; exit 7")).await;
    assert_eq!(end(&mut attach(&ports, &unlimited).await).await.exit, Exit::Code(7));
    let limited = start(&ports, Exec { timeout_ms: Some(60), ..shell("sleep 1000") }).await;
    let reached = LimitReached { limit: CommandLimit::Timeout, value: 60 };
    let ended = end(&mut attach(&ports, &limited).await).await;
    assert_eq!((ended.exit, ended.limits), (Exit::TimedOut, vec![reached]));
}

#[tokio::test]
async fn silence_ends_a_command_with_the_limits_name_and_value_and_words_put_it_off() {
    let ports = Ports::open(CommandLimits::default()).await;
    let seconds = seconds();
    let script =
        format!("setsid sleep {seconds} & for i in 1 2 3 4 5 6; do echo $i; sleep 1; done; sleep {seconds}");
    let exec = Exec { idle_timeout_ms: Some(5000), ..shell(&script) };
    let reached = LimitReached { limit: CommandLimit::IdleTimeout, value: 5000 };
    let is_ended = async |mut process: Box<dyn Process>| {
        read_until(&mut process, "6\n").await;
        let ended = end(&mut process).await;
        assert_eq!((ended.exit, ended.limits), (Exit::TimedOut, vec![reached]));
    };
    let background = start(&ports, exec.clone()).await;
    is_ended(ports.spawn(exec).await.expect("it starts")).await;
    // nobody listens to this one until it has ended
    eventually("it has ended", async || state(&ports)[0].1.is_some()).await;
    is_ended(attach(&ports, &background).await).await;
    eventually("nothing is left", async || sleepers(&seconds).is_empty()).await;
}

#[tokio::test]
async fn output_that_waits_to_be_read_is_no_silence() {
    let ports = Ports::open(CommandLimits::default()).await;
    let exec = Exec { idle_timeout_ms: Some(100), ..shell("echo $$ > pid; echo word; exit 5") };
    let mut process = ports.spawn(exec).await.expect("it starts");
    let has_ended = "[ -s pid ] && ! [ -e /proc/$(cat pid) ]";
    eventually("it has ended", async || ports.inside.sh(has_ended).await.exit == Exit::Code(0)).await;
    // longer than it may be silent, and than the word of its end takes
    tokio::time::sleep(Duration::from_secs(1)).await;
    read_until(&mut process, "word\n").await;
    assert_eq!(end(&mut process).await.exit, Exit::Code(5));
}

#[tokio::test]
async fn time_and_output_are_named_with_their_values() {
    let ports = Ports::open(CommandLimits::default()).await;
    // long enough for the words to come before it
    let exec = Exec { timeout_ms: Some(10_000), max_output: Some(3), ..shell("echo words; sleep 1000") };
    let ended = end(&mut ports.spawn(exec).await.expect("it starts")).await;
    let reached = |limit, value| LimitReached { limit, value };
    assert_eq!(ended.limits, [reached(CommandLimit::Timeout, 10_000), reached(CommandLimit::Output, 3)]);
    assert_eq!((ended.exit, ended.dropped), (Exit::TimedOut, 3));
}

async fn limited(change: impl FnOnce(&mut Limits)) -> Ports {
    let folders = Folders::new();
    let mut config = folders.config();
    change(&mut config.limits);
    Ports::of(Inside::with(folders, config).await, CommandLimits::default())
}

fn probe(arguments: &[&str]) -> Exec {
    let argv = [&[prober(), "--probe"], arguments].concat();
    Exec { argv: argv.into_iter().map(str::to_owned).collect(), ..Exec::default() }
}

#[tokio::test]
async fn memory_is_named_with_its_value_by_who_keeps_it() {
    let ports = limited(|limits| limits.memory = 512 << 20).await;
    let modest = end(&mut ports.spawn(probe(&["eat", "private", "100"])).await.expect("it starts")).await;
    assert_eq!(modest, Ended::of(Exit::Code(0)));
    if ports.inside.sandbox.counters().is_none() {
        assert!(
            crate::containers::image().is_some(),
            "an engine may keep its cgroups to itself, the sandbox not"
        );
        eprintln!("skipped: the cgroups of the container cannot be read");
        return;
    }
    // of shared memory no process limit stops the growth, so that somebody has to kill
    let greedy = end(&mut ports.spawn(probe(&["eat", "shared", "3000"])).await.expect("it starts")).await;
    assert_ne!(greedy.exit, Exit::Code(0));
    assert_eq!(greedy.limits, [LimitReached { limit: CommandLimit::Memory, value: 512 << 20 }]);
    let next = end(&mut ports.spawn(shell("exit 3")).await.expect("it starts")).await;
    assert_eq!(next, Ended::of(Exit::Code(3)), "what was before is no concern of its");
}

/// A command that starts more than this many, where the limit is lower.
const CROWD: &str = "i=0; while [ $i -lt 100 ]; do sleep 1000 & i=$((i+1)); done";

const PROCESSES: LimitReached = LimitReached { limit: CommandLimit::Processes, value: 40 };

/// A workspace with that limit, and whether it tells of it: an engine may have put its cgroups where this process
/// cannot look.
async fn crowded() -> (Ports, bool) {
    let ports = limited(|limits| limits.processes = PROCESSES.value).await;
    let sandbox = &ports.inside.sandbox;
    let tells = match sandbox.enforced().processes {
        Keeper::Cgroup => sandbox.counters().is_some(),
        Keeper::Process => true,
        Keeper::Nobody => false,
    };
    (ports, tells)
}

#[tokio::test]
async fn processes_are_named_with_their_number_whoever_counts_them() {
    let (ports, tells) = crowded().await;
    let ended = end(&mut ports.spawn(shell(&format!("{CROWD}; exit 5"))).await.expect("it starts")).await;
    assert_ne!(ended.exit, Exit::Code(5));
    if tells {
        assert_eq!(ended.limits, [PROCESSES]);
    }
    let mut bomb = None;
    eventually("there is room again", async || {
        let exec = Exec { background: true, ..probe(&["fork-bomb"]) };
        bomb = ports.spawn(exec).await.ok();
        bomb.is_some()
    })
    .await;
    let bomb = bomb.expect("it started").detach().await.expect("there is room");
    eventually("a command that cannot be started is told why", async || {
        let refused = ports.spawn(shell("true")).await.err();
        refused.is_some_and(|error| {
            error.code == ErrorCode::Unavailable && error.message.contains("processes = 40")
        })
    })
    .await;
    let mut bomb = attach(&ports, &bomb).await;
    bomb.kill().await.expect("the workspace is there");
    assert_eq!(end(&mut bomb).await.exit, Exit::Signal(9));
}

#[tokio::test]
async fn a_command_that_gets_on_without_more_processes_is_told_of_their_number_all_the_same() {
    let (ports, tells) = crowded().await;
    if !tells {
        return eprintln!("skipped: nobody sees how many there are");
    }
    let script = format!("({CROWD}); read word; exit 0");
    eventually("who looks now and then has seen it", async || {
        let Ok(mut process) = ports.spawn(Exec { stdin: true, ..shell(&script) }).await else { return false };
        tokio::time::sleep(Duration::from_millis(300)).await;
        // it may have been refused its first process
        if process.write(b"on\n").await.is_err() {
            return false;
        }
        let ended = end(&mut process).await;
        ended.exit == Exit::Code(0) && ended.limits == [PROCESSES]
    })
    .await;
}
