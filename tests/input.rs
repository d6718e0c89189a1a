//! Bad input: one clear line, and the right exit code.

use crate::support::{FIX, Ran, Site, shell_script};
use serde_json::json;

/// Runs a command that must fail before a task begins; returns what it says.
fn fails(command: &mut std::process::Command, code: i32) -> String {
    let output = command.output().expect("runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr
}

fn run_on(site: &Site, repository: &str) -> std::process::Command {
    let scripted = site.scripted(&shell_script(&["true"]));
    let mut arguments: Vec<std::ffi::OsString> = scripted.get_args().map(ToOwned::to_owned).collect();
    let at = arguments.iter().position(|argument| argument == "--repo").expect("it is there");
    // in one word: it may begin as an option does
    arguments.splice(at..at + 2, [format!("--repo={repository}").into()]);
    let mut command = site.sortie();
    command.args(arguments);
    command
}

#[test]
fn a_folder_that_is_no_repository_is_a_usage_error() {
    let site = Site::empty();
    if site.path().ancestors().any(|folder| folder.join(".git").symlink_metadata().is_ok()) {
        return eprintln!("skipped: a repository lies around {}", site.path().display());
    }
    let stderr = fails(&mut run_on(&site, "."), 2);
    assert!(stderr.contains("neither this folder nor one above it has a `.git`"), "{stderr}");
}

#[test]
fn an_address_that_git_would_run_a_program_for_is_refused() {
    let site = Site::empty();
    for bad in ["ext::sh -c id", "--upload-pack=id", "git://example.org/x", "http://example.org/x"] {
        let stderr = fails(&mut run_on(&site, bad), 2);
        assert!(stderr.contains("is no repository: ") && stderr.lines().count() == 1, "{stderr}");
    }
}

#[test]
fn an_empty_repository_an_unknown_base_and_a_missing_remote_each_say_so() {
    let site = Site::new();
    let empty = site.path().join("empty.git");
    site.git(site.path(), &["init", "--quiet", "--bare", "empty.git"]);
    let ran = Ran::of(&mut run_on(&site, &format!("file://{}", empty.display())));
    assert_eq!(ran.code, Some(2), "{}", ran.report());
    assert!(
        ran.report()["summary"].as_str().is_some_and(|s| s.contains("has no commit on its HEAD")),
        "{}",
        ran.report()
    );

    let ran = Ran::of(site.scripted(&shell_script(&["true"])).args(["--base", "no-such-branch"]));
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.report()["summary"].as_str().is_some_and(|s| s.contains("no-such-branch")),
        "{}",
        ran.report()
    );

    let stderr = fails(&mut run_on(&site, &format!("file://{}/gone.git", site.path().display())), 2);
    assert!(stderr.contains("there is no git repository at `") && stderr.contains("gone.git"), "{stderr}");
}

#[test]
fn a_branch_that_exists_already_is_named_before_any_work() {
    let site = Site::new();
    site.git(&site.clone(), &["push", "--quiet", "origin", "main:refs/heads/sortie/taken"]);
    let ran = Ran::of(site.scripted(&shell_script(&[FIX])).args(["--branch", "sortie/taken"]));
    assert_eq!(ran.code, Some(2), "{}", ran.report());
    assert!(ran.report()["summary"].as_str().is_some_and(|s| s.contains("sortie/taken")), "{}", ran.report());
    assert_eq!(ran.report()["usage"]["turns"], 0);
}

#[test]
fn a_branch_that_no_rule_lets_be_pushed_is_refused_before_any_work() {
    let site = Site::new();
    let run = || Ran::of(site.scripted(&shell_script(&[FIX])).args(["--branch", "fixed"]));
    let ran = run();
    assert_eq!((ran.code, ran.report()["outcome"].as_str()), (Some(3), Some("refused")));
    assert_eq!(
        ran.of_type("step.started").filter(|step| step["step"] == "clone").count(),
        0,
        "{:?}",
        ran.events
    );
    let refused = &ran.report()["refused"][0];
    assert_eq!(
        (&refused["action"], &refused["policy"]),
        (&"push refs/heads/fixed".into(), &"default".into())
    );
    assert!(refused["remedy"].as_str().is_some_and(|remedy| remedy.contains("[[rule]]")), "{refused}");
    // and only what is certain: a rule that could allow it is asked about the push as it is
    let rule = |paths: &str| {
        site.aside(
            "config.toml",
            format!(
                "[[rule]]\nname = \"fixed\"\naction = \"push\"\nmatch = {{ target = \"refs/heads/fixed\", path = \
                 \"{paths}\" }}\ndecision = \"allow\"\nreason = \"it is mine\"\n"
            ),
        )
    };
    rule("docs/**");
    let ran = run();
    assert_eq!((ran.code, ran.of_type("tool.ended").count()), (Some(3), 1), "{}", ran.report());
    rule("slug.sh");
    let ran = run();
    assert_eq!((ran.code, ran.report()["branch"].as_str()), (Some(0), Some("fixed")), "{}", ran.report());
}

#[test]
fn a_branch_name_like_an_option_is_a_usage_error() {
    let site = Site::new();
    let stderr = fails(site.scripted(&shell_script(&["true"])).arg("--branch=--force"), 2);
    assert!(stderr.contains("`--force` is no name for a branch"), "{stderr}");
}

#[test]
fn an_unknown_key_in_the_settings_names_the_nearest_one() {
    let site = Site::new();
    site.aside("config.toml", "[limits]\nturn = 3\n");
    let stderr = fails(&mut site.scripted(&shell_script(&["true"])), 2);
    assert!(stderr.contains("config.toml:2: unknown key `turn`; hint: did you mean `turns`?"), "{stderr}");
}

#[test]
fn a_repository_that_grants_itself_something_is_refused() {
    let site = Site::empty();
    site.write("a", "a");
    site.write(".sortie/config.toml", "[[plugin]]\nid = \"own\"\npath = \"x.wasm\"\n");
    site.publish();
    let ran = Ran::of(&mut site.scripted(&shell_script(&["true"])));
    assert_eq!(ran.code, Some(2), "{}", ran.report());
    assert!(
        ran.report()["summary"].as_str().is_some_and(|s| s.contains(".sortie/config.toml:1")),
        "{}",
        ran.report()
    );
}

#[test]
fn a_state_folder_that_others_can_read_is_refused_with_the_command_that_closes_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::new();
    let home = site.path().join("home");
    std::fs::create_dir(&home).expect("a folder is made");
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o755)).expect("it is opened");
    let stderr = fails(&mut site.scripted(&shell_script(&["true"])), 2);
    assert!(stderr.contains(&format!("chmod 700 {}", home.display())), "{stderr}");
}

#[test]
fn a_missing_key_says_which_variable_to_set() {
    let site = Site::new();
    let mut command = site.sortie();
    command.args(["run", "x", "--model", "anthropic/some-model", "--repo"]).arg(site.clone());
    assert!(fails(&mut command, 2).contains("ANTHROPIC_API_KEY"));
}

#[test]
fn names_that_are_no_utf_8_or_hold_line_breaks_are_delivered_as_they_are() {
    use std::os::unix::ffi::OsStrExt as _;
    let site = Site::new();
    let ran = Ran::of(&mut site.scripted(&shell_script(&[
        FIX,
        "printf x > \"$(printf 'caf\\351')\"; printf y > \"$(printf 'a\\nb')\"; printf z > -n",
    ])));
    assert_eq!(ran.code, Some(0), "{}", ran.report());
    let branch = ran.report()["branch"].as_str().expect("a branch");
    let output = sortie_testing::git(&site.origin())
        .args(["diff", "-z", "--name-only", "main", branch])
        .output()
        .expect("git runs");
    let names: Vec<_> = output.stdout.split(|b| *b == 0).filter(|n| !n.is_empty()).collect();
    assert_eq!(
        names,
        [b"-n".as_slice(), b"a\nb", b"caf\xe9", b"slug.sh"],
        "{:?}",
        std::ffi::OsStr::from_bytes(&output.stdout)
    );
}

#[test]
fn malformed_arguments_an_unknown_tool_and_an_empty_reply_are_told_to_the_model() {
    let site = Site::new();
    let script = json!({ "replies": [
        { "tool_calls": [{ "name": "shell", "arguments": "{\"command\": " }] },
        { "expect": "malformed JSON", "tool_calls": [{ "name": "no_such_tool", "arguments": {} }] },
        { "expect": "there is no tool `no_such_tool`", "tool_calls": [] },
        { "tool_calls": [
            { "name": "shell", "arguments": { "command": FIX } },
            { "name": "shell", "arguments": { "command": "sh test.sh" } },
        ] },
        { "expect": "ok 3", "expect_not": "not ok 3", "tool_calls": [{ "name": "finish", "arguments": { "outcome": "done", "title": "t", "summary": "s" } }] },
    ] });
    Ran::of(&mut site.scripted(&script)).assert_fixed(&site);
}
