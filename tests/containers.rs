//! The job in containers. `SORTIE_TEST_IMAGE` and `SORTIE_TEST_MUSL_IMAGE` name the images; without them there is
//! nothing to test with.

use std::process::Command;

use crate::support::{FIX, Ran, Site, shell_script, until};

fn images() -> Vec<String> {
    let named = ["SORTIE_TEST_IMAGE", "SORTIE_TEST_MUSL_IMAGE"].map(std::env::var);
    let named: Vec<_> = named.into_iter().flatten().collect();
    if named.len() < 2 {
        assert!(std::env::var_os("CI").is_none(), "an image is not named");
        eprintln!("skipped: an image is not named");
    }
    named
}

/// Containers of one task in any state, as Docker's own client lists them.
fn containers(task: &str) -> String {
    listed(task, &["--all"])
}

fn listed(task: &str, which: &[&str]) -> String {
    let filter = format!("label=dev.sortie.task={task}");
    let output = Command::new("docker").args(["ps", "--quiet", "--filter", &filter]).args(which).output();
    let output = output.expect("the command is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_demo_ends_the_same_in_a_container() {
    for image in images() {
        let site = Site::empty();
        let mut demo = site.sortie();
        demo.args(["demo", "--at", "shown", "--workspace", "docker", "--image", &image]);
        let output = demo.output().expect("runs");
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{image}: {stdout}\n{stderr}");
        assert!(stdout.contains("after    3 passed, 0 failed, 0 skipped"), "{image}: {stdout}");
        assert!(
            stderr.contains("refused: file-write .git/hooks/pre-push by rules/git-directory"),
            "{stderr}"
        );
        let origin = site.path().join("shown/origin.git");
        assert_ne!(site.git(&origin, &["for-each-ref", "refs/heads/sortie/"]), "", "{image}");
    }
}

#[test]
fn a_job_by_settings_sees_the_image_and_its_container_is_gone_afterwards() {
    for image in images() {
        let site = Site::new();
        site.aside("config.toml", format!("[workspace]\nbackend = \"docker\"\nimage = \"{image}\"\n"));
        let ran = Ran::of(&mut site.scripted(&shell_script(&["id -un; echo $HOME", FIX])));
        ran.assert_fixed(&site);
        let started = ran.events.iter().find(|event| event["type"] == "task.started").expect("it began");
        assert_eq!(started["workspace"], "docker");
        let seen = ran.events.iter().find(|event| event["type"] == "tool.ended").expect("a call");
        let lines: Vec<_> = seen["content"].as_str().expect("text").lines().collect();
        assert_eq!(lines.get(..2), Some(&["agent", "/home/agent"][..]), "{seen}");
        assert_eq!(containers(ran.report()["task"].as_str().expect("an id")), "");
    }
}

#[test]
fn a_host_that_is_killed_leaves_no_container() {
    for image in images() {
        let site = Site::new();
        let mut run = site.scripted(&shell_script(&["sleep 600"]));
        run.args(["--workspace", "docker", "--image", &image]);
        let mut host = run
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("runs");
        let tasks = site.path().join("home/tasks");
        let task = || {
            let entry = std::fs::read_dir(&tasks).ok()?.flatten().next()?;
            entry.file_name().into_string().ok()
        };
        // one that was made and not started is the next task's to remove
        until("the container runs", || task().is_some_and(|task| !listed(&task, &[]).is_empty()));
        host.kill().expect("it runs");
        host.wait().expect("it ended");
        let task = task().expect("it began");
        until("the container is gone", || containers(&task).is_empty());
    }
}

#[test]
fn a_container_without_an_engine_is_one_clear_line() {
    let site = Site::new();
    let run = |arguments: &[&str], variable: (&str, &str)| {
        let mut run = site.scripted(&shell_script(&[FIX]));
        run.args(arguments).env_remove("DOCKER_HOST").env(variable.0, variable.1);
        Ran::of(&mut run)
    };
    let image = ["--workspace", "docker", "--image", "any"];
    for (address, words) in
        [("tcp://192.0.2.1:2375", "is not on this machine"), ("unix:///nowhere.sock", "does not answer")]
    {
        let ran = run(&image, ("DOCKER_HOST", address));
        assert_eq!(ran.code, Some(5), "{}", ran.stderr);
        assert!(ran.report().to_string().contains(words), "{:#}", ran.report());
    }
    let unknown = run(&["--workspace", "kubernetes"], ("SORTIE_IMAGE", "any"));
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("sandbox") && unknown.stderr.contains("docker"), "{}", unknown.stderr);
    // what the settings name is not the flag's to refuse
    site.aside("config.toml", "[workspace]\nbackend = \"kubernetes\"\n");
    let unknown = run(&[], ("SORTIE_IMAGE", "any"));
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
    let words = "no workspace backend named `kubernetes`; there are `sandbox` and `docker`";
    assert!(unknown.stderr.contains(words), "{}", unknown.stderr);
}
