//! Set-up by environments: done once, without a trace of its secrets, and never for ever.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Ran, Site, finish, shell_script};

/// A repository whose one test wants what set-up makes.
fn site(environment: &str) -> Site {
    let site = Site::empty();
    site.write("test.sh", "test -f made/thing && test -f \"$HOME/mark\" && echo '1 passed'\n");
    site.write("package-lock.json", "{}\n");
    site.write(".sortie/config.toml", format!("[test]\ncommand = [\"sh\", \"test.sh\"]\n{environment}"));
    site.publish();
    site
}

const MAKE: &str = "mkdir -p made && echo thing > made/thing && echo mark > ~/mark && echo ran";

fn environment(setup: &[&str]) -> String {
    format!("[environment]\nsetup = {}\n", json!(setup))
}

/// The details of the steps of one name, in order.
fn steps(ran: &Ran, step: &str) -> Vec<String> {
    let started = ran.of_type("step.started").filter(|event| event["step"] == step);
    started.map(|event| event["detail"].as_str().unwrap_or_default().to_owned()).collect()
}

fn nothing() -> Value {
    json!({ "replies": [finish("done")] })
}

fn passed(ran: &Ran) {
    let report = ran.report();
    assert_eq!((ran.code, report["outcome"].as_str()), (Some(0), Some("done")), "{report:#}\n{}", ran.stderr);
    assert_eq!(report["tests"]["baseline"], json!({ "passed": 1, "failed": 0, "skipped": 0 }), "{report:#}");
}

/// Files in a folder that hold a text in their bytes, names or link targets.
fn holding(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("is listed") {
            let path = entry.expect("an entry").path();
            let kind = path.symlink_metadata().expect("is there").file_type();
            let bytes = if kind.is_symlink() {
                std::fs::read_link(&path).expect("a link").into_os_string().into_encoded_bytes()
            } else if kind.is_file() {
                std::fs::read(&path).expect("is read")
            } else {
                Vec::new()
            };
            let named = path.to_string_lossy().contains(text);
            if named || bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path.clone());
            }
            if kind.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

#[test]
fn a_second_task_takes_up_what_the_set_up_of_the_first_made() {
    let site = site(&environment(&[MAKE]));
    let first = Ran::of(&mut site.scripted(&nothing()));
    passed(&first);
    assert_eq!((steps(&first, "install").len(), steps(&first, "snapshot").len()), (1, 0));
    assert_eq!(steps(&first, "workspace"), ["sandbox, for set-up", "sandbox"], "each is begun in the open");
    let look = "cat made/thing; git status --short; ls .git/refs";
    let second = Ran::of(&mut site.scripted(&shell_script(&[look])));
    passed(&second);
    assert_eq!((steps(&second, "install").len(), steps(&second, "snapshot").len()), (0, 1));
    assert!(second.tool_results().contains("thing"), "{}", second.tool_results());
    // what set-up made is no part of a change, whoever made it
    assert_eq!(second.report()["branch"], Value::Null);
}

#[test]
fn a_task_cannot_change_what_the_next_one_takes_up() {
    let site = site(&environment(&[MAKE]));
    let spoil = "echo spoilt > made/thing; echo spoilt > ~/mark; echo new > made/new; cat made/thing";
    for _ in 0..2 {
        let ran = Ran::of(&mut site.scripted(&shell_script(&["cat made/thing ~/mark; ls made", spoil])));
        passed(&ran);
        let seen = ran.of_type("tool.ended").next().expect("a call")["content"].to_string();
        assert!(seen.contains("thing") && !seen.contains("spoilt") && !seen.contains("new"), "{seen}");
    }
}

#[test]
fn another_lock_file_command_variable_or_repository_is_another_set_up_and_caches_are_kept() {
    let with_cache =
        |setup: &str| format!("[environment]\nsetup = [{}]\ncache = [\"~/cache\", \"kept\"]\n", json!(setup));
    let make = "mkdir -p made kept ~/cache; echo thing > made/thing; echo mark > ~/mark; \
                echo before: $(cat kept/n ~/cache/n); echo 1 > kept/n; echo 2 > ~/cache/n";
    let site = site(&with_cache(make));
    let installs = |ran: &Ran| steps(ran, "install").len();
    passed(&Ran::of(&mut site.scripted(&nothing())));
    site.write("package-lock.json", "{ \"lockfileVersion\": 3 }\n");
    site.git(&site.clone(), &["commit", "--quiet", "--all", "--message", "Lock"]);
    let locked = Ran::of(&mut site.scripted(&nothing()));
    passed(&locked);
    assert_eq!((installs(&locked), steps(&locked, "cache").len()), (1, 1));
    let said = locked.of_type("progress").map(|event| event["text"].to_string()).collect::<String>();
    assert!(said.contains("before: 1 2"), "{said}");
    // a file that does not matter to it
    site.write("README.md", "hello\n");
    site.git(&site.clone(), &["add", "--all"]);
    site.git(&site.clone(), &["commit", "--quiet", "--message", "Read me"]);
    assert_eq!(installs(&Ran::of(&mut site.scripted(&nothing()))), 0);
    let settings = format!(
        "[test]\ncommand = [\"sh\", \"test.sh\"]\n{}[environment.variables]\nA = \"b\"\n",
        with_cache(make)
    );
    site.write(".sortie/config.toml", settings);
    site.git(&site.clone(), &["commit", "--quiet", "--all", "--message", "Variable"]);
    assert_eq!(installs(&Ran::of(&mut site.scripted(&nothing()))), 1);
    // the same commits under another name are somebody else's
    let other = site.path().join("other");
    site.git(site.path(), &["clone", "--quiet", "clone", "other"]);
    let mut elsewhere = site.scripted(&nothing());
    elsewhere.arg("--repo").arg(&other);
    let mut command = site.sortie();
    let script = site.path().join("script.json");
    command.args(["run", "x", "--json", "--repo"]).arg(&other);
    command.arg("--model").arg(format!("scripted:{}", script.display()));
    let ran = Ran::of(&mut command);
    assert_eq!((installs(&ran), steps(&ran, "cache").len()), (1, 0));
}

#[test]
fn set_up_that_changes_a_file_of_the_repository_is_not_kept() {
    let site = site(&environment(&[MAKE, "echo '// changed' >> package-lock.json"]));
    for _ in 0..2 {
        let ran = Ran::of(&mut site.scripted(&nothing()));
        passed(&ran);
        assert_eq!(steps(&ran, "install").len(), 2);
        let kept = ran.of_type("step.ended").find(|event| event["step"] == "keep").expect("it was tried");
        assert!(kept["detail"].to_string().contains("set-up changed `package-lock.json`"), "{kept}");
    }
}

#[test]
fn a_repository_may_name_the_branch_that_tasks_start_from_and_a_flag_goes_before_it() {
    let site = site(&format!("{}base = \"develop\"\n", environment(&[MAKE])));
    site.git(&site.clone(), &["checkout", "--quiet", "-b", "develop"]);
    site.write("developed", "yes\n");
    site.git(&site.clone(), &["add", "--all"]);
    site.git(&site.clone(), &["commit", "--quiet", "--message", "Develop"]);
    let developed = site.git(&site.clone(), &["rev-parse", "develop"]);
    site.git(&site.clone(), &["checkout", "--quiet", "main"]);
    let ran = Ran::of(&mut site.scripted(&shell_script(&["ls; echo new > new"])));
    passed(&ran);
    assert!(ran.tool_results().contains("developed"), "{}", ran.tool_results());
    let branch = ran.report()["branch"].as_str().expect("a branch");
    assert_eq!(site.git(&site.origin(), &["rev-parse", &format!("{branch}^")]), developed);
    let ran = Ran::of(site.scripted(&shell_script(&["ls"])).args(["--base", "main"]));
    assert!(!ran.tool_results().contains("developed"), "{}", ran.tool_results());
}

#[test]
fn maintenance_runs_before_each_task_and_is_not_kept() {
    let setup =
        format!("{}maintenance = [\"echo $((1 + $(cat count || echo 0))) > count\"]\n", environment(&[MAKE]));
    let site = site(&setup);
    for _ in 0..3 {
        let ran = Ran::of(&mut site.scripted(&shell_script(&["cat count"])));
        passed(&ran);
        assert!(ran.tool_results().starts_with('1'), "{}", ran.tool_results());
    }
}

/// Raw, in base64 at each of its three places, and URL-encoded.
const SECRET: &str = "s3cr3t/v4lue+of=ours?";
const FORMS: [&str; 5] = [
    "s3cr3t/v4lue+of=ours?",
    "czNjcjN0L3Y0bHVlK29mPW91cnM",
    "M2NyM3QvdjRsdWUrb2Y9b3Vyc",
    "zY3IzdC92NGx1ZStvZj1vdXJzP",
    "s3cr3t%2Fv4lue%2Bof%3Dours%3F",
];

/// With an environment of the user's that binds a secret.
fn with_secret(setup: &[&str]) -> (Site, Value) {
    let site = site("");
    let settings = format!(
        "environment = \"ours\"\n[environments.ours]\nsetup = {}\n[environments.ours.secrets]\nTOKEN = {{ env = \"OUR_TOKEN\" }}\n",
        json!(setup)
    );
    site.aside("config.toml", settings);
    (site, shell_script(&["env; cat /proc/*/environ | tr '\\0' '\\n'; ps ax; cat made/* ~/*"]))
}

fn with_token(site: &Site, script: &Value) -> Ran {
    Ran::of(site.scripted(script).env("OUR_TOKEN", SECRET))
}

#[test]
fn a_secret_of_set_up_is_there_for_its_commands_and_nowhere_afterwards() {
    let used = "test ${#TOKEN} = 21 && printf %s \"$TOKEN\" | cksum > made/sum";
    let shown = "echo \"$TOKEN\"; printf 'user:%s' \"$TOKEN\" | base64 -w0; echo; printf 'a%s' \"$TOKEN\" | base64; \
                 printf %s \"$TOKEN\" | sed 's,/,%2F,; s,+,%2B,; s,=,%3D,; s,?,%3F,'; (sleep 300 &) ; \
                 setsid sleep 300 & true";
    let (site, script) = with_secret(&[MAKE, used, shown]);
    let ran = with_token(&site, &script);
    passed(&ran);
    assert!(site.path().join("home/snapshots").read_dir().expect("is listed").count() == 1);
    let printed = format!("{}{}", ran.stderr, ran.events.iter().map(Value::to_string).collect::<String>());
    for form in FORMS {
        assert!(!printed.contains(form), "{form} was printed");
        assert_eq!(holding(&site.path().join("home"), form), Vec::<PathBuf>::new(), "{form}");
    }
    // archives are compressed
    let task = ran.report()["task"].as_str().expect("an id").to_owned();
    let restored = site.path().join("restored");
    let output = site.sortie().args(["archive", "restore", &task]).arg(&restored).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let log = site.sortie().args(["logs", &task, "--json"]).output().expect("runs").stdout;
    for form in FORMS {
        assert_eq!(holding(&restored, form), Vec::<PathBuf>::new(), "{form}");
        assert!(!String::from_utf8_lossy(&log).contains(form), "{form}");
    }
    let second = with_token(&site, &script);
    passed(&second);
    assert_eq!(steps(&second, "install").len(), 0);
    assert!(!second.tool_results().contains("TOKEN="), "{}", second.tool_results());
}

#[test]
fn a_secret_that_set_up_leaves_ends_the_task_before_anybody_sees_it() {
    for (leave, place) in [
        ("echo \"token = $TOKEN\" > ~/.npmrc", "~/.npmrc"),
        ("mkdir -p made/deep; printf 'x:%s' \"$TOKEN\" | base64 -w0 > made/deep/auth", "made/deep/auth"),
        ("ln -s \"$TOKEN\" made/link", "made/link"),
        ("printf %s \"$TOKEN\" | sed 's,/,%2F,; s,+,%2B,; s,=,%3D,; s,?,%3F,' > made/url", "made/url"),
    ] {
        let (site, script) = with_secret(&[MAKE, leave]);
        let ran = with_token(&site, &script);
        assert_eq!(
            (ran.code, ran.report()["outcome"].as_str()),
            (Some(5), Some("failed")),
            "{leave}: {}",
            ran.stderr
        );
        let why = ran.report()["summary"].as_str().expect("a summary");
        assert!(why.starts_with(&format!("set-up left the secret `TOKEN` in {place}")), "{why}");
        assert_eq!(ran.of_type("tool.started").count(), 0);
        assert!(!site.path().join("home/snapshots").exists(), "nothing of it is kept");
        nothing_is_left(&site, &ran);
    }
}

/// Of the secret, nor of the workspace in which it was.
fn nothing_is_left(site: &Site, ran: &Ran) {
    for form in FORMS {
        assert_eq!(holding(&site.path().join("home"), form), Vec::<PathBuf>::new(), "{form}");
    }
    let archives = site.path().join("home/archives");
    assert!(!archives.exists() || archives.read_dir().expect("is listed").count() == 0);
    let task = ran.report()["task"].as_str().expect("an id");
    assert!(!site.path().join("home/tasks").join(task).join("workspace").exists());
}

#[test]
fn a_set_up_that_fails_with_a_secret_in_a_file_leaves_no_workspace_to_find_it_in() {
    for end in ["exit 1", "sleep 1000"] {
        let (site, script) = with_secret(&[&format!("echo \"$TOKEN\" | tee token; {end}")]);
        let settings = std::fs::read_to_string(site.path().join("config.toml")).expect("is read");
        site.aside("config.toml", format!("{settings}[environments.ours.limits]\nidle_seconds = 1\n"));
        let ran = Ran::of(site.scripted(&script).arg("--keep").env("OUR_TOKEN", SECRET));
        assert_eq!(ran.report()["outcome"], "failed", "{}", ran.stderr);
        nothing_is_left(&site, &ran);
    }
}

#[test]
fn a_host_that_is_killed_in_set_up_leaves_no_secret_in_what_it_had_written() {
    let (site, script) =
        with_secret(&["echo \"$TOKEN\" > ~/token; echo \"$TOKEN\" > token; echo written; sleep 1000"]);
    let mut host = site.scripted(&script);
    let mut host = host.env("OUR_TOKEN", SECRET).stdout(Stdio::piped()).spawn().expect("starts");
    let mut events = BufReader::new(host.stdout.take().expect("piped"));
    let mut line = String::new();
    while !(line.contains("progress") && line.contains("written")) {
        line.clear();
        assert!(events.read_line(&mut line).expect("is read") > 0, "it ended");
    }
    let home = site.path().join("home");
    assert!(!holding(&home, SECRET).is_empty());
    host.kill().expect("is killed");
    host.wait().expect("is gone");
    // what ran in the sandbox may take a moment to end
    for _ in 0..100 {
        assert!(site.sortie().arg("list").output().expect("runs").status.success());
        if holding(&home, SECRET).is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(holding(&home, SECRET), Vec::<PathBuf>::new());
}

#[test]
fn a_secret_that_set_up_takes_for_a_host_is_in_no_event() {
    const HEX: &str = "0b9c4e7a11d2f3586a7e";
    let (site, script) = with_secret(&[MAKE, "git ls-remote \"https://$TOKEN.example/x\" || true"]);
    let settings = std::fs::read_to_string(site.path().join("config.toml")).expect("is read");
    site.aside("config.toml", format!("{settings}[network]\nsetup = \"none\"\n"));
    let ran = Ran::of(site.scripted(&script).env("OUR_TOKEN", HEX));
    passed(&ran);
    let refused = ran.report()["refused"].to_string();
    assert!(refused.contains("network-connect ****.example:443"), "{refused}");
    assert!(!ran.events.iter().any(|event| event.to_string().contains(HEX)));
    assert_eq!(holding(&site.path().join("home"), HEX), Vec::<PathBuf>::new());
}

#[test]
fn what_a_rule_forbids_to_read_is_not_taken_up_from_a_set_up_that_could_read_it() {
    let site = site(&environment(&[MAKE, "cat private >> made/thing || true"]));
    site.write("private", "between us\n");
    site.git(&site.clone(), &["add", "--all"]);
    site.git(&site.clone(), &["commit", "--quiet", "--message", "Private"]);
    let look = shell_script(&["cat made/thing"]);
    let before = Ran::of(&mut site.scripted(&look));
    passed(&before);
    assert!(before.tool_results().contains("between us"), "{}", before.tool_results());
    let rule = "[[rule]]\nname = \"private\"\naction = \"file-read\"\nmatch = { path = \"private\" }\n\
                decision = \"deny\"\nreason = \"private\"\n";
    site.aside("config.toml", rule);
    let after = Ran::of(&mut site.scripted(&look));
    passed(&after);
    assert!(!after.tool_results().contains("between us"), "{}", after.tool_results());
}

#[test]
fn a_policy_may_keep_a_secret_from_set_up() {
    let (site, script) = with_secret(&[MAKE]);
    let settings = std::fs::read_to_string(site.path().join("config.toml")).expect("is read");
    let rule = "\n[[rule]]\nname = \"no-token\"\naction = \"secret-use\"\nmatch = { name = \"TOKEN\" }\n\
                decision = \"deny\"\nreason = \"not here\"\n";
    site.aside("config.toml", format!("{settings}{rule}"));
    let ran = with_token(&site, &script);
    assert_eq!((ran.code, ran.report()["outcome"].as_str()), (Some(3), Some("refused")), "{}", ran.stderr);
    assert_eq!(ran.report()["refused"][0]["rule"], "no-token");
}

#[test]
fn what_an_operator_binds_is_not_given_to_the_set_up_that_a_repository_describes() {
    let site = site(&format!(
        "{}maintenance = [\"echo theirs >> made/thing\"]\n",
        environment(&[MAKE, "echo theirs > made/thing"])
    ));
    let settings = format!(
        "environment = \"ours\"\n[environments.ours]\nsetup = {}\n[environments.ours.secrets]\n\
         TOKEN = {{ env = \"OUR_TOKEN\" }}\n",
        json!([MAKE])
    );
    site.aside("config.toml", settings);
    let ran = with_token(&site, &shell_script(&["cat made/thing"]));
    passed(&ran);
    assert_eq!(steps(&ran, "install"), [MAKE]);
    assert!(ran.tool_results().starts_with("thing"), "{}", ran.tool_results());
}

#[test]
fn a_repository_gives_its_set_up_no_longer_than_an_operator_does() {
    for seconds in [0, 1000] {
        let limits = format!("[environment.limits]\nidle_seconds = {seconds}\n");
        let site = site(&format!("{}{limits}", environment(&["sleep 20; exit 1"])));
        site.aside("config.toml", "[limits]\nidle_seconds = 1\n");
        let ran = Ran::of(&mut site.scripted(&nothing()));
        let why = ran.report()["summary"].as_str().expect("a summary");
        assert!(why.contains("limits reached: idle_timeout_ms = 1000"), "{seconds}: {why}");
    }
}

#[test]
fn nothing_is_kept_where_settings_want_that_nor_of_a_guess_that_failed() {
    let unwanted = site(&environment(&[MAKE]));
    unwanted.aside("config.toml", "[snapshots]\nenabled = false\n");
    let guessed = site("");
    guessed.write("go.mod", "this is none\n");
    guessed.write("test.sh", "echo '1 passed'\n");
    guessed.git(&guessed.clone(), &["add", "--all"]);
    guessed.git(&guessed.clone(), &["commit", "--quiet", "--message", "Module"]);
    for site in [unwanted, guessed] {
        for _ in 0..2 {
            let ran = Ran::of(&mut site.scripted(&nothing()));
            passed(&ran);
            assert_eq!((steps(&ran, "install").len(), steps(&ran, "keep").len()), (1, 0), "{}", ran.stderr);
        }
        assert!(!site.path().join("home/snapshots").exists());
    }
}

#[test]
fn a_repository_names_secrets_and_is_given_none() {
    let site =
        site(&format!("{}secrets = [\"TOKEN\"]\n", environment(&[MAKE, "echo \"<$TOKEN>\" > made/token"])));
    let ran = Ran::of(site.scripted(&shell_script(&["cat made/token"])).env("TOKEN", SECRET));
    passed(&ran);
    assert!(ran.tool_results().starts_with("<>"), "{}", ran.tool_results());
    let warned =
        ran.of_type("warning").any(|event| event["text"].to_string().contains("nobody bound: TOKEN"));
    assert!(warned, "{}", ran.stderr);
}

#[test]
fn set_up_that_hangs_fails_floods_or_wants_a_terminal_ends_with_its_last_lines_and_can_be_entered() {
    for (command, said) in [
        ("echo waiting; sleep 1000", "waiting"),
        ("echo broken >&2; exit 3", "exit status 3\nbroken"),
        ("yes flood | head -c 50000000; echo the end; exit 1", "the end"),
        (
            "stty size </dev/tty; read -r answer && echo \"got $answer\"; echo nobody answered; false",
            "nobody answered",
        ),
    ] {
        let settings =
            format!("{}[environment.limits]\nidle_seconds = 2\n", environment(&["mkdir made", command]));
        let site = site(&settings);
        let mut run = site.scripted(&nothing());
        let ran = Ran::of(run.arg("--keep"));
        assert_eq!(ran.report()["outcome"], "failed", "{command}: {}", ran.stderr);
        let why = ran.report()["summary"].as_str().expect("a summary");
        assert!(why.starts_with("set-up failed: ") && why.contains(said), "{command}: {why}");
        let task = ran.report()["task"].as_str().expect("an id");
        let entered = site.sortie().args(["shell", task, "--", "ls", "-d", "made"]).output().expect("runs");
        assert_eq!(
            String::from_utf8_lossy(&entered.stdout).trim(),
            "made",
            "{}",
            String::from_utf8_lossy(&entered.stderr)
        );
    }
}

#[test]
fn what_the_sandbox_has_not_is_said_with_what_has_it() {
    for (environment, what) in [
        ("[environment]\nsetup = [\"true\"]\nsetup_root = true\n", "set-up as root"),
        ("[[environment.service]]\nname = \"db\"\nimage = \"db:1\"\n", "services"),
    ] {
        let ran = Ran::of(&mut site(environment).scripted(&nothing()));
        assert_eq!(ran.code, Some(5), "{}", ran.stderr);
        let why = ran.report()["summary"].as_str().expect("a summary");
        assert!(why.contains(&format!("asks for {what}")) && why.contains("--workspace docker"), "{why}");
    }
}

/// The image with a shell and Python; none if no image is named, which CI does not allow.
fn image() -> Option<String> {
    let named = std::env::var("SORTIE_TEST_IMAGE").ok();
    assert!(named.is_some() || std::env::var_os("CI").is_none(), "no image is named");
    if named.is_none() {
        eprintln!("skipped: no image is named");
    }
    named
}

/// What Docker's own client lists, by label of a task or of all.
fn docker(arguments: &[&str]) -> String {
    let output = std::process::Command::new("docker").args(arguments).output().expect("the command is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Images that a home's tasks made.
fn images_of(site: &Site) -> Vec<String> {
    // as a host labels them: by its state folder
    let home = site.path().join("home");
    let owner = format!("label=dev.sortie.owner={}", sha256(home.as_os_str().as_encoded_bytes()));
    let filters = ["--filter", "label=dev.sortie.snapshot", "--filter", &owner];
    let listed = docker(&[&["images", "--no-trunc", "--format", "{{.ID}}"], &filters[..]].concat());
    listed.lines().map(str::to_owned).collect()
}

fn sha256(bytes: &[u8]) -> String {
    use std::io::Write as _;
    let mut child = std::process::Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it is there");
    child.stdin.take().expect("a pipe").write_all(bytes).expect("is written");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stdout)[..64].to_owned()
}

fn in_container(site: &Site, script: &Value) -> std::process::Command {
    let mut command = site.scripted(script);
    command.args(["--workspace", "docker"]);
    command
}

#[test]
fn a_container_keeps_what_set_up_did_as_its_root_and_the_agent_is_not_root() {
    let Some(image) = image() else { return };
    let install = "printf '#!/bin/sh\\necho installed\\n' > /usr/local/bin/thing && chmod 755 /usr/local/bin/thing && id -u";
    let settings = format!("{}image = \"{image}\"\nsetup_root = true\n", environment(&[MAKE, install]));
    let site = site(&settings);
    let look = "thing; id -u; stat -c %u made/thing ~/mark; touch /usr/local/bin/other; echo more >> made/thing && echo mine";
    for (round, installs) in [(1, 2), (2, 0)] {
        let ran = Ran::of(&mut in_container(&site, &shell_script(&[look])));
        passed(&ran);
        assert_eq!(steps(&ran, "install").len(), installs, "round {round}");
        let seen = ran.tool_results();
        let lines: Vec<_> = seen.lines().collect();
        assert!(lines[0] == "installed" && lines[1] != "0" && lines[1] == lines[2], "{seen}");
        assert!(seen.contains("Read-only file system") && seen.contains("mine"), "{seen}");
        assert_eq!(images_of(&site).len(), 1, "round {round}");
        let task = ran.report()["task"].as_str().expect("an id");
        assert_eq!(
            docker(&["ps", "--all", "--quiet", "--filter", &format!("label=dev.sortie.task={task}")]),
            ""
        );
    }
    docker(&["rmi", "--force", &images_of(&site)[0]]);
    let ran = Ran::of(&mut in_container(&site, &nothing()));
    passed(&ran);
    assert_eq!(steps(&ran, "install").len(), 2, "a snapshot without its image is none");
    docker(&["rmi", "--force", &images_of(&site)[0]]);
}

#[test]
fn a_shell_in_a_container_that_was_kept_finds_what_set_up_did_there() {
    let Some(image) = image() else { return };
    let settings =
        format!("{}image = \"{image}\"\nsetup_root = true\n", environment(&[MAKE, "echo there > /opened"]));
    let site = site(&settings);
    let ran = Ran::of(in_container(&site, &nothing()).arg("--keep"));
    passed(&ran);
    let task = ran.report()["task"].as_str().expect("an id");
    let entered =
        site.sortie().args(["shell", task, "--", "cat", "/opened", "made/thing"]).output().expect("runs");
    let told = String::from_utf8_lossy(&entered.stderr);
    assert_eq!(String::from_utf8_lossy(&entered.stdout), "there\nthing\n", "{told}");
    for image in images_of(&site) {
        docker(&["rmi", "--force", &image]);
    }
    let entered = site.sortie().args(["shell", task, "--", "ls", "/opened"]).output().expect("runs");
    let told = String::from_utf8_lossy(&entered.stderr);
    assert!(
        told.contains("the image that set-up made is gone") && entered.status.code() != Some(0),
        "{told}"
    );
}

#[test]
fn what_maintenance_did_as_root_is_this_tasks_alone() {
    let Some(image) = image() else { return };
    let settings = format!(
        "{}maintenance = [\"echo $((1 + $(cat /count || echo 0))) > /count\"]\nimage = \"{image}\"\nsetup_root = true\n",
        environment(&[MAKE])
    );
    let site = site(&settings);
    for _ in 0..2 {
        let ran = Ran::of(&mut in_container(&site, &shell_script(&["cat /count"])));
        passed(&ran);
        assert!(ran.tool_results().starts_with('1'), "{}", ran.tool_results());
        assert!(images_of(&site).len() <= 1, "the task's own went with it");
    }
    for image in images_of(&site) {
        docker(&["rmi", "--force", &image]);
    }
}

#[test]
fn images_of_one_task_go_with_it_however_it_ends_and_nobody_else_can_name_them() {
    let Some(image) = image() else { return };
    for (maintenance, keep) in [("true", false), ("exit 1", false), ("exit 1", true), ("true", true)] {
        let settings = format!(
            "{}maintenance = [\"echo x > /maintained; {maintenance}\"]\nimage = \"{image}\"\nsetup_root = true\n",
            environment(&[MAKE, "echo x > /made"])
        );
        let site = site(&settings);
        site.aside("config.toml", "[snapshots]\nenabled = false\n");
        let mut run = in_container(&site, &nothing());
        let ran = Ran::of(if keep { run.arg("--keep") } else { &mut run });
        let ends = if maintenance == "true" { "done" } else { "failed" };
        assert_eq!(ran.report()["outcome"], ends, "{}", ran.stderr);
        let left = images_of(&site);
        assert_eq!(left.len(), if keep && ends == "done" { 2 } else { 0 }, "{maintenance}, {keep}: {left:?}");
        let task = ran.report()["task"].as_str().expect("an id");
        let named = docker(&["images", "--quiet", &format!("sortie-task:{task}")]);
        assert_eq!(named, "", "everybody who sees the branch knows this name");
        let mut names: Vec<_> = left
            .iter()
            .map(|id| docker(&["image", "inspect", "--format", "{{index .RepoTags 0}}", id]))
            .collect();
        names.sort();
        for (at, name) in names.iter().enumerate().rev() {
            assert!(name.starts_with(&format!("sortie-task:{task}-{at}-")), "{name}");
            docker(&["rmi", "--force", "--no-prune", name]);
        }
    }
}

#[test]
fn a_secret_that_set_up_leaves_in_a_container_ends_the_task_and_no_image_keeps_it() {
    let Some(image) = image() else { return };
    let (site, script) = with_secret(&[MAKE, "echo \"password = $TOKEN\" > /etc/pip.conf"]);
    let settings = std::fs::read_to_string(site.path().join("config.toml")).expect("is read");
    let with_image = format!("[environments.ours]\nimage = \"{image}\"\nsetup_root = true\n");
    site.aside("config.toml", settings.replace("[environments.ours]\n", &with_image));
    let ran = Ran::of(in_container(&site, &script).env("OUR_TOKEN", SECRET));
    assert_eq!((ran.code, ran.report()["outcome"].as_str()), (Some(5), Some("failed")), "{}", ran.stderr);
    let why = ran.report()["summary"].as_str().expect("a summary");
    assert!(why.starts_with("set-up left the secret `TOKEN` in /etc/pip.conf"), "{why}");
    assert_eq!(images_of(&site), Vec::<String>::new());
}

#[test]
fn a_secret_is_in_no_container_no_image_and_no_process_of_the_agents() {
    let Some(image) = image() else { return };
    let (site, script) = with_secret(&[MAKE, "test ${#TOKEN} = 21 && echo used > /used"]);
    let settings = std::fs::read_to_string(site.path().join("config.toml")).expect("is read");
    let with_image = format!("[environments.ours]\nimage = \"{image}\"\nsetup_root = true\n");
    site.aside("config.toml", settings.replace("[environments.ours]\n", &with_image));
    let ran = Ran::of(in_container(&site, &script).env("OUR_TOKEN", SECRET));
    passed(&ran);
    let kept = images_of(&site);
    let about = docker(&["image", "inspect", &kept[0]]);
    let history = docker(&["history", "--no-trunc", &kept[0]]);
    let printed = ran.events.iter().map(Value::to_string).collect::<String>();
    for form in FORMS {
        assert!(!about.contains(form) && !history.contains(form) && !printed.contains(form), "{form}");
    }
    docker(&["rmi", "--force", &kept[0]]);
}

#[test]
fn services_are_there_by_name_for_set_up_and_work_and_are_gone_afterwards() {
    let Some(image) = image() else { return };
    let get = "python3 -c 'import urllib.request as u; print(u.urlopen(\"http://web:8099/\").status)'";
    let settings = format!(
        "{}image = \"{image}\"\n[[environment.service]]\nname = \"web\"\nimage = \"{image}\"\n\
         command = [\"python3\", \"-m\", \"http.server\", \"8099\"]\nhealth = {}\n",
        environment(&[MAKE, get]),
        json!(get)
    );
    let site = site(&settings);
    let ran = Ran::of(&mut in_container(&site, &shell_script(&[get])));
    passed(&ran);
    assert!(ran.tool_results().starts_with("200"), "{}", ran.tool_results());
    let task = ran.report()["task"].as_str().expect("an id");
    assert_eq!(docker(&["ps", "--all", "--quiet", "--filter", &format!("label=dev.sortie.task={task}")]), "");
    for image in images_of(&site) {
        docker(&["rmi", "--force", &image]);
    }
}

#[test]
fn a_devcontainer_is_built_and_prepared_as_it_says() {
    let Some(image) = image() else { return };
    let site = Site::empty();
    site.write("test.sh", "baked && test -f made && test \"$COLOUR\" = green && echo '1 passed'\n");
    site.write(".sortie/config.toml", "[test]\ncommand = [\"sh\", \"test.sh\"]\n");
    site.write(
        ".devcontainer/Dockerfile",
        format!("FROM {image}\nARG WORD\nRUN printf \"#!/bin/sh\\necho $WORD\\n\" > /usr/local/bin/baked && chmod 755 /usr/local/bin/baked\n"),
    );
    site.write(
        ".devcontainer/devcontainer.json",
        "{\n  // as an editor would\n  \"build\": { \"dockerfile\": \"Dockerfile\", \"args\": { \"WORD\": \"bread\" } },\n  \
         \"postCreateCommand\": \"touch made\",\n  \"containerEnv\": { \"COLOUR\": \"green\" },\n  \
         \"features\": { \"ghcr\": {} },\n}\n",
    );
    site.publish();
    let ran = Ran::of(&mut in_container(&site, &shell_script(&["baked"])));
    passed(&ran);
    assert!(ran.tool_results().starts_with("bread"), "{}", ran.tool_results());
    assert!(
        ran.of_type("warning").any(|event| event["text"].to_string().contains("features")),
        "{}",
        ran.stderr
    );
    // which the sandbox is none of
    let sandbox = Ran::of(&mut site.scripted(&nothing()));
    let told =
        sandbox.of_type("warning").any(|event| event["text"].to_string().contains("describes a container"));
    assert!(told, "{}", sandbox.stderr);
    for image in images_of(&site) {
        docker(&["rmi", "--force", &image]);
    }
}
