//! Plugins of the settings: the examples, as an author would try them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::support::{FIX, Ran, Site, finish, shell_script};
use serde_json::json;

/// Builds the examples once, and returns the folder of their components.
fn examples() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("examples");
        let packages = ["-p", "example-tool-todo-count", "-p", "example-policy-no-friday-push"];
        let mut command = Command::new(env!("CARGO"));
        command.args(["build", "--locked", "--quiet", "--profile", "guest", "--target", "wasm32-wasip2"]);
        command.args(packages).arg("--target-dir").arg(&target).current_dir(env!("CARGO_MANIFEST_DIR"));
        command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        let output = command.output().expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        target.join("wasm32-wasip2/guest")
    })
}

/// Settings of the example that keeps pushes to some days, for all of them.
pub(crate) fn no_push(site: &Site, asks: bool) {
    let days = json!(["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]);
    let more = format!("[plugin.settings]\ndays = {days}\nask = {asks}");
    settings(site, "no-push", "example_policy_no_friday_push.wasm", &more);
}

fn settings(site: &Site, id: &str, file: &str, more: &str) {
    let path = examples().join(file);
    site.aside("config.toml", format!("[[plugin]]\nid = \"{id}\"\npath = \"{}\"\n{more}\n", path.display()));
}

#[test]
fn a_tool_of_the_settings_is_called_by_the_model() {
    let site = Site::new();
    site.write("notes.txt", "TODO: one\nTODO: two\n");
    site.git(&site.clone(), &["add", "--all"]);
    site.git(&site.clone(), &["commit", "--quiet", "-m", "Note"]);
    settings(&site, "todo-count", "example_tool_todo_count.wasm", "grants = { files = { read = [\"**\"] } }");
    let script = json!({ "replies": [
        { "tool_calls": [{ "name": "todo_count", "arguments": {} }] },
        { "expect": "2 notes in 1 files", "tool_calls": [{ "name": "shell", "arguments": { "command": FIX } }] },
        finish("done"),
    ] });
    let ran = Ran::of(&mut site.scripted(&script));
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.stderr, ran.tool_results());
}

#[test]
fn a_tool_without_its_grant_is_not_loaded_and_the_line_to_add_is_shown() {
    let site = Site::new();
    settings(&site, "todo-count", "example_tool_todo_count.wasm", "");
    let output = site.scripted(&shell_script(&["true"])).output().expect("runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("sortie:host/files") && stderr.contains("grants"), "{stderr}");
}

#[test]
fn a_policy_of_the_settings_refuses_the_delivery_with_code_3() {
    let site = Site::new();
    no_push(&site, false);
    let ran = Ran::of(&mut site.scripted(&shell_script(&[FIX])));
    assert_eq!(
        (ran.code, ran.report()["outcome"].as_str()),
        (Some(3), Some("refused")),
        "{}\n{}",
        ran.report(),
        ran.stderr
    );
    assert_eq!(ran.report()["refused"][0]["policy"], "no-push");
    assert_eq!(site.git(&site.origin(), &["for-each-ref", "refs/heads/sortie"]), "");
}

#[test]
fn a_repository_names_its_tests_within_what_the_operator_granted() {
    let site = Site::new();
    site.aside(
        "config.toml",
        "[[plugin]]\nid = \"tests\"\ngrants = { exec = [\"make test\"], files = { read = [\"**\"] } }\n",
    );
    let ran = Ran::of(&mut site.scripted(&shell_script(&[FIX])));
    assert_ne!(ran.code, Some(0), "{}", ran.report());
    let summary = ran.report()["summary"].as_str().expect("a summary");
    assert!(summary.contains("grant"), "{summary}");
    let ran_it = |event: &serde_json::Value| event["kind"] == "exec" && event["decision"] == "allow";
    assert!(!ran.events.iter().any(ran_it), "sh test.sh was not granted");
}

#[test]
fn a_search_that_meets_credentials_says_what_to_do_and_passes_over_them_where_the_operator_lets_it() {
    let site = Site::empty();
    site.write("src/title.txt", "the slug of a title\n");
    site.write(".env", "KEY=slug-of-a-key\n");
    site.publish();
    let search = |arguments| json!({ "tool_calls": [{ "name": "search", "arguments": arguments }] });
    let mut last = finish("done");
    last["expect"] = json!("src/title.txt:1: the slug of a title");
    let refused = json!({ "replies": [
        search(json!({ "pattern": "slug" })),
        {
            "expect": ["not read by tasks: .env", "name a glob", "filter = true"],
            "expect_not": "slug-of-a-key",
            "tool_calls": [{ "name": "search", "arguments": { "pattern": "slug", "glob": "src/**" } }],
        },
        last.clone(),
    ] });
    let ran = Ran::of(&mut site.scripted(&refused));
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.report(), ran.tool_results());

    site.aside("config.toml", "[[plugin]]\nid = \"rules\"\nmutates = true\nsettings = { filter = true }\n");
    last["expect_not"] = json!("slug-of-a-key");
    let filtered = json!({ "replies": [search(json!({ "pattern": "slug" })), last] });
    let ran = Ran::of(&mut site.scripted(&filtered));
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.report(), ran.tool_results());
}

#[test]
fn what_is_no_component_is_refused_in_one_line() {
    let site = Site::new();
    let core_module = b"\0asm\x01\0\0\0".as_slice();
    for (bytes, told) in
        [(core_module, "core module"), (b"\x7fELF".as_slice(), "machine code"), (b"".as_slice(), "empty")]
    {
        let path = site.aside("bad.wasm", bytes);
        site.aside("config.toml", format!("[[plugin]]\nid = \"bad\"\npath = \"{}\"\n", path.display()));
        let output = site.scripted(&shell_script(&["true"])).output().expect("runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(told) && stderr.trim().lines().count() == 1, "{stderr}");
    }
}

#[test]
fn the_plugins_are_listed_with_what_they_offer() {
    let site = Site::empty();
    let output = site.sortie().args(["plugin", "list"]).output().expect("runs");
    let stdout = String::from_utf8_lossy(&output.stdout);
    for name in ["shell", "apply_patch", "git_commit", "run_tests", "fetch", "rules"] {
        assert!(stdout.contains(name), "{name}: {stdout}");
    }
}
