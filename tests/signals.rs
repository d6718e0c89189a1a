//! Ctrl-C.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Site, shell_script};

/// Starts a task whose command sleeps, and returns once the sleep runs.
fn asleep(site: &Site, marker: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let command = format!("exec sleep {marker}");
    let mut child = site.scripted(&shell_script(&[&command])).stdout(Stdio::piped()).spawn().expect("starts");
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

pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
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
    let (mut child, stdout) = asleep(&site, "86401");
    interrupt(&child);
    let last = stdout.lines().map_while(Result::ok).last().expect("events");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let report: serde_json::Value = serde_json::from_str(&last).expect("an event");
    assert_eq!(
        (report["type"].as_str(), report["outcome"].as_str()),
        (Some("task.ended"), Some("cancelled"))
    );
    until("the command is gone", || !runs("86401"));
    let list = site.sortie().args(["list", "--json"]).output().expect("runs");
    assert!(String::from_utf8_lossy(&list.stdout).contains("\"state\":\"cancelled\""));
}

#[test]
fn ctrl_c_twice_ends_at_once_and_leaves_no_process() {
    let site = Site::new();
    let (mut child, _stdout) = asleep(&site, "86402");
    interrupt(&child);
    std::thread::sleep(Duration::from_millis(1));
    interrupt(&child);
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    until("the command is gone", || !runs("86402"));
}
