//! What the machine can do and has room for: `doctor`, `gc`, and the limits of the disk.

use std::os::unix::net::UnixListener;
use std::process::Output;

use serde_json::Value;

use crate::support::{FIX, Ran, Site, shell_script};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn doctor(site: &Site, variables: &[(&str, &str)]) -> (Option<i32>, Value) {
    let mut command = site.sortie();
    command.env_remove("CONTAINER_HOST").envs(variables.iter().copied());
    let output = command.args(["doctor", "--json"]).output().expect("it runs");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
    (output.status.code(), report)
}

fn finding<'a>(report: &'a Value, name: &str) -> &'a Value {
    let findings = report["findings"].as_array().expect("a list");
    findings.iter().find(|finding| finding["name"] == name).unwrap_or_else(|| panic!("no {name}: {report:#}"))
}

#[test]
fn doctor_says_what_each_kind_of_workspace_is_kept_by() {
    let site = Site::empty();
    let (code, report) = doctor(&site, &[("DOCKER_HOST", "tcp://192.0.2.1:2375")]);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(report["sortie"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["workspace"], "sandbox");
    let sandbox = report["enforced"]["sandbox"].as_object().expect("it can be used");
    let names: Vec<_> = sandbox.keys().map(String::as_str).collect();
    let mut expected =
        ["files", "network", "processes", "memory", "cpus", "disk", "system_calls", "landlock"];
    expected.sort_unstable();
    let mut found = names;
    found.sort_unstable();
    assert_eq!(found, expected);
    for kept in ["files", "network", "processes", "memory", "disk", "system_calls"] {
        assert!(sandbox[kept].is_string(), "{kept}");
    }
    // an engine elsewhere is none
    assert_eq!(report["enforced"]["docker"], Value::Null);
    assert!(finding(&report, "engine")["detail"].as_str().is_some_and(|text| text.contains("192.0.2.1")));
    for name in
        ["sortie", "settings", "kernel", "sandbox", "security", "cgroups", "disk", "clock", "git", "models"]
    {
        assert!(finding(&report, name)["ok"].is_boolean(), "{name}");
    }
}

#[test]
fn doctor_fails_where_the_wanted_kind_of_workspace_cannot_be_had() {
    let site = Site::empty();
    let elsewhere = ("DOCKER_HOST", "tcp://192.0.2.1:2375");
    let (code, report) = doctor(&site, &[elsewhere, ("SORTIE_WORKSPACE", "docker")]);
    assert_eq!(code, Some(5), "{report:#}");
    let engine = finding(&report, "engine");
    assert_eq!((&engine["ok"], &engine["needed"]), (&Value::Bool(false), &Value::Bool(true)));
    site.aside("config.toml", "[workspace]\ndisk_free_mb = 1000000000\n");
    let (code, report) = doctor(&site, &[elsewhere]);
    assert_eq!((code, &finding(&report, "disk")["ok"]), (Some(5), &Value::Bool(false)));
}

#[test]
fn doctor_fails_where_no_task_would_begin_for_a_rule() {
    let site = Site::empty();
    site.aside(
        "config.toml",
        "[[rule]]\nname = \"x\"\naction = \"file-writ\"\ndecision = \"deny\"\nreason = \"y\"\n",
    );
    let (code, report) = doctor(&site, &[]);
    let findings = report["findings"].as_array().expect("a list");
    let plugins = findings.iter().find(|finding| finding["name"] == "plugins").expect("is among them");
    assert_eq!((code, &plugins["ok"]), (Some(5), &Value::Bool(false)), "{plugins}");
    assert!(plugins["detail"].as_str().is_some_and(|detail| detail.contains("file-writ")), "{plugins}");
}

#[test]
fn an_engine_that_says_nothing_holds_doctor_up_for_a_moment_alone() {
    let site = Site::empty();
    let socket = site.path().join("engine.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let (_, report) = doctor(&site, &[("DOCKER_HOST", &format!("unix://{}", socket.display()))]);
    let detail = finding(&report, "engine")["detail"].as_str().unwrap_or_default().to_owned();
    assert!(detail.contains("it said nothing for"), "{detail}");
    drop(listener);
}

#[test]
fn a_command_that_fills_the_disk_is_told_so_and_the_task_goes_on() {
    let site = Site::new();
    site.aside("config.toml", "[workspace]\ndisk_mb = 64\n");
    // little enough that what is written until it is ended is no second reason to end anything; zeros alone take no
    // room on a file system that compresses
    let fill = "head -c 72M /dev/urandom > full; sleep 1000";
    let ran = Ran::of(&mut site.scripted(&shell_script(&[fill, "rm full; echo there is room", FIX])));
    assert_eq!(ran.code, Some(0), "{:#}", ran.report());
    let reached = format!("disk_bytes = {} was reached while this ran: all commands were ended", 64 << 20);
    let told = ran.tool_results();
    assert!(told.contains(&reached) && told.contains("there is room"), "{told}");
    let warned = ran.of_type("warning").any(|event| {
        event["text"].as_str().is_some_and(|text| text.contains("limit disk_bytes = 67108864 was reached"))
    });
    assert!(warned, "the user is told, too");
}

#[test]
fn the_state_folder_is_empty_in_a_sandbox_that_shows_where_it_lies() {
    let site = Site::new();
    let (user, state) = (site.path().join("user"), site.path().join("user/.deno/bin/state"));
    std::fs::create_dir_all(state.parent().expect("it has one")).expect("is made");
    let look = format!("ls -A {0} && ls {0}/..", state.display());
    let mut command = site.scripted(&shell_script(&[&look]));
    let ran = Ran::of(command.env("HOME", user).env_remove("DENO_INSTALL").env("SORTIE_HOME", &state));
    assert!(state.join("journal.db").exists());
    assert_eq!(ran.tool_results().lines().next(), Some("state"), "{}\n{}", ran.tool_results(), ran.stderr);
}

#[test]
fn limits_of_the_settings_hold_in_a_task_and_a_repository_tightens_them_alone() {
    let site = Site::new();
    site.aside("config.toml", "[workspace]\nmemory_mb = 64\n");
    let own = std::fs::read_to_string(site.clone().join(".sortie/config.toml")).expect("it is there");
    let limits = "[environment]\nlimits = { memory_mb = 1000, processes = 40 }\n";
    site.write(".sortie/config.toml", own + limits);
    site.git(&site.clone(), &["commit", "--quiet", "--all", "--message", "Limits"]);
    let fork = "for n in $(seq 60); do sleep 1000 & done; kill $(jobs -p)";
    let hold = "head -c 300000000 /dev/zero | tail > /dev/null";
    let ran = Ran::of(&mut site.scripted(&shell_script(&[hold, fork])));
    let told = ran.tool_results();
    for limit in ["memory_bytes = 67108864", "processes = 40"] {
        assert!(told.contains(&format!("{limit} was reached")), "{limit}: {told}");
    }
}

#[test]
fn a_disk_with_too_little_room_is_refused_before_anything_runs() {
    let site = Site::new();
    site.aside("config.toml", "[workspace]\ndisk_free_mb = 1000000000\n");
    let ran = Ran::of(&mut site.scripted(&shell_script(&[FIX])));
    assert_eq!(ran.code, Some(5), "{:#}", ran.report());
    let report = ran.report().to_string() + &ran.stderr;
    assert!(
        report.contains("disk_free_mb") && report.contains("1000000000 MiB are to stay free"),
        "{report}"
    );
}

#[test]
fn only_what_has_a_name_can_be_accepted() {
    let site = Site::new();
    let ran = site.scripted(&shell_script(&[FIX])).args(["--accept", "no-walls"]).output().expect("runs");
    assert_eq!(ran.status.code(), Some(2));
    let said = text(&ran);
    assert!(
        said.contains("nothing to accept is named `no-walls`") && said.contains("no-cpu-limit"),
        "{said}"
    );
    let ran = Ran::of(site.scripted(&shell_script(&[FIX])).args(["--accept", "no-cpu-limit"]));
    assert_eq!(ran.code, Some(0), "what is accepted need not be missing: {:#}", ran.report());
}

#[test]
fn gc_says_what_would_go_with_its_size_before_it_goes() {
    let site = Site::new();
    let ran = Ran::of(&mut site.scripted(&shell_script(&[FIX])));
    let task = ran.report()["task"].as_str().expect("an id").to_owned();
    site.aside("config.toml", "[archive]\nmax_mb = 0\n[snapshots]\nenabled = false\n");
    let gc = |arguments: &[&str]| {
        let mut command = site.sortie();
        command.env("DOCKER_HOST", "unix:///nowhere/at/all.sock");
        let output = command.arg("gc").args(arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        output
    };
    let archive = site.path().join("home/archives").join(format!("{task}.tar.zst"));
    let shown = text(&gc(&["--dry-run"]));
    assert!(shown.contains("would go:     1 archives") && shown.contains(&task), "{shown}");
    let json = |arguments: &[&str]| -> Value { serde_json::from_slice(&gc(arguments).stdout).expect("JSON") };
    let would = json(&["--dry-run", "--json"]);
    assert_eq!(
        (&would["dry_run"], &would["archives"][0]),
        (&Value::Bool(true), &Value::String(task.clone()))
    );
    assert!(would["archive_bytes"].as_u64().is_some_and(|bytes| bytes > 0) && archive.exists());
    let did = json(&["--json"]);
    assert_eq!((&did["archives"], &did["archive_bytes"]), (&would["archives"], &would["archive_bytes"]));
    assert!(!archive.exists());
    // an engine that is not there is no reason to fail, and is said
    assert!(text(&gc(&[])).contains("containers and images are left as they are"));
}

#[test]
fn gc_makes_room_where_the_journal_cannot_be_opened() {
    let site = Site::new();
    site.aside("config.toml", "install = \"touch made\"\n");
    let ran = Ran::of(&mut site.scripted(&shell_script(&[FIX])));
    assert_eq!(ran.code, Some(0), "{:#}", ran.report());
    let task = ran.report()["task"].as_str().expect("an id").to_owned();
    let home = site.path().join("home");
    let archive = home.join("archives").join(format!("{task}.tar.zst"));
    assert!(archive.exists() && home.join("tasks").join(&task).exists());
    let snapshots = || std::fs::read_dir(home.join("snapshots")).map_or(0, Iterator::count);
    assert_eq!(snapshots(), 1);
    // as little to be read as one on a disk without room
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        drop(std::fs::remove_file(home.join(name)));
    }
    std::fs::create_dir(home.join("journal.db")).expect("is made");
    site.aside("config.toml", "[archive]\nmax_mb = 0\n[snapshots]\nenabled = false\n");
    let gc = |arguments: &[&str]| -> (String, Value) {
        let mut command = site.sortie();
        command.env("DOCKER_HOST", "unix:///nowhere/at/all.sock");
        let output = command.args(["gc", "--json"]).args(arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (said, serde_json::from_slice(&output.stdout).expect("JSON"))
    };
    let would = gc(&["--dry-run"]).1;
    assert!(archive.exists() && snapshots() == 1);
    let (said, did) = gc(&[]);
    assert!(said.contains("folders of tasks stay that go with no archive: the journal `"), "{said}");
    assert_eq!((&did["archives"][0], &did["task_folders"][0]), (&Value::from(&*task), &Value::from(&*task)));
    assert_eq!(did["archives"], would["archives"]);
    assert!(!archive.exists() && !home.join("tasks").join(&task).exists() && snapshots() == 0);
}
