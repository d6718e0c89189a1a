//! Set-up in containers, and what is kept of it there.

use std::net::TcpListener;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use super::secrets::{FORMS, SECRET, with_secret};
use super::{MAKE, environment, nothing, passed, site, steps};
use crate::support::{Ran, Site, shell_script};

/// The image with a shell and Python; none if no image is named, which CI does not allow.
pub(crate) fn image() -> Option<String> {
    let named = std::env::var("SORTIE_TEST_IMAGE").ok();
    assert!(named.is_some() || std::env::var_os("CI").is_none(), "no image is named");
    if named.is_none() {
        eprintln!("skipped: no image is named");
    }
    named
}

/// What Docker's own client lists, by label of a task or of all.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = std::process::Command::new("docker").args(arguments).output().expect("the command is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Images that a home's tasks made.
pub(crate) fn images_of(site: &Site) -> Vec<String> {
    // as a host labels them: by its state folder
    let home = site.path().join("home");
    let owner = format!("label=dev.sortie.owner={}", sha256(home.as_os_str().as_encoded_bytes()));
    let filters = ["--filter", "label=dev.sortie.snapshot", "--filter", &owner];
    let listed = docker(&[&["images", "--no-trunc", "--format", "{{.ID}}"], &filters[..]].concat());
    listed.lines().map(str::to_owned).collect()
}

/// The beginning of an image's id, which an engine takes for it.
fn prefix(image: &str) -> String {
    let id = docker(&["inspect", "--format", "{{.Id}}", image]);
    let digits = id.trim_start_matches("sha256:");
    // decimal digits alone would be the number of a stage
    let letter = digits.find(|digit: char| digit.is_ascii_lowercase()).expect("64 digits have a letter");
    digits[..=letter.max(12)].to_owned()
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
    let look = "thing; id -u; stat -c %u made/thing ~/mark; touch /usr/local/bin/other 2>&1; echo more >> made/thing && echo mine";
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
fn a_shell_starts_no_service_that_the_agent_wrote_down_and_a_repository_may_not_name() {
    let Some(image) = image() else { return };
    let site = site(&environment(&[MAKE]));
    let prefix = prefix(&image);
    let service = format!("[[environment.service]]\nname = \"db\"\nimage = \"{prefix}\"\n");
    let write = format!("printf '%s' '{service}' >> .sortie/config.toml && echo written");
    let ran = Ran::of(in_container(&site, &shell_script(&[&write])).args(["--keep", "--image", &image]));
    passed(&ran);
    assert!(ran.tool_results().starts_with("written"), "{}", ran.tool_results());
    let task = ran.report()["task"].as_str().expect("an id");
    let entered = site.sortie().args(["shell", task, "--", "true"]).output().expect("runs");
    let told = String::from_utf8_lossy(&entered.stderr);
    assert!(entered.status.code() == Some(2) && told.contains("as an id and not as a name"), "{told}");
    for image in images_of(&site) {
        docker(&["rmi", "--force", &image]);
    }
}

#[test]
fn a_shell_pulls_no_image_that_the_repository_named_and_may_not_any_more() {
    let Some(image) = image() else { return };
    // nobody listens there; nothing but its name is asked for
    let named = format!("127.0.0.1:1/sortie-test-{}:1", std::process::id());
    docker(&["tag", &image, &named]);
    let list = "[workspace]\nimage_registries = [\"127.0.0.1:1\"]\n";
    for of_repository in [true, false] {
        let own = if of_repository { &named } else { &image };
        let site = site(&format!("{}image = \"{own}\"\nsetup_root = true\n", environment(&[MAKE])));
        site.aside("config.toml", list);
        let mut run = in_container(&site, &nothing());
        run.arg("--keep");
        if !of_repository {
            run.args(["--image", &named]);
        }
        let ran = Ran::of(&mut run);
        passed(&ran);
        site.aside("config.toml", "");
        for image in images_of(&site) {
            docker(&["rmi", "--force", &image]);
        }
        let task = ran.report()["task"].as_str().expect("an id");
        // what the agent left of the settings says nothing of what was
        let settings = site.path().join("home/tasks").join(task).join("workspace/.sortie/config.toml");
        std::fs::write(settings, "").expect("is written");
        let entered = site.sortie().args(["shell", task, "--", "cat", "made/thing"]).output().expect("runs");
        let told = String::from_utf8_lossy(&entered.stderr);
        assert!(told.contains("the image that set-up made is gone"), "{told}");
        let code = entered.status.code();
        if of_repository {
            assert!(
                code == Some(2) && told.contains("`image_registries = [\"127.0.0.1:1\"]`"),
                "{code:?}: {told}"
            );
        } else {
            assert_eq!(
                (code, String::from_utf8_lossy(&entered.stdout).as_ref()),
                (Some(0), "thing\n"),
                "{told}"
            );
        }
    }
    docker(&["rmi", &named]);
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
         command = [\"python3\", \"-m\", \"http.server\", \"8099\"]\nhealth = {}\nhealth_seconds = 600\n",
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

/// Whoever calls this address is counted, and hears nothing.
fn counted() -> (String, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it has one").to_string();
    let (sender, calls) = channel();
    std::thread::spawn(move || listener.incoming().flatten().try_for_each(|_| sender.send(())));
    (address, calls)
}

#[test]
fn a_repository_has_the_engine_call_no_registry_that_no_operator_listed() {
    let Some(image) = image() else { return };
    let (address, calls) = counted();
    let named = format!("{address}/x:1");
    let prefix = prefix(&image);
    let line = format!("image_registries = [\"{address}\"]");
    let build = "[environment]\nbuild = { dockerfile = \"Dockerfile\" }\n".to_owned();
    let service = |of: &str| {
        format!(
            "[environment]\nimage = \"{image}\"\n[[environment.service]]\nname = \"db\"\nimage = \"{of}\"\n"
        )
    };
    let own = |of: &str| format!("[environment]\nimage = \"{of}\"\n");
    let from = |of: &str| format!("FROM {of}\n");
    let copied = |of: &str| format!("FROM {image}\nCOPY --from={of} /x /y\n");
    let by_id = "as an id and not as a name";
    for (settings, dockerfile, word) in [
        (own(&named), String::new(), line.as_str()),
        (service(&named), String::new(), &line),
        (build.clone(), from(&named), &line),
        (build.clone(), copied(&named), &line),
        (own(&prefix), String::new(), by_id),
        (service(&prefix), String::new(), by_id),
        (build.clone(), from(&prefix), by_id),
        (build, copied(&prefix), by_id),
    ] {
        let site = Site::empty();
        site.write(".sortie/config.toml", &settings);
        site.write("Dockerfile", &dockerfile);
        site.publish();
        let ran = Ran::of(&mut in_container(&site, &nothing()));
        assert!(
            ran.code == Some(2) && ran.report().to_string().contains(&word.replace('"', "\\\"")),
            "{settings}{dockerfile}: {:?} {}",
            ran.code,
            ran.stderr
        );
        let mut check = site.sortie();
        check.args(["env", "check", "--workspace", "docker", "--repo"]).arg(site.clone());
        let checked = check.output().expect("sortie runs");
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.code() == Some(2) && said.contains(word), "{settings}{dockerfile}: {said}");
        assert_eq!(calls.try_iter().count(), 0, "{settings}{dockerfile}");
        if word == line {
            site.aside("config.toml", format!("[workspace]\n{line}\n"));
            Ran::of(&mut in_container(&site, &nothing()));
            assert_ne!(calls.try_iter().count(), 0, "{settings}{dockerfile}");
        }
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
    // it is built of the same in each task, and so what set-up made in it is found again
    assert_eq!(steps(&ran, "install").len(), 1);
    let again = Ran::of(&mut in_container(&site, &nothing()));
    passed(&again);
    assert_eq!((steps(&again, "install").len(), steps(&again, "snapshot").len()), (0, 1));
    // which the sandbox is none of
    let sandbox = Ran::of(&mut site.scripted(&nothing()));
    let told =
        sandbox.of_type("warning").any(|event| event["text"].to_string().contains("describes a container"));
    assert!(told, "{}", sandbox.stderr);
    for image in images_of(&site) {
        docker(&["rmi", "--force", &image]);
    }
}
