//! Ctrl-C, and what else is said at a terminal.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::plugins::no_push;
use crate::support::{FIX, Site, finish, own_seconds, shell_script, until};

/// Starts a task whose command sleeps, and returns once the sleep runs.
fn asleep(site: &Site, marker: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let command = format!("exec sleep {marker}");
    let mut task = site.scripted(&shell_script(&[&command]));
    let mut child = task.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    while !line.contains("\"kind\":\"exec\"") || !line.contains(marker) {
        line.clear();
        assert!(stdout.read_line(&mut line).expect("it is read") > 0, "the task ended early");
    }
    until("the command runs", || runs(marker));
    (child, stdout)
}

/// Whether a process with this argument runs, on the host or in a sandbox.
pub(crate) fn runs(marker: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("/proc is there").flatten();
    processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok()).any(|line| {
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        words.first() == Some(&b"sleep".as_slice()) && words.contains(&marker.as_bytes())
    })
}

pub(crate) fn interrupt(child: &Child) {
    let pid = i32::try_from(child.id()).expect("a pid");
    let status =
        std::process::Command::new("kill").args(["-INT", &pid.to_string()]).status().expect("kill runs");
    assert!(status.success());
}

#[test]
fn ctrl_c_once_ends_in_order() {
    let site = Site::new();
    let marker = own_seconds();
    let (mut child, stdout) = asleep(&site, &marker);
    interrupt(&child);
    let last = stdout.lines().map_while(Result::ok).last().expect("events");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let report: Value = serde_json::from_str(&last).expect("an event");
    assert_eq!(
        (report["type"].as_str(), report["outcome"].as_str()),
        (Some("task.ended"), Some("cancelled"))
    );
    until("the command is gone", || !runs(&marker));
    let list = site.sortie().args(["list", "--json"]).output().expect("runs");
    assert!(String::from_utf8_lossy(&list.stdout).contains("\"state\":\"cancelled\""));
}

#[test]
fn ctrl_c_twice_ends_at_once_and_leaves_no_process() {
    let site = Site::new();
    let marker = own_seconds();
    let (mut child, _stdout) = asleep(&site, &marker);
    // an end in order would wait for the journal, and fail at it
    let journal = rusqlite::Connection::open(site.path().join("home/journal.db")).expect("opens");
    journal.execute_batch("BEGIN IMMEDIATE").expect("is locked");
    interrupt(&child);
    let mut told = BufReader::new(child.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
    assert!(told.any(|line| line.contains("once more ends at once")), "it is told");
    kill_process(Pid::from_child(&child), Signal::INT).expect("is told");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    until("the command is gone", || !runs(&marker));
}

/// Has programs that are started from here told of SIGHUP, whoever started the
/// tests: what a process ignores is ignored by those it starts, and what it
/// catches is not.
pub(crate) fn hand_on_hangups() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    drop(signal(SignalKind::hangup()).expect("is caught"));
}

fn state(site: &Site) -> String {
    let list = site.sortie().args(["list", "--json"]).output().expect("runs");
    let list: Value = serde_json::from_slice(&list.stdout).expect("one task");
    list["state"].as_str().expect("a state").to_owned()
}

fn archives(site: &Site) -> usize {
    std::fs::read_dir(site.path().join("home/archives")).into_iter().flatten().count()
}

/// Starts a task on a terminal of its own; what is at the other end.
fn on_terminal(site: &Site, script: &Value) -> (Child, File) {
    let task = site.scripted(script);
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let controller = openpt(flags).expect("a terminal");
    grantpt(&controller).expect("is granted");
    unlockpt(&controller).expect("is unlocked");
    let user = ioctl_tiocgptpeer(&controller, flags).expect("has another end");
    let end = || Stdio::from(user.try_clone().expect("is cloned"));
    // a session of its own, whose terminal this is: as a window that was opened for the task
    let mut command = std::process::Command::new("setsid");
    let arguments = task.get_args().filter(|argument| *argument != "--json");
    command.args(["--ctty", "--wait"]).arg(task.get_program()).args(arguments);
    for (name, value) in task.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(site.path()).stdin(end()).stdout(end()).stderr(end());
    let child = command.spawn().expect("starts");
    (child, controller.into())
}

#[test]
fn a_task_whose_terminal_closes_ends_in_order() {
    hand_on_hangups();
    let site = Site::new();
    let marker = own_seconds();
    let (mut child, controller) = on_terminal(&site, &shell_script(&[&format!("exec sleep {marker}")]));
    until("the command runs", || runs(&marker));
    drop(controller);
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    until("the command is gone", || !runs(&marker));
    assert_eq!((state(&site).as_str(), archives(&site)), ("cancelled", 1));
}

/// Reads until the task asks; what is typed at it goes into the result.
fn asked(controller: &mut File) -> File {
    let (mut seen, mut buffer) = (String::new(), [0; 4096]);
    while !seen.contains("Allow it this once? [y/N]") {
        let count = controller.read(&mut buffer).expect("the task asks");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    controller.try_clone().expect("is cloned")
}

/// Takes from a task what it says, until there is no more.
fn read_on(mut controller: File) {
    std::thread::spawn(move || while let Ok(1..) = controller.read(&mut [0; 4096]) {});
}

#[test]
fn a_yes_to_the_question_approves_and_nothing_else() {
    for (answer, code) in [("y\n", 0), ("yes\n", 0), ("\n", 3), ("n\n", 3), ("yy\n", 3)] {
        let site = Site::new();
        no_push(&site, true);
        let (mut child, mut controller) = on_terminal(&site, &shell_script(&[FIX]));
        if code != 0 {
            controller.write_all(b"y\n").expect("is typed, to no question yet");
        }
        let mut keys = asked(&mut controller);
        read_on(controller);
        // what comes with the question's last letter may still count as from before it
        until("it ends", || {
            let _ = keys.write_all(answer.as_bytes());
            std::thread::sleep(Duration::from_millis(200));
            child.try_wait().expect("can be asked").is_some()
        });
        assert_eq!(child.wait().expect("it ended").code(), Some(code), "{answer:?}");
        let pushed = site.git(&site.origin(), &["for-each-ref", "refs/heads/sortie"]);
        assert_eq!(pushed.is_empty(), code != 0, "{answer:?}: {pushed}");
    }
}

#[test]
fn ctrl_c_ends_a_task_that_asks_and_nobody_has_to_answer() {
    let site = Site::new();
    no_push(&site, true);
    let script = json!({ "replies": [
        { "tool_calls": [{ "name": "shell", "arguments": { "command": FIX } }] },
        finish("done"),
    ] });
    let (mut child, mut controller) = on_terminal(&site, &script);
    let mut keys = asked(&mut controller);
    keys.write_all(b"\x03").expect("Ctrl-C is typed");
    read_on(controller);
    until("it ends", || child.try_wait().expect("can be asked").is_some());
    assert_eq!(child.wait().expect("it ended").code(), Some(130));
    assert_eq!(state(&site), "cancelled");
}

#[test]
fn hanging_up_twice_ends_in_order_also_where_nobody_reads_any_more() {
    hand_on_hangups();
    let site = Site::new();
    let (mut child, stdout) = asleep(&site, &own_seconds());
    drop(stdout);
    for _ in 0..2 {
        kill_process(Pid::from_child(&child), Signal::HUP).expect("is told");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert_eq!((state(&site).as_str(), archives(&site)), ("cancelled", 1));
}

#[test]
fn a_task_that_is_to_outlive_its_terminal_does() {
    let site = Site::new();
    let task = site.scripted(&shell_script(&["echo up > up; while [ ! -e go ]; do sleep 0.05; done"]));
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(task.get_program()).args(task.get_args());
    for (name, value) in task.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut child = command.current_dir(site.path()).stdout(Stdio::null()).spawn().expect("starts");
    let tree = || {
        let tasks = std::fs::read_dir(site.path().join("home/tasks")).into_iter().flatten().flatten();
        tasks.map(|task| task.path().join("workspace")).find(|tree| tree.join("up").exists())
    };
    until("the command runs", || tree().is_some());
    kill_process(Pid::from_child(&child), Signal::HUP).expect("is told");
    std::fs::write(tree().expect("it is there").join("go"), "").expect("is written");
    child.wait().expect("it ends");
    assert_eq!(state(&site), "done");
}
