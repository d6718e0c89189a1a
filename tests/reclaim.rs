//! What root of a set-up filled is the user's again, though its host was killed, or its engine went away.

use std::fs::DirBuilder;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::door::Door;
use crate::environments::containers::{docker, image};
use crate::environments::secrets::holding;
use crate::support::{Ran, Site, shell_script, until};

/// How long a command waits for an engine that is to clear up; then it leaves that to the next.
const ENGINE: Duration = Duration::from_secs(10);

/// The folder of the only task.
fn task(site: &Site) -> Option<PathBuf> {
    let mut entries = std::fs::read_dir(site.path().join("home/tasks")).ok()?.flatten();
    entries.next().map(|entry| entry.path())
}

fn owner(path: &Path) -> u32 {
    path.symlink_metadata().expect("it is there").uid()
}

#[test]
fn the_next_command_whichever_it_is_gives_back_what_was_roots_of_a_killed_hosts_set_up() {
    let Some(image) = image() else { return };
    for next in [&["list"][..], &["gc"]] {
        let site = Site::empty();
        let setup = "mkdir -p made && touch made/file ~/file && chmod 700 made && sleep 600";
        let environment =
            format!("[environment]\nimage = \"{image}\"\nsetup_root = true\nsetup = [\"{setup}\"]\n");
        site.write(".sortie/config.toml", environment);
        site.publish();
        let mut command = site.scripted(&shell_script(&["true"]));
        let mut host = command.args(["--workspace", "docker"]).stdout(Stdio::null()).spawn().expect("starts");
        let is_full = |folder: PathBuf| folder.join("home/file").exists().then_some(folder);
        until("set-up has begun", || task(&site).and_then(is_full).is_some());
        host.kill().expect("it runs");
        host.wait().expect("it ended");
        let folder = task(&site).expect("it is there");
        let (tree, home) = (folder.join("workspace"), folder.join("home"));
        assert_eq!((owner(&tree.join("made")), owner(&home.join("file"))), (0, 0), "root made them");
        let begun = Instant::now();
        let said = site.sortie().args(next).output().expect("runs");
        let is_given_up = begun.elapsed() >= ENGINE;
        assert_eq!(said.status.code(), Some(0), "{said:?}");
        let paths = [tree.join("made"), tree.join("made/file"), home.join("file")];
        until(&format!("{next:?} gives it back"), || {
            let is_theirs = paths.iter().all(|path| owner(path) == owner(&tree));
            if !is_theirs {
                assert!(is_given_up, "{next:?} leaves it");
                assert!(site.sortie().args(next).status().expect("runs").success());
            }
            is_theirs
        });
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert_eq!(said.contains("1 workspaces that were root's"), next == ["gc"], "{said}");
        let again = site.sortie().args(["gc"]).output().expect("runs");
        assert!(!String::from_utf8_lossy(&again.stdout).contains("root's"), "once: {again:?}");
    }
}

/// A user of this machine who may not do what root may.
const USER: u32 = 65_520;

const SECRET: &str = "s3cr3t-v4lue-0f-0urs";

/// Gives a site to that user, with all that is in it.
fn give(folder: &Path) {
    chown(folder, Some(USER), Some(USER)).expect("root may");
    for entry in std::fs::read_dir(folder).expect("is listed") {
        let path = entry.expect("an entry").path();
        match path.symlink_metadata().expect("is there").is_dir() {
            true => give(&path),
            false => chown(&path, Some(USER), Some(USER)).expect("root may"),
        }
    }
}

/// The same command for that user, with an engine that comes and goes.
fn as_user(site: &Site, door: &Door, roots: Command) -> Command {
    // the one that was built may lie where only root gets
    let program = site.path().join("sortie");
    if !program.exists() {
        // by a process of its own: what is just forked off here would hold it open, and it could not be run
        let made = Command::new("install").arg("-m755").arg(roots.get_program()).arg(&program).status();
        assert!(made.expect("install runs").success());
    }
    let mut command = Command::new(program);
    command.args(roots.get_args()).current_dir(site.path()).stdin(Stdio::null());
    for (name, value) in roots.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("DOCKER_HOST", door.host()).env("HOME", site.path()).env("TMPDIR", site.path());
    // the one that tests share is root's
    command.env("SORTIE_CACHE", site.path().join("components")).uid(USER).gid(USER);
    command
}

/// A task of that user whose set-up, as root, writes a file before its engine goes away; with the task's folder, and
/// what it printed.
fn engine_goes_away(site: &Site, door: &Door, secrets: &str) -> Option<(PathBuf, String)> {
    let image = image()?;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can be another user");
        return None;
    }
    site.write("file", "");
    site.publish();
    let setup = "umask 077; mkdir made && echo ${TOKEN-none} > made/token && echo written; \
                 while [ ! -e /home/agent/go ]; do sleep 0.1; done; exit 1";
    let ours = format!("image = \"{image}\"\nsetup_root = true\nsetup = ['{setup}']\n{secrets}");
    site.aside("config.toml", format!("environment = \"ours\"\n[environments.ours]\n{ours}"));
    let mut host = site.scripted(&shell_script(&["true"]));
    host.args(["--workspace", "docker"]).env("OUR_TOKEN", SECRET);
    give(site.path());
    let mut host = as_user(site, door, host).stdout(Stdio::piped()).spawn().expect("starts");
    let mut events = BufReader::new(host.stdout.take().expect("piped"));
    let (mut line, mut printed) = (String::new(), String::new());
    while !(line.contains("progress") && line.contains("written")) {
        line.clear();
        assert!(events.read_line(&mut line).expect("is read") > 0, "it ended: {printed}");
        printed.push_str(&line);
    }
    let folder = task(site).expect("it is there");
    door.shut();
    std::fs::write(folder.join("home/go"), "").expect("is written");
    events.read_to_string(&mut printed).expect("is read");
    assert_eq!(host.wait().expect("ends").code(), Some(5), "{printed}");
    Some((folder, printed))
}

#[test]
fn a_secret_in_roots_files_goes_though_the_engine_was_away_when_the_task_ended() {
    let site = Site::empty();
    let door = Door::open(&site.path().join("engine.sock"));
    let secrets = "[environments.ours.secrets]\nTOKEN = { env = \"OUR_TOKEN\" }\n";
    let Some((folder, printed)) = engine_goes_away(&site, &door, secrets) else { return };
    let id = folder.file_name().expect("a name").to_str().expect("an id").to_owned();
    assert!(printed.contains("neither archived nor removed"), "{printed}");

    // nobody can clear up, and nobody makes it worse
    let next = |arguments: &[&str]| {
        let mut command = site.sortie();
        command.args(arguments);
        as_user(&site, &door, command).output().expect("runs")
    };
    let token = folder.join("workspace/made/token");
    let enter = ["shell", &id, "--workspace", "sandbox", "--", "true"];
    for arguments in [&["list"][..], &["gc"], &["archive", "rm", &id], &enter] {
        let output = next(arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), arguments.len() == 1, "{arguments:?}: {told}");
        assert!(told.contains(&format!("files of {id} are root's")), "{arguments:?}: {told}");
        assert!(token.exists(), "{arguments:?}: {told}");
    }

    // and all of it goes once somebody can
    door.open_again();
    until("the secret is gone", || {
        assert!(next(&["list"]).status.success());
        holding(&site.path().join("home"), SECRET).is_empty()
    });
    for part in ["workspace", "home", "workspace.going", "home.going", "suspect", "container-root"] {
        assert!(!folder.join(part).exists(), "{part}");
    }
    assert!(next(&["archive", "rm", &id]).status.success());
    assert!(!folder.exists());
    assert_eq!(docker(&["ps", "--all", "--quiet", "--filter", &format!("label=dev.sortie.task={id}")]), "");
}

#[test]
fn what_root_left_without_a_secret_is_the_users_again_once_the_engine_is_back() {
    let site = Site::empty();
    let door = Door::open(&site.path().join("engine.sock"));
    let Some((folder, printed)) = engine_goes_away(&site, &door, "") else { return };
    assert!(printed.contains("neither archived nor removed"), "{printed}");
    let token = folder.join("workspace/made/token");
    assert_eq!(owner(&token), 0);
    door.open_again();
    until("it is given back", || {
        let mut list = site.sortie();
        list.arg("list");
        assert!(as_user(&site, &door, list).status().expect("runs").success());
        owner(&token) == USER
    });
    let archives = site.path().join("home/archives");
    assert!(!archives.exists() || archives.read_dir().expect("is listed").count() == 0);
}

#[test]
fn an_engine_that_hangs_holds_no_command_up_for_long() {
    if image().is_none() {
        return;
    }
    let site = Site::empty();
    let folder = site.path().join("home/tasks/task-222222");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).expect("is made");
    std::fs::write(folder.join("container-made"), "").expect("is written");
    let socket = site.path().join("engine.sock");
    let door = Door::deaf_to(&socket, Some("/containers/json"));
    let mut command = site.sortie();
    command.arg("list").env("DOCKER_HOST", door.host()).stderr(Stdio::piped());
    let mut list = command.spawn().expect("starts");
    until("it ends", || list.try_wait().expect("it is ours").is_some());
    let output = list.wait_with_output().expect("it ended");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("task-222222 may have containers") && told.contains("`sortie gc`"), "{told}");
    assert!(folder.join("container-made").exists(), "the next one tries again");
}

#[test]
fn services_of_a_host_that_was_killed_are_ended_by_the_next_command_whichever_it_is() {
    let Some(image) = image() else { return };
    let site = Site::empty();
    let service = format!(
        "[[environment.service]]\nname = \"db\"\nimage = \"{image}\"\ncommand = [\"sleep\", \"600\"]\n"
    );
    site.write(".sortie/config.toml", format!("[environment]\nimage = \"{image}\"\n{service}"));
    site.publish();
    let mut command = site.scripted(&shell_script(&["touch here; sleep 600"]));
    let mut host = command.args(["--workspace", "docker"]).stdout(Stdio::null()).spawn().expect("starts");
    let is_at_work = |folder: PathBuf| folder.join("workspace/here").exists().then_some(folder);
    until("it works", || task(&site).and_then(is_at_work).is_some());
    let folder = task(&site).expect("it is there");
    let id = folder.file_name().expect("a name").to_str().expect("an id").to_owned();
    let running = || docker(&["ps", "--quiet", "--filter", &format!("label=dev.sortie.task={id}")]);
    assert_eq!(running().lines().count(), 2);
    // of those that live nothing is ended
    assert!(site.sortie().arg("list").status().expect("runs").success());
    assert_eq!(running().lines().count(), 2);
    host.kill().expect("it runs");
    host.wait().expect("it ended");
    let list = || {
        let begun = Instant::now();
        assert!(site.sortie().arg("list").status().expect("runs").success());
        begun.elapsed() >= ENGINE
    };
    let mut is_given_up = list();
    until("all of them end", || {
        let are_gone = running().is_empty();
        if !are_gone && is_given_up {
            is_given_up = list();
        }
        are_gone
    });
    // one that ends in order leaves no word of it
    let ran = Ran::of(site.scripted(&shell_script(&["true"])).args(["--workspace", "docker"]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let task = site.path().join("home/tasks").join(ran.report()["task"].as_str().expect("an id"));
    assert!(!task.join("container-made").exists());
}
