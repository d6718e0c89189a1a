//! The machine's clock jumps a day ahead and a day back while commands run.
//!
//! The clock is everybody's, so nothing is tried unless `SORTIE_TEST_CLOCK=1` says that it may be set: on a machine of
//! the tests' own, and with nothing else running.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use sortie_core::action::Exec;
use sortie_policy::ports::{Chunk, CommandLimit, Commands as _, Ended, Exit, LimitReached, Process};
use sortie_workspace::commands::CommandLimits;

use crate::ports::{Ports, shell};
use crate::support::LONG;

const ALLOWED: &str = "SORTIE_TEST_CLOCK";

const DAY: Duration = Duration::from_secs(86_400);

/// A limit that passes while the test waits, in milliseconds.
const SOON: u64 = 5000;
/// One that does not, but would in a day.
const LATE: u64 = 3_600_000;

/// The machine's clock, which is right again once this is dropped.
struct Clock {
    right: SystemTime,
    since: Instant,
}

impl Clock {
    fn if_allowed() -> Option<Self> {
        if std::env::var(ALLOWED).as_deref() != Ok("1") {
            eprintln!("skipped: {ALLOWED}=1 does not say that this machine's clock may be set");
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can set the clock");
            return None;
        }
        Some(Self { right: SystemTime::now(), since: Instant::now() })
    }

    fn now(&self) -> SystemTime {
        self.right + self.since.elapsed()
    }

    fn set(time: SystemTime) {
        let time = time.duration_since(SystemTime::UNIX_EPOCH).expect("it is later");
        let time = format!("@{}.{:09}", time.as_secs(), time.subsec_nanos());
        let status = Command::new("date").args(["--set", &time]).stdout(std::process::Stdio::null()).status();
        assert!(status.expect("the program is there").success(), "root may set the clock");
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        Self::set(self.now());
    }
}

/// Reads the one line that says that the command runs.
async fn up(process: &mut Box<dyn Process>) {
    let first = process.next(LONG).await.expect("the workspace is there");
    assert_eq!(first, Some(Chunk::Stdout(b"up\n".to_vec())));
}

/// The rest of its output, and the end.
async fn end(process: &mut Box<dyn Process>) -> (String, Ended) {
    let mut text = String::new();
    loop {
        match process.next(LONG).await.expect("the workspace is there").expect("it goes on") {
            Chunk::Stdout(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
            Chunk::Exit(ended) => return (text, ended),
            other => panic!("{other:?} after {text}"),
        }
    }
}

/// Runs commands with and without patience over a jump of the clock, which `jumped` gives for the right time.
async fn commands_over(clock: &Clock, jumped: fn(SystemTime) -> SystemTime) {
    let ports = Ports::open(CommandLimits::default()).await;
    let patient = Exec {
        stdin: true,
        timeout_ms: Some(LATE),
        idle_timeout_ms: Some(LATE),
        ..shell("echo up; read word; echo $word; date +%s; exit 7")
    };
    let mut patient = [patient.clone(), Exec { background: true, ..patient }];
    let mut living = Vec::new();
    for exec in &mut patient {
        living.push(ports.spawn(std::mem::take(exec)).await.expect("it starts"));
    }
    let silent = shell("echo up; exec sleep 1000");
    let limited = [
        (CommandLimit::Timeout, Exec { timeout_ms: Some(SOON), ..silent.clone() }),
        (CommandLimit::IdleTimeout, Exec { idle_timeout_ms: Some(SOON), ..silent }),
    ];
    let mut ending = Vec::new();
    for (limit, exec) in limited {
        ending.push((limit, Instant::now(), ports.spawn(exec).await.expect("it starts")));
    }
    let of_ending = ending.iter_mut().map(|(.., process)| process);
    for process in living.iter_mut().chain(of_ending) {
        up(process).await;
    }
    let detached = living.pop().expect("there are two").detach().await.expect("there is room");

    Clock::set(jumped(clock.now()));

    for (limit, began, mut process) in ending {
        let (_, ended) = end(&mut process).await;
        assert_eq!((ended.exit, ended.limits), (Exit::TimedOut, vec![LimitReached { limit, value: SOON }]));
        assert!(began.elapsed() >= Duration::from_millis(SOON), "{limit:?} after {:?}", began.elapsed());
    }
    let age = ports.commands.background()[0].age;
    assert!((Duration::from_millis(SOON)..LONG).contains(&age), "{age:?}");
    living.push(ports.commands.attach(&detached).await.expect("it lives"));
    for mut process in living {
        process.write(b"word\n").await.expect("it reads");
        let (text, ended) = end(&mut process).await;
        assert_eq!(ended, Ended::of(Exit::Code(7)));
        let seen = text.strip_prefix("word\n").expect("it was read").trim().parse().expect("seconds");
        let seen = SystemTime::UNIX_EPOCH + Duration::from_secs(seen);
        // control: the clock did jump
        let off = seen.max(jumped(clock.now())).duration_since(seen.min(jumped(clock.now())));
        assert!(off.expect("in order") < LONG, "{seen:?}");
    }
    // and what begins now is as long
    let late = Exec { timeout_ms: Some(SOON), ..shell("exec sleep 1000") };
    let (began, mut late) = (Instant::now(), ports.spawn(late).await.expect("it starts"));
    assert_eq!(end(&mut late).await.1.exit, Exit::TimedOut);
    assert!(began.elapsed() >= Duration::from_millis(SOON));
    ports.inside.sandbox.stop().await.expect("it ends");
}

#[tokio::test]
async fn a_clock_that_jumps_ends_no_command_early_and_holds_none_up() {
    let Some(clock) = Clock::if_allowed() else { return };
    commands_over(&clock, |right| right + DAY).await;
    // from a day ahead to a day behind
    commands_over(&clock, |right| right - DAY).await;
    commands_over(&clock, |right| right).await;
}
