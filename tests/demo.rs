//! The demo, and the job that it does.

use crate::support::{FIX, Ran, Site, finish, shell_script};
use serde_json::json;

#[test]
fn the_demo_ends_on_the_pushed_branch_with_the_tests_passing_and_one_refusal() {
    let site = Site::empty();
    let output = site.sortie().args(["demo", "--at", "shown"]).output().expect("runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("after    3 passed, 0 failed, 0 skipped"), "{stdout}");
    assert!(stderr.contains("refused: file-write .git/hooks/pre-push by rules/git-directory"), "{stderr}");
    let origin = site.path().join("shown/origin.git");
    let branches = site.git(&origin, &["for-each-ref", "--format=%(refname:short)", "refs/heads/sortie/"]);
    assert!(branches.starts_with("sortie/the-test-"), "{branches}");
}

#[test]
fn the_demo_leaves_the_repository_alone_from_whose_hook_it_is_called() {
    let site = Site::new();
    let folder = site.clone().join(".git");
    let mut demo = site.sortie();
    demo.args(["demo", "--at", "shown"]).env("GIT_DIR", &folder).env("GIT_WORK_TREE", site.clone());
    let output = demo.env("GIT_INDEX_FILE", folder.join("index")).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(site.git(&site.clone(), &["log", "--all", "--format=%s"]), "Begin");
    assert_eq!(site.git(&site.clone(), &["status", "--short"]), "");
}

#[test]
fn the_log_the_list_and_the_diff_of_a_task_can_be_read_afterwards() {
    let site = Site::new();
    let ran = Ran::of(&mut site.scripted(&shell_script(&[FIX])));
    ran.assert_fixed(&site);
    let id = ran.report()["task"].as_str().expect("an id").to_owned();
    let text = |arguments: &[&str]| {
        let output = site.sortie().args(arguments).output().expect("runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(text(&["list"]).contains(&id));
    assert!(text(&["diff", &id]).contains("tr -cs"), "the diff shows the change");
    assert!(text(&["logs", &id]).contains("push"));
    let logged: Vec<serde_json::Value> =
        text(&["logs", &id, "--json"]).lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let kept =
        |event: &&serde_json::Value| !matches!(event["type"].as_str(), Some("progress" | "model.delta"));
    let shown: Vec<_> = ran.events.iter().filter(kept).cloned().collect();
    assert_eq!(logged, shown, "the journal holds what was shown, in the same order");
}

#[test]
fn every_effect_outside_has_its_intent_in_the_journal_before_its_outcome() {
    let site = Site::new();
    let ran = Ran::of(&mut site.scripted(&shell_script(&[FIX])));
    let position =
        |found: &dyn Fn(&serde_json::Value) -> bool| ran.events.iter().position(found).expect("it is there");
    for step in ["clone", "workspace", "baseline", "final", "commit", "push"] {
        let intent = position(&|event| event["type"] == "step.started" && event["step"] == step);
        let outcome = position(&|event| event["type"] == "step.ended" && event["step"] == step);
        assert!(intent < outcome, "{step}");
    }
    let permitted = position(&|event| event["type"] == "decision" && event["kind"] == "push");
    let pushed = position(&|event| event["type"] == "step.ended" && event["step"] == "push");
    assert!(permitted < pushed);
}

#[test]
fn a_change_that_makes_the_tests_worse_is_pushed_as_partial() {
    let site = Site::new();
    let ran = Ran::of(&mut site.scripted(&shell_script(&["echo 'exit 1' > slug.sh"])));
    let report = ran.report();
    assert_eq!((ran.code, report["outcome"].as_str()), (Some(1), Some("partial")), "{report:#}");
    assert!(
        report["branch"].is_string()
            && report["summary"].as_str().is_some_and(|s| s.contains("3 tests fail")),
        "{report:#}"
    );
}

#[test]
fn tests_that_could_not_run_leave_a_task_partial_and_say_so() {
    let site = Site::empty();
    site.write("slug.sh", "echo slug\n");
    site.write(".sortie/config.toml", "[test]\ncommand = [\"sh\", \"missing.sh\"]\n");
    site.publish();
    let ran = Ran::of(&mut site.scripted(&shell_script(&["echo 'echo slugs' > slug.sh"])));
    let report = ran.report();
    assert_eq!((ran.code, report["outcome"].as_str()), (Some(1), Some("partial")), "{report:#}");
    let summary = report["summary"].as_str().expect("a summary");
    assert!(summary.contains("the tests could not run, so that nothing verifies this"), "{summary}");
    assert!(report["branch"].is_string(), "what was done is not lost: {report:#}");
}

#[test]
fn a_reader_that_goes_away_does_not_stop_a_task() {
    let site = Site::empty();
    let closed = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        writer
    };
    let status = site
        .sortie()
        .args(["demo", "--at", "shown"])
        .stdout(closed())
        .stderr(closed())
        .status()
        .expect("runs");
    assert!(status.success(), "{status}");
    let origin = site.path().join("shown/origin.git");
    assert_ne!(site.git(&origin, &["for-each-ref", "refs/heads/sortie/"]), "");
}

#[test]
fn output_that_a_full_disk_does_not_take_is_told() {
    let site = Site::empty();
    for arguments in [["demo", "--at", "shown"].as_slice(), &["list"], &["doctor"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("it is there");
        let output = site.sortie().args(arguments).stdout(full).output().expect("runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains("error: the output could not be written: No space left"),
            "{arguments:?}: {said}"
        );
        assert_eq!(output.status.code(), Some(5), "{arguments:?}: {said}");
    }
}

#[test]
fn a_blocked_task_pushes_nothing_and_keeps_its_work() {
    let site = Site::new();
    let script = json!({ "replies": [
        { "tool_calls": [{ "name": "shell", "arguments": { "command": FIX } }] },
        finish("blocked"),
    ] });
    let ran = Ran::of(&mut site.scripted(&script));
    assert_eq!((ran.code, ran.report()["outcome"].as_str()), (Some(1), Some("blocked")));
    assert_eq!(ran.report()["branch"], serde_json::Value::Null);
    let id = ran.report()["task"].as_str().expect("an id").to_owned();
    let restored = site.sortie().args(["archive", "restore", &id, "to/back"]).output().expect("runs");
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let kept = site.path().join("to/back/workspace/slug.sh");
    assert!(std::fs::read_to_string(kept).expect("it is kept").contains("tr -cs"));
}

#[test]
fn a_reply_without_tool_calls_ends_the_work_with_its_text() {
    let site = Site::new();
    let script = json!({ "replies": [
        { "tool_calls": [{ "name": "shell", "arguments": { "command": FIX } }] },
        { "text": "Collapsed runs of separators." },
    ] });
    let ran = Ran::of(&mut site.scripted(&script));
    ran.assert_fixed(&site);
    assert_eq!(ran.report()["summary"], "Collapsed runs of separators.");
}

#[test]
fn a_spent_budget_ends_with_code_4_and_pushes_nothing() {
    for (settings, arguments) in [
        ("", &["--max-turns", "2"][..]),
        ("", &["--max-tokens", "1"]),
        ("[limits]\nturns = 1\n", &[]),
        ("[limits]\ntokens = 1\n", &[]),
    ] {
        let site = Site::new();
        site.aside("config.toml", settings);
        let ran = Ran::of(site.scripted(&shell_script(&[FIX, "true", "true"])).args(arguments));
        let outcome = ran.report()["outcome"].as_str();
        assert_eq!((ran.code, outcome), (Some(4), Some("budget")), "{settings}{arguments:?}");
        assert_eq!(ran.report()["branch"], serde_json::Value::Null);
        assert_eq!(site.git(&site.origin(), &["for-each-ref", "refs/heads/sortie"]), "");
    }
}

#[test]
fn a_push_to_a_protected_branch_is_refused_with_code_3_and_a_way_out() {
    let site = Site::new();
    let ran = Ran::of(site.scripted(&shell_script(&[FIX])).args(["--branch", "release/9"]));
    assert_eq!((ran.code, ran.report()["outcome"].as_str()), (Some(3), Some("refused")));
    let refused = &ran.report()["refused"][0];
    assert_eq!(refused["policy"], "rules");
    assert_eq!(refused["rule"], "protected-branches");
    assert!(site.git(&site.origin(), &["for-each-ref"]).lines().count() == 1);
}

#[test]
fn a_long_output_is_shortened_and_the_whole_can_be_paged() {
    let site = Site::new();
    let call = |name: &str, arguments: serde_json::Value| json!([{ "name": name, "arguments": arguments }]);
    let long = json!({ "tool_calls": call("shell", json!({ "command": "seq 1 20000; echo the end" })) });
    let ran = Ran::of(&mut site.scripted(&json!({ "replies": [long, finish("done")] })));
    let first = ran.of_type("tool.ended").next().expect("a call");
    assert!(first["content"].as_str().is_some_and(|c| c.len() < 11_000 && c.contains("the end")));
    // its name is its digest: the same in another task
    let name = &first["blob"].as_str().expect("the whole is kept")[..16];
    let page = json!({ "output": name, "start": 48_888, "max": 12 });
    let script = json!({ "replies": [
        long,
        { "expect": ["characters cut", name], "tool_calls": call("read_output", page) },
        { "expect": "]\n10000\n10001", "tool_calls": call("shell", json!({ "command": FIX })) },
        finish("done"),
    ] });
    Ran::of(&mut site.scripted(&script)).assert_fixed(&site);
}
