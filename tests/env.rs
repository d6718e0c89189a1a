//! What a workspace would be made of: `sortie env show` and `sortie env check`.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::environments::containers::image;
use crate::support::{Ran, Site, shell_script, until};

/// A repository with these files, committed.
fn site(files: &[(&str, &str)]) -> Site {
    let site = Site::empty();
    for (name, content) in files {
        site.write(name, content);
    }
    site.publish();
    site
}

fn env(site: &Site, arguments: &[&str]) -> Command {
    let mut command = site.sortie();
    command.arg("env").args(arguments).arg("--repo").arg(site.clone());
    command.env_remove("SORTIE_NETWORK").env_remove("DOCKER_HOST");
    command
}

fn shown(site: &Site, arguments: &[&str]) -> Value {
    let output = env(site, &[&["show", "--json"], arguments].concat()).output().expect("sortie runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it is JSON")
}

/// The values of a key, each with its source.
fn values(shown: &Value, key: &str) -> Vec<(String, String)> {
    let rows = shown["values"].as_array().expect("values").iter().filter(|row| row["key"] == key);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    rows.map(|row| (text(&row["value"]), text(&row["source"]))).collect()
}

fn value(shown: &Value, key: &str) -> (String, String) {
    values(shown, key).pop().unwrap_or_else(|| panic!("no {key}: {shown:#}"))
}

fn pair(value: &str, source: &str) -> (String, String) {
    (value.to_owned(), source.to_owned())
}

/// What a command that must fail says, with code 2.
fn problem(command: &mut Command) -> String {
    let output = command.output().expect("sortie runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

#[test]
fn manifests_of_the_commit_suggest_set_up_and_image_and_each_says_why() {
    let site = site(&[("requirements.txt", "pytest\n"), ("tests/test_a.py", "def test_a():\n    pass\n")]);
    // not of the commit that a task starts from
    site.write("Cargo.toml", "[package]\n");
    let shown = shown(&site, &["--workspace", "docker"]);
    assert_eq!(value(&shown, "image"), pair("python:3.13", "requirements.txt"));
    let set_up = values(&shown, "setup");
    assert_eq!(set_up[0], pair("python3 -m venv .venv", "requirements.txt"));
    assert_eq!(set_up[2].1, "tests that use pytest");
    assert_eq!(set_up.len(), 3, "{shown:#}");
    assert_eq!(value(&shown, "network.setup"), pair("all", "default"));
    let commit = site.git(&site.clone(), &["rev-parse", "HEAD"]);
    assert_eq!(shown["commit"], commit.as_str());
}

#[test]
fn the_first_that_says_something_describes_the_environment() {
    let devcontainer =
        r#"{ "image": "theirs", "postCreateCommand": "make theirs", "features": { "x": {} } }"#;
    let site = site(&[("go.mod", "module a\n"), (".devcontainer/devcontainer.json", devcontainer)]);
    let docker = ["--workspace", "docker"];
    let of_devcontainer = shown(&site, &docker);
    let path = ".devcontainer/devcontainer.json";
    assert_eq!(value(&of_devcontainer, "image"), pair("theirs", path));
    assert_eq!(value(&of_devcontainer, "setup"), pair("make theirs", path));
    assert!(
        of_devcontainer["notices"].to_string().contains("`features`: not installed"),
        "{of_devcontainer:#}"
    );
    let on_the_machine = shown(&site, &[]);
    assert_eq!(values(&on_the_machine, "image"), []);
    assert_eq!(value(&on_the_machine, "setup"), pair("go mod download", "go.mod"));

    let own =
        "[environment]\nimage = \"own\"\nsecrets = [\"TOKEN\"]\n[environment.network]\nsetup = \"none\"\n";
    site.write(".sortie/config.toml", own);
    site.git(&site.clone(), &["add", "--all"]);
    site.git(&site.clone(), &["commit", "--quiet", "--message", "Describe"]);
    let of_repository = shown(&site, &docker);
    let repository = "the repository's .sortie/config.toml";
    assert_eq!(value(&of_repository, "image"), pair("own", repository));
    assert_eq!(value(&of_repository, "setup"), pair("go mod download", "go.mod"));
    assert_eq!(value(&of_repository, "secrets.TOKEN"), pair("not bound", repository));
    assert_eq!(
        value(&of_repository, "network.setup at most"),
        pair("none", ".sortie/config.toml: environment.network.setup")
    );

    site.aside("organisation.toml", "environment = \"ci\"\n[environments.ci]\nimage = \"company\"\n");
    site.aside(
        "config.toml",
        "[environments.ci]\nimage = \"mine\"\nsetup = [\"make mine\"]\nvariables = { MODE = \"ci\" }\n\
         secrets = { TOKEN = { env = \"MY_TOKEN\" } }\nlimits = { memory_mb = 512 }\nnetwork = { setup = \"registries\" }\n",
    );
    let named = shown(&site, &docker);
    let user = "`ci` of the user's settings";
    assert_eq!(value(&named, "image"), pair("mine", user));
    assert_eq!(value(&named, "setup"), pair("make mine", user));
    assert_eq!(value(&named, "variables.MODE"), pair("ci", user));
    assert_eq!(value(&named, "secrets.TOKEN"), pair("{\"env\":\"MY_TOKEN\"}", user));
    assert_eq!(value(&named, "limits.memory_mb"), pair("512", user));
    assert_eq!(value(&named, "network.setup"), pair("registries", user));
    // it can only tighten, whoever describes the environment
    assert_eq!(values(&named, "network.setup at most").len(), 1);
    let flag = shown(&site, &["--workspace", "docker", "--image", "flag"]);
    assert_eq!(value(&flag, "image"), pair("flag", "--image or SORTIE_IMAGE"));

    let none = shown(&site, &["--workspace", "docker", "--env", "none"]);
    assert_eq!(none["environment"], "what lies in the repository");
    assert_eq!(value(&none, "image"), pair("golang:1", "go.mod"));
    assert_eq!(values(&none, "secrets.TOKEN"), []);
}

#[test]
fn people_see_a_line_for_each_value() {
    let site = site(&[(
        ".sortie/config.toml",
        "install = \"make\\n deps\"\n[test]\ncommand = [\"sh\", \"t t.sh\"]\n",
    )]);
    let output = env(&site, &["show"]).output().expect("sortie runs");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let commit = site.git(&site.clone(), &["rev-parse", "HEAD"]);
    let expected = format!(
        "repository   {} at {}\n\
         environment  what lies in the repository\n\n\
         workspace      sandbox  # default\n\
         setup          make deps  # .sortie/config.toml\n\
         network.setup  all  # default\n\
         network.agent  none  # default\n\
         test           sh 't t.sh'  # .sortie/config.toml\n",
        site.clone().display(),
        &commit[..12]
    );
    assert_eq!(stdout, expected, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_tasks_set_up_is_what_was_shown() {
    let own = "[environment]\nsetup = [\"echo 1 > one\", \"echo 2 > two\"]\nvariables = { A = \"b\" }\n";
    let site = site(&[(".sortie/config.toml", own), ("package.json", "{}")]);
    let shown: Vec<_> = values(&shown(&site, &[]), "setup").into_iter().map(|(line, _)| line).collect();
    let ran = Ran::of(&mut site.scripted(&shell_script(&["cat one two; echo $A"])));
    let steps = ran.of_type("step.started").filter(|event| event["step"] == "install");
    let steps: Vec<_> = steps.map(|event| event["detail"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(steps, shown, "{}", ran.stderr);
    assert!(ran.tool_results().contains("1\n2\nb\n"), "{}", ran.tool_results());
}

#[test]
fn an_environment_that_nobody_describes_is_an_error_that_lists_what_there_is() {
    let site = site(&[("a", "")]);
    assert!(problem(&mut env(&site, &["show", "--env", "ci"])).contains("the settings have none"));
    site.aside("config.toml", "[environments.gpu]\nimage = \"a\"\n[environments.ci]\nimage = \"a\"\n");
    let said = problem(&mut env(&site, &["check", "--env", "cy"]));
    assert!(said.contains("no environment named `cy`; there are: ci, gpu"), "{said}");
    let said = problem(site.scripted(&shell_script(&["true"])).args(["--env", "cy"]));
    assert!(said.contains("there are: ci, gpu"), "{said}");
    site.aside("config.toml", "[environments.gpu]\nimag = \"a\"\n");
    let said = problem(&mut env(&site, &["show"]));
    assert!(said.contains("config.toml:2: unknown key `imag`; hint: did you mean `image`?"), "{said}");
}

#[test]
fn a_state_folder_of_no_name_is_the_usual_one() {
    let site = site(&[("a", "")]);
    let home = site.path().join("someone");
    let mut listed = site.sortie();
    let listed = listed.env("SORTIE_HOME", "").env("HOME", &home).env_remove("XDG_STATE_HOME").arg("list");
    assert!(listed.output().expect("sortie runs").status.success());
    assert!(home.join(".local/state/sortie").is_dir());
}

#[test]
fn limits_to_do_without_are_accepted_wherever_one_is_started() {
    let site = site(&[("a", "")]);
    for command in ["build", "shell", "check"] {
        let said = problem(&mut env(&site, &[command, "--accept", "no-moon-limit"]));
        assert!(said.contains("nothing to accept is named `no-moon-limit`"), "{said}");
    }
    let built = Ran::of(&mut env(&site, &["build", "--accept", "no-memory-limit", "--json"]));
    assert_eq!(built.code, Some(0), "{}", built.report());
    let task = built.report()["task"].as_str().expect("an id").to_owned();
    let said = problem(site.sortie().args(["shell", &task, "--accept", "no-moon-limit", "--", "true"]));
    // its workspace is gone, and `--accept` is known
    assert!(said.contains("was not kept"), "{said}");
}

#[test]
fn a_misspelt_rule_of_the_network_is_no_host() {
    let site = site(&[("a", "")]);
    site.aside("config.toml", "[network]\nsetup = \"registry\"\n");
    let said = problem(&mut env(&site, &["check"]));
    assert!(said.contains("config.toml:2:") && said.contains("did you mean `registries`"), "{said}");
}

#[test]
fn a_repository_elsewhere_is_refused_in_one_line() {
    let site = Site::empty();
    let said = problem(site.sortie().args(["env", "show", "--repo", "https://example.org/a.git"]));
    assert!(said.contains("is not on this machine") && said.trim().lines().count() == 1, "{said}");
}

#[test]
fn a_check_passes_where_all_can_be_had_and_never_shows_a_secret() {
    let site = site(&[("a", "")]);
    site.aside(
        "config.toml",
        "[environments.ci]\nsetup = [\"true\"]\nsecrets = { TOKEN = { env = \"MY_TOKEN\" } }\n",
    );
    for command in ["check", "show"] {
        let mut check = env(&site, &[command, "--env", "ci"]);
        let output = check.env("MY_TOKEN", "hunter2hunter2").output().expect("sortie runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("`ci` of the user's settings") && !said.contains("hunter2"), "{said}");
    }
    let said = problem(env(&site, &["check", "--env", "ci"]).env_remove("MY_TOKEN"));
    assert!(said.contains("the secret `TOKEN` cannot be had: the variable `MY_TOKEN` is not set"), "{said}");
}

#[test]
fn a_check_names_registries_that_nobody_listed_without_any_engine() {
    let build = "[environment]\nbuild = { dockerfile = \"Dockerfile\" }\n";
    let own =
        "[environment]\nimage = \"a.b/own\"\n[[environment.service]]\nname = \"db\"\nimage = \"a.b/db\"\n";
    let devcontainer = (".devcontainer.json", r#"{ "image": "a.b/dev" }"#);
    let settings = ".sortie/config.toml";
    for (files, named) in [
        (vec![(settings, own)], vec!["a.b/own", "a.b/db"]),
        (vec![devcontainer], vec!["a.b/dev"]),
        (
            vec![(settings, build), ("Dockerfile", "FROM a.b/c\nCOPY --from=a.b/d /x /y\n")],
            vec!["a.b/c", "a.b/d"],
        ),
    ] {
        let site = site(&files);
        let said = |of: &Site| {
            let mut check = env(of, &["check", "--workspace", "docker"]);
            problem(check.env("DOCKER_HOST", "unix:///nobody/listens"))
        };
        let before = said(&site);
        for image in &named {
            assert!(before.contains(&format!("the repository names the image `{image}`")), "{before}");
        }
        assert!(before.contains("image_registries = [\"a.b\"]"), "{before}");
        site.aside("config.toml", "[workspace]\nimage_registries = [\"a.b\"]\n");
        let after = said(&site);
        assert!(!after.contains("the repository names") && after.contains("/nobody/listens"), "{after}");
    }
}

#[test]
fn a_check_names_what_cannot_be_had() {
    let checked = |files: &[(&str, &str)], settings: &str| {
        let site = site(files);
        site.aside("config.toml", settings);
        problem(&mut env(&site, &["check"]))
    };
    let own = |text| [(".sortie/config.toml", text)];
    let service = "[[environment.service]]\nname = \"db\"\nimage = \"db\"\n";
    assert!(checked(&own(service), "").contains("asks for services, which the built-in sandbox has not"));
    let build = "[environment]\nbuild = { dockerfile = \"docker/Dockerfile\" }\n";
    let said = checked(&own(build), "");
    assert!(
        said.contains("the repository has no `docker/Dockerfile`") && said.contains("asks for a Dockerfile"),
        "{said}"
    );
    let out = "[environment]\nbuild = { dockerfile = \"../Dockerfile\" }\n";
    assert!(checked(&own(out), "").contains("leads out"));
    let compose = [(".devcontainer.json", r#"{ "dockerComposeFile": "compose.yml" }"#)];
    assert!(checked(&compose, "").contains("[[environment.service]]"));
    let settings = "[environments.ci]\nimage = \"-v\"\n[environments.dev]\ncache = [\"/\"]\n";
    let said = checked(&[("a", "")], settings);
    assert!(said.contains("environments.ci.image") && said.contains("environments.dev.cache"), "{said}");
}

#[test]
fn what_a_check_refuses_a_task_refuses_at_once_and_in_the_same_words() {
    for (own, words) in [
        (
            "[environment]\nnetwork = { setup = \"registries\" }\n[[environment.service]]\nname = \"db\"\nimage = \
             \"db\"\n",
            "asks for services, which the built-in sandbox has not",
        ),
        (
            "[test]\ncommand = [\"sh\"]\nformat = \"junit\"\n",
            "config.toml:3: test.format: `junit` is none of cargo",
        ),
        (
            "[environment]\nlimits = { memory_mb = 1 }\n",
            "config.toml:1: environment.limits.memory_mb: 1 lets nothing run; at least 16",
        ),
        ("[environment]\nlimits = { processes = 1 }\n", "limits.processes: 1 lets nothing run; at least 16"),
    ] {
        let site = site(&[(".sortie/config.toml", own), ("Cargo.toml", "[workspace]\n")]);
        let checked = problem(&mut env(&site, &["check"]));
        assert!(checked.contains(words), "{checked}");
        for command in [
            &mut env(&site, &["build", "--json"]),
            site.scripted(&shell_script(&["true"])).args(["--workspace", "sandbox"]),
        ] {
            let ran = Ran::of(command);
            assert_eq!(ran.code, Some(2), "{}", ran.report());
            assert!(
                ran.report()["summary"].as_str().is_some_and(|why| why.contains(words)),
                "{}",
                ran.report()
            );
            // no package manager was asked, and nothing was started for it
            assert_eq!(ran.of_type("decision").filter(|one| one["kind"] == "workspace-create").count(), 0);
        }
    }
    let site = site(&[("a", "")]);
    for (settings, words) in [
        (
            "[workspace]\nmemory_mb = 1\n",
            "config.toml:2: workspace.memory_mb: 1 lets nothing run; at least 16",
        ),
        ("[workspace]\nprocesses = 1\n", "workspace.processes: 1 lets nothing run; at least 16"),
        ("[test]\ncommand = [\"a\"]\nformat = \"junit\"\n", "config.toml:3: test.format: `junit` is none of"),
    ] {
        site.aside("config.toml", settings);
        let said = problem(&mut env(&site, &["check"]));
        assert!(said.contains(words) && said.trim().lines().count() == 1, "{said}");
    }
}

#[test]
fn a_repositorys_files_are_read_as_files_of_a_bounded_size() {
    let large = format!("# {}\n", "x".repeat(300 << 10));
    let of_large = site(&[(".sortie/config.toml", large.as_str())]);
    assert!(problem(&mut env(&of_large, &["show"])).contains("larger than 256 KiB"));
    let folder = site(&[(".sortie/config.toml/a", "")]);
    assert!(problem(&mut env(&folder, &["check"])).contains(".sortie/config.toml is a folder"));
    let linked = Site::empty();
    linked.write(".devcontainer/a", "");
    let secret = linked.aside("secret.json", "{ \"image\": \"secret\" }");
    std::os::unix::fs::symlink(secret, linked.clone().join(".devcontainer.json")).expect("is linked");
    linked.publish();
    let said = problem(&mut env(&linked, &["show"]));
    assert!(said.contains(".devcontainer.json is a link") && !said.contains("secret"), "{said}");
}

#[test]
fn a_task_begins_from_what_build_made() {
    let own = "[environment]\nsetup = [\"echo 1 > \\\"$HOME/one\\\"\"]\n";
    let site = site(&[(".sortie/config.toml", own)]);
    let built = Ran::of(env(&site, &["build", "--json"]).env_remove("SORTIE_MODEL"));
    assert_eq!(built.code, Some(0), "{}\n{:#}", built.stderr, built.report());
    assert_eq!(built.of_type("step.started").filter(|event| event["step"] == "install").count(), 1);
    assert_eq!(built.of_type("model.requested").count(), 0);
    let ran = Ran::of(&mut site.scripted(&shell_script(&["cat ~/one"])));
    assert_eq!(
        ran.of_type("step.started").filter(|event| event["step"] == "install").count(),
        0,
        "{}",
        ran.stderr
    );
    assert_eq!(ran.tool_results(), "1\n[exit code 0]\n");
}

#[test]
fn a_build_says_whether_what_it_made_is_kept() {
    let summary = |own: &str| {
        let site = site(&[(".sortie/config.toml", own), ("file", "1\n")]);
        let built = |site| Ran::of(env(site, &["build", "--json"]).env_remove("SORTIE_MODEL"));
        let said = |ran: &Ran| ran.report()["summary"].as_str().expect("a summary").to_owned();
        [said(&built(&site)), said(&built(&site))]
    };
    let [first, second] = summary("[environment]\nsetup = [\"echo 1 > ~/one\"]\n");
    assert_eq!(first, "Set-up is done; what it made is kept for later tasks.");
    assert_eq!(second, "Set-up was done before; what it made is kept for later tasks.");
    let not_kept = "Set-up is done; nothing of it is kept for later tasks.";
    assert_eq!(summary("[environment]\nsetup = [\"echo 2 > file\"]\n"), [not_kept; 2]);
    assert_eq!(summary("[test]\ncommand = [\"true\"]\n"), ["There is no set-up."; 2]);
}

#[test]
fn a_build_that_fails_says_what_did() {
    let own = "[environment]\nsetup = [\"echo no such th''ing >&2; exit 3\"]\n";
    let site = site(&[(".sortie/config.toml", own)]);
    let output = env(&site, &["build"]).output().expect("sortie runs");
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
    let said = [output.stdout, output.stderr].concat();
    assert!(String::from_utf8_lossy(&said).contains("no such thing"));
}

#[test]
fn a_shell_is_in_the_workspace_that_a_task_would_begin_with_and_leaves_nothing() {
    let own = "[environment]\nsetup = [\"echo 1 > made\"]\nvariables = { MODE = \"test\" }\n";
    let site = site(&[(".sortie/config.toml", own), ("file", "2\n")]);
    let mut shell = env(&site, &["shell"]);
    let output =
        shell.args(["--", "sh", "-c", "cat made file; echo $MODE; exit 7"]).output().expect("sortie runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n2\ntest\n", "{stderr}");
    let tasks = site.path().join("home/tasks");
    let task = tasks.read_dir().expect("tasks").next().expect("a task").expect("is read").path();
    let left: Vec<_> = task.read_dir().expect("is read").flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name == "workspace" || name == "home"), "{left:?}");
    assert!(!site.clone().join("made").exists());
}

#[test]
fn a_shell_whose_host_is_killed_leaves_nothing_after_the_next_command() {
    let site = site(&[(".sortie/config.toml", "[environment]\nsetup = [\"echo 1 > made\"]\n")]);
    let tmp = site.path().join("tmp");
    std::fs::create_dir(&tmp).expect("is made");
    let mut shell = env(&site, &["shell"]);
    shell.args(["--", "sh", "-c", "cat made; sleep 1000"]).env("TMPDIR", &tmp);
    let mut host = shell.stdout(Stdio::piped()).spawn().expect("starts");
    let mut line = String::new();
    BufReader::new(host.stdout.take().expect("piped")).read_line(&mut line).expect("is read");
    assert_eq!(line, "1\n", "it is in there");
    host.kill().expect("is killed");
    host.wait().expect("is gone");
    let home = site.path().join("home");
    let names = |folder: PathBuf| -> Vec<_> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let task = names(home.join("tasks")).pop().expect("a task");
    // what ran in the sandbox may take a moment to end
    until("nothing is left", || {
        assert!(site.sortie().arg("list").output().expect("runs").status.success());
        let left = names(home.join("tasks").join(&task));
        let is_clear = !left.iter().any(|name| ["workspace", "home", "borrowed"].contains(&name.as_str()));
        is_clear && names(home.join("scratch")).is_empty() && names(tmp.clone()).is_empty()
    });
}

#[test]
fn a_devcontainer_holds_in_a_container_and_its_image_goes_with_the_shell() {
    let Some(image) = image() else { return };
    let described = serde_json::json!({
        "image": image,
        "remoteUser": "root",
        "postCreateCommand": "id -u > /made",
        "containerEnv": { "FOLDER": "${containerWorkspaceFolder}" },
    });
    let site = site(&[(".devcontainer.json", described.to_string().as_str())]);
    site.aside("config.toml", "[snapshots]\nenabled = false\n");
    let docker = ["--workspace", "docker"];
    assert_eq!(value(&shown(&site, &docker), "image"), pair(&image, ".devcontainer.json"));
    let checked = env(&site, &["check", "--workspace", "docker"]).output().expect("sortie runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let mut shell = env(&site, &["shell", "--workspace", "docker"]);
    let output =
        shell.args(["--", "sh", "-c", "cat /made; cd \"$FOLDER\" && pwd"]).output().expect("sortie runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n/workspace\n", "{stderr}");
    let task = stderr.split_whitespace().find(|word| word.starts_with("task-")).expect("an id");
    let images =
        Command::new("docker").args(["images", "--quiet", &format!("sortie-task:{task}-*")]).output();
    assert_eq!(String::from_utf8_lossy(&images.expect("docker runs").stdout), "", "{stderr}");
}
