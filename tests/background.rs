//! Processes in the background, and set-up that says nothing.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::signals::{interrupt, runs};
use crate::support::{FIX, Ran, Site, finish, own_seconds, until};

fn call(tool: &str, arguments: Value) -> Value {
    json!({ "name": tool, "arguments": arguments })
}

fn in_background(command: &str) -> Value {
    call("shell", json!({ "command": command, "background": true }))
}

fn script(turns: impl IntoIterator<Item = Value>) -> Value {
    let turns = turns.into_iter().map(|call| json!({ "tool_calls": [call] }));
    let replies: Vec<_> = turns.chain([finish("done")]).collect();
    json!({ "replies": replies })
}

/// Answers each request with the same words, and says so.
const SERVER: &str = r#"exec perl -MIO::Socket::INET -e '
    $| = 1;
    my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1:8123", Listen => 5) or die "no socket: $!";
    print "listening\n";
    while (my $client = $server->accept) { my $line = <$client>; print "asked: $line"; print $client "word of p1\n"; }'"#;

/// Asks it, as soon as it is there.
const CLIENT: &str = r#"n=0; until perl -MIO::Socket::INET -e '
    my $server = IO::Socket::INET->new("127.0.0.1:8123") or exit 1;
    print $server "hello\n"; print <$server>;'; do n=$((n+1)); [ $n -lt 500 ] || exit 1; sleep 0.05; done"#;

#[test]
fn a_server_in_the_background_is_asked_read_listed_and_stopped() {
    let site = Site::new();
    let turns = script([
        in_background(SERVER),
        call("shell", json!({ "command": CLIENT })),
        call("process_output", json!({ "id": "p1", "wait_ms": 10_000 })),
        call("process_list", json!({})),
        call("process_stop", json!({ "id": "p1" })),
        call("process_list", json!({})),
        call("shell", json!({ "command": FIX })),
    ]);
    let ran = Ran::of(&mut site.scripted(&turns));
    ran.assert_fixed(&site);
    let results: Vec<_> =
        ran.of_type("tool.ended").map(|event| event["content"].as_str().expect("text").to_owned()).collect();
    assert!(results[0].ends_with("[p1 runs in the background]"), "{results:#?}");
    assert_eq!(results[1], "word of p1\n[exit code 0]");
    assert!(results[2].contains("asked: hello\n"), "{results:#?}");
    assert!(results[3].starts_with("p1  running"), "{results:#?}");
    assert_eq!(results[4], "[killed by signal 15, SIGTERM]");
    assert!(results[5].starts_with("p1  killed by signal 15"), "{results:#?}");
    let started: Vec<_> = ran.of_type("process.started").map(|event| &event["id"]).collect();
    let ended: Vec<_> = ran.of_type("process.ended").map(|event| (&event["id"], &event["exit"])).collect();
    assert_eq!(started, ["p1"]);
    assert_eq!(ended, [(&json!("p1"), &json!("killed by signal 15"))]);
    assert_eq!(ran.report()["background"], json!([]));
}

#[test]
fn what_is_left_running_ends_before_the_tests_and_the_report_names_it() {
    let site = Site::new();
    let marker = own_seconds();
    let turns = script([
        in_background(&format!("setsid sleep {marker} & exec sleep {marker}")),
        call("shell", json!({ "command": FIX })),
    ]);
    let ran = Ran::of(&mut site.scripted(&turns));
    ran.assert_fixed(&site);
    let left = ran.report()["background"].as_array().expect("a list");
    assert_eq!((left.len(), &left[0]["id"]), (1, &json!("p1")));
    assert!(
        left[0]["command"].as_str().is_some_and(|command| command.contains(&format!("exec sleep {marker}"))),
        "{left:?}"
    );
    let at = |found: &dyn Fn(&Value) -> bool| ran.events.iter().position(found).expect("it happened");
    let ended = at(&|event| event["type"] == "process.ended" && event["exit"] == "killed by signal 9");
    let verify = at(&|event| event["type"] == "phase.started" && event["phase"] == "verify");
    assert!(ended < verify, "{:#?}", ran.events);
    until("nothing is left", || !runs(&marker));
}

#[test]
fn ctrl_c_ends_what_runs_in_the_background() {
    let site = Site::new();
    let [behind, before] = [own_seconds(), own_seconds()];
    let turns = script([
        in_background(&format!("setsid sleep {behind} & exec sleep {behind}")),
        call("shell", json!({ "command": format!("exec sleep {before}") })),
    ]);
    let child = site.scripted(&turns).stdout(Stdio::piped()).spawn().expect("starts");
    until("both run", || runs(&behind) && runs(&before));
    interrupt(&child);
    let ran = Ran::from(child.wait_with_output().expect("it ends"));
    assert_eq!((ran.code, &ran.report()["outcome"]), (Some(130), &json!("cancelled")), "{}", ran.stderr);
    assert_eq!(ran.report()["background"][0]["id"], "p1");
    assert_eq!(ran.of_type("process.ended").count(), 1);
    until("nothing is left", || !runs(&behind) && !runs(&before));
}

#[test]
fn a_policy_can_refuse_the_background_alone() {
    let site = Site::new();
    site.aside(
        "config.toml",
        r#"
        [[rule]]
        name = "no-background"
        action = "exec"
        match = { background = "true" }
        decision = "deny"
        reason = "nothing runs in the background here"
    "#,
    );
    let turns = script([in_background("sleep 86406"), call("shell", json!({ "command": FIX }))]);
    let ran = Ran::of(&mut site.scripted(&turns));
    ran.assert_fixed(&site);
    assert!(ran.tool_results().contains("nothing runs in the background here"), "{}", ran.tool_results());
    assert_eq!(ran.of_type("process.started").count(), 0);
}

#[test]
fn set_up_that_says_nothing_ends_with_the_limits_name_and_value() {
    let site = Site::new();
    let marker = own_seconds();
    // told apart from the command, which the summary quotes
    let install = format!("install = \"echo ask''ing; exec sleep {marker}\"\n");
    site.aside("config.toml", install + "[limits]\nidle_seconds = 10\n");
    let ran = Ran::of(&mut site.scripted(&script([])));
    let summary = ran.report()["summary"].as_str().expect("a summary");
    assert!(summary.contains("idle_timeout_ms = 10000") && summary.contains("asking"), "{summary}");
    until("nothing is left", || !runs(&marker));
}
