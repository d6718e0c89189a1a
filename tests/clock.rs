//! The machine's clock jumps while a task runs. It is everybody's, so `SORTIE_TEST_CLOCK=1` has to say that it may be
//! set: on a machine of the tests' own, and with nothing else running.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::support::{FIX, Ran, Site, shell_script, until};

const ALLOWED: &str = "SORTIE_TEST_CLOCK";

const DAY: u64 = 86_400;

/// The machine's clock, which is right again once this is dropped.
struct Clock {
    right: SystemTime,
    since: Instant,
}

impl Clock {
    fn if_allowed() -> Option<Self> {
        if std::env::var(ALLOWED).as_deref() != Ok("1") || !rustix::process::geteuid().is_root() {
            eprintln!("skipped: {ALLOWED}=1 does not say that root may set this machine's clock");
            return None;
        }
        Some(Self { right: SystemTime::now(), since: Instant::now() })
    }

    /// As many seconds off.
    fn set(&self, off: i64) {
        let right = self.right.duration_since(SystemTime::UNIX_EPOCH).expect("it is later");
        let time = (right + self.since.elapsed()).as_secs().saturating_add_signed(off);
        let set = Command::new("date").arg("--set").arg(format!("@{time}")).stdout(Stdio::null()).status();
        assert!(set.expect("the program is there").success(), "root may set the clock");
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[test]
fn a_clock_that_jumps_ends_no_task_and_every_duration_is_that_of_a_stopwatch() {
    let Some(clock) = Clock::if_allowed() else { return };
    let site = Site::new();
    // a minute for all of the work: a day would be beyond it
    site.aside("config.toml", "[limits]\nminutes = 1\n");
    let began = Instant::now();
    let mut run = site.scripted(&shell_script(&["touch ~/begun; sleep 4", "sleep 2", FIX]));
    let run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    until_there(&site, "begun");
    let day = i64::try_from(DAY).expect("small");
    for off in [day, -day, day, 0, -day] {
        clock.set(off);
        std::thread::sleep(Duration::from_millis(700));
    }
    let ran = Ran::from(run.wait_with_output().expect("it ends"));
    let took = u64::try_from(began.elapsed().as_millis()).expect("small");
    ran.assert_fixed(&site);
    let times: Vec<_> =
        ran.of_type("tool.ended").map(|event| event["ms"].as_u64().expect("a number")).collect();
    assert!(times[0] >= 4000 && times[1] >= 2000, "{times:?}");
    let durations = ran.events.iter().filter_map(|event| event["ms"].as_u64());
    assert!(durations.max().is_some_and(|longest| longest <= took), "{took}: {:#?}", ran.events);

    // and a call that is to end with the budget does so, though the clock says that it has a day to go
    clock.set(day);
    let mut run = site.scripted(&shell_script(&["touch ~/again; sleep 5000"]));
    let run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    until_there(&site, "again");
    clock.set(-day);
    let ran = Ran::from(run.wait_with_output().expect("it ends"));
    let ended = ran.of_type("tool.ended").next().expect("a call");
    assert!(ended.to_string().contains("timed out: timeout_ms"), "{ended:#}");
    assert!(ended["ms"].as_u64().is_some_and(|ms| (30_000..120_000).contains(&ms)), "{ended:#}");
}

/// Waits until a command has made a file of this name in its home.
fn until_there(site: &Site, name: &str) {
    let tasks = site.path().join("home/tasks");
    let is_there = || {
        let mut tasks = std::fs::read_dir(&tasks).into_iter().flatten().flatten();
        tasks.any(|task| task.path().join("home").join(name).exists())
    };
    until("the command begins", is_there);
}
