//! What is kept of a task: archives, kept workspaces, and a shell in them.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;

use crate::signals::{hand_on_hangups, runs};
use crate::support::{FIX, LONG, Ran, Site, own_seconds, shell_script, until};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// Runs `sortie` with these arguments; it must end with this code.
fn sortie(site: &Site, arguments: &[&str], code: i32) -> Output {
    let output = site.sortie().args(arguments).output().expect("runs");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output));
    output
}

fn id(ran: &Ran) -> String {
    ran.report()["task"].as_str().expect("an id").to_owned()
}

fn folder(site: &Site, id: &str) -> PathBuf {
    site.path().join("home/tasks").join(id)
}

/// A task that makes a file and is not delivered.
fn undelivered(site: &Site, commands: &[&str], more: &[&str]) -> String {
    let mut replies = shell_script(commands);
    let list = replies["replies"].as_array_mut().expect("replies");
    *list.last_mut().expect("the last") = crate::support::finish("blocked");
    let ran = Ran::of(site.scripted(&replies).args(more));
    assert_eq!(ran.code, Some(1), "{}", ran.report());
    id(&ran)
}

#[test]
fn a_task_is_archived_and_comes_back_with_its_journal() {
    let site = Site::new();
    site.aside("config.toml", "install = \"true https://me:hunter2@mirror.invalid/\"\n");
    site.write(".env", "SECRET\n");
    site.git(&site.clone(), &["add", "--force", ".env"]);
    site.git(&site.clone(), &["commit", "--quiet", "--message", "Add settings"]);
    site.git(&site.clone(), &["push", "--quiet", "origin", "main"]);
    let ran = Ran::of(&mut site.scripted(&shell_script(&[FIX, "echo mine > notes"])));
    assert_eq!(ran.code, Some(0), "{}", ran.report());
    let id = id(&ran);
    assert!(!folder(&site, &id).join("workspace").exists());

    let listed = String::from_utf8(sortie(&site, &["archive", "list", "--json"], 0).stdout).expect("UTF-8");
    let listed: Value = serde_json::from_str(&listed).expect("one line of JSON");
    assert_eq!((listed["task"].as_str(), listed["outcome"].as_str()), (Some(&*id), Some("done")));
    let manifest = sortie(&site, &["archive", "show", &id, "--json"], 0).stdout;
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!(manifest["base"], site.git(&site.clone(), &["rev-parse", "HEAD"]).as_str());
    assert_eq!(manifest["branch"], ran.report()["branch"]);
    assert_eq!(manifest["workspace"], "sandbox");
    assert_eq!(manifest["contents"]["masked"], 1, "{manifest:#}");
    assert!(!manifest.to_string().contains("hunter2") && manifest.to_string().contains("mirror.invalid"));
    let components = manifest["components"].as_array().expect("a list");
    assert!(
        components.iter().any(|c| c["id"] == "shell" && c["sha256"].as_str().is_some_and(|d| d.len() == 64))
    );
    assert!(components.iter().any(|c| c["id"] == "rules" && c["kind"] == "policy"));
    let shown = text(&sortie(&site, &["archive", "show", &id], 0));
    assert!(shown.contains("masked by path rules"), "{shown}");

    let back = site.path().join("back");
    sortie(&site, &["archive", "restore", &id, &back.display().to_string()], 0);
    let read = |name: &str| std::fs::read_to_string(back.join(name)).expect("is there");
    assert_eq!(read("workspace/notes"), "mine\n");
    assert!(read("changes.diff").contains("tr -cs"));
    assert!(!back.join("workspace/.env").exists());
    let journal = read("journal.jsonl");
    let first: Value = serde_json::from_str(journal.lines().next().expect("a line")).expect("JSON");
    assert_eq!((first["seq"].as_u64(), first["event"]["type"].as_str()), (Some(1), Some("task.started")));
    assert!(journal.contains("\"push\"") && journal.lines().count() > 20);
    // a folder that is in use stays as it is
    assert!(
        text(&sortie(&site, &["archive", "restore", &id, &back.display().to_string()], 2))
            .contains("no empty folder")
    );

    sortie(&site, &["archive", "rm", &id], 0);
    assert!(text(&sortie(&site, &["archive", "show", &id], 2)).contains("no archive of"));
    assert!(text(&sortie(&site, &["shell", &id, "--", "true"], 2)).contains("--keep"));
}

#[test]
fn the_settings_say_what_is_kept_and_for_how_long() {
    let site = Site::new();
    site.aside("config.toml", "[archive]\nkeep = \"failed\"\n");
    let done = Ran::of(&mut site.scripted(&shell_script(&[FIX])));
    assert_eq!(done.code, Some(0), "{}", done.report());
    let list = || String::from_utf8(sortie(&site, &["archive", "list", "--json"], 0).stdout).expect("UTF-8");
    assert_eq!(list(), "");
    let failed = undelivered(&site, &["true"], &[]);
    assert!(list().contains(&failed));
    assert!(!folder(&site, &failed).join("workspace").exists(), "it is in the archive");
    // what is neither archived nor delivered stays in place
    site.aside("config.toml", "[archive]\nkeep = \"none\"\n");
    let unkept = undelivered(&site, &["echo mine > notes"], &[]);
    assert!(!list().contains(&unkept));
    assert!(folder(&site, &unkept).join("workspace/notes").exists());
    // what is too large for the archive as well, and is told
    site.aside("config.toml", "[archive]\nfile_mb = 1\n");
    let large = undelivered(&site, &["head -c 2000000 /dev/zero > large"], &[]);
    assert!(folder(&site, &large).join("workspace/large").exists());
    let logs = text(&sortie(&site, &["logs", &large], 0));
    let lacks = |line: &str| line.contains("the archive lacks") && line.contains("`archive.task_mb`): large");
    assert!(logs.lines().any(lacks), "{logs}");

    // and what the rules would remove as soon as it is written
    site.aside("config.toml", "[archive]\nkeep_days = 0\n");
    let unkept = undelivered(&site, &["echo mine > notes"], &[]);
    assert!(folder(&site, &unkept).join("workspace/notes").exists());
    let logs = text(&sortie(&site, &["logs", &unkept], 0));
    assert!(logs.contains("`archive.keep_days`"), "{logs}");
    assert_eq!(list(), "");

    site.aside("config.toml", "");
    undelivered(&site, &["true"], &[]);
    undelivered(&site, &["true"], &[]);
    site.aside("config.toml", "[archive]\nmax_mb = 0\n");
    let removed = sortie(&site, &["gc", "--json"], 0).stdout;
    let removed: Value = serde_json::from_slice(&removed).expect("JSON");
    assert_eq!(removed["archives"].as_array().map(Vec::len), Some(2), "{removed}");
    assert_eq!(list(), "");
    let stderr = text(&sortie(&site, &["gc"], 0));
    assert!(stderr.contains("nothing to remove"), "{stderr}");
}

/// What lies in a task's folder, by name.
fn names(site: &Site, id: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder(site, id)).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

#[test]
fn a_task_that_is_over_keeps_its_change_and_outputs_and_one_that_was_not_delivered_its_commit() {
    let site = Site::new();
    let ran = Ran::of(&mut site.scripted(&shell_script(&[FIX])));
    assert_eq!(ran.code, Some(0), "{}", ran.report());
    let delivered = id(&ran);
    assert_eq!(names(&site, &delivered), ["blobs", "changes.diff", "lock"]);
    assert!(text(&sortie(&site, &["diff", &delivered], 0)).contains("tr -cs"));
    let unchanged = undelivered(&site, &["true"], &[]);
    assert_eq!(names(&site, &unchanged), ["blobs", "changes.diff", "lock"]);

    let ran = Ran::of(site.scripted(&shell_script(&[FIX])).args(["--deliver", "none"]));
    assert_eq!(ran.code, Some(0), "{}", ran.report());
    let unpushed = id(&ran);
    assert_eq!(names(&site, &unpushed), ["blobs", "changes.diff", "lock", "repository.git"]);
    let branches = site.git(&folder(&site, &unpushed).join("repository.git"), &["branch", "--list"]);
    assert!(branches.contains("sortie/"), "{branches}");
    let ran = Ran::of(site.scripted(&shell_script(&[FIX])).arg("--keep"));
    assert_eq!(ran.code, Some(0), "{}", ran.report());
    let all = ["blobs", "changes.diff", "home", "lock", "repository.git", "workspace"];
    assert_eq!(names(&site, &id(&ran)), all);
}

#[test]
fn folders_of_tasks_go_when_archives_do_and_not_while_somebody_is_in_them() {
    let site = Site::new();
    let kept = undelivered(&site, &["head -c 3000000 /dev/urandom > large"], &["--keep"]);
    let ran = Ran::of(site.scripted(&shell_script(&[FIX])).args(["--deliver", "none"]));
    let unpushed = id(&ran);
    let gc = |arguments: &[&str]| -> Value {
        let arguments = [&["gc", "--json"], arguments].concat();
        serde_json::from_slice(&sortie(&site, &arguments, 0).stdout).expect("JSON")
    };
    assert!(gc(&[])["task_folders"].is_null(), "they are new");
    // the archives alone are too many: a kept workspace stays, with the rest of its folder
    site.aside("config.toml", "[archive]\nmax_mb = 0\n");
    assert_eq!(gc(&["--dry-run"])["task_folders"], serde_json::json!([unpushed]));
    assert_eq!(gc(&[])["task_folders"], serde_json::json!([unpushed]));
    assert!(!folder(&site, &unpushed).exists() && folder(&site, &kept).join("workspace/large").exists());
    let gone = text(&sortie(&site, &["diff", &unpushed], 2));
    assert!(gone.contains("its folder was removed"), "{gone}");

    site.aside("config.toml", "[archive]\nkeep_days = 0\n");
    let would = gc(&["--dry-run"]);
    assert_eq!(would["task_folders"], serde_json::json!([kept]), "{would}");
    assert!(would["task_folder_bytes"].as_u64().is_some_and(|bytes| bytes > 3_000_000), "{would}");
    assert!(folder(&site, &kept).join("workspace/large").exists());
    let mut shell = site.sortie();
    shell.args(["shell", &kept, "--", "sh", "-c", "echo in; read line"]);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    let mut stdout = std::io::BufReader::new(shell.stdout.take().expect("piped"));
    std::io::BufRead::read_line(&mut stdout, &mut String::new()).expect("it runs");
    assert!(gc(&[])["task_folders"].is_null(), "somebody is in it");
    let refused = text(&sortie(&site, &["archive", "rm", &kept], 2));
    assert!(refused.contains("is being worked on"), "{refused}");
    assert!(folder(&site, &kept).join("workspace/large").exists());
    drop(shell.stdin.take());
    assert!(shell.wait().expect("ends").code().is_some());
    let told = text(&sortie(&site, &["gc"], 0));
    assert!(told.contains("1 task folders, "), "{told}");
    assert!(!folder(&site, &kept).exists());
    let logs = text(&sortie(&site, &["logs", &kept, "--json"], 0));
    assert!(logs.contains("\"type\":\"step.started\",\"step\":\"shell\""), "the journal stays: {logs}");
}

#[test]
fn an_archive_is_removed_with_all_that_is_left_of_its_task() {
    let site = Site::new();
    let kept = undelivered(&site, &["echo one > notes"], &["--keep"]);
    assert!(folder(&site, &kept).join("workspace/notes").exists());
    sortie(&site, &["archive", "rm", &kept], 0);
    assert!(!folder(&site, &kept).exists());
    assert!(text(&sortie(&site, &["archive", "rm", &kept], 2)).contains("no archive of"));
    // what never had an archive as well
    site.aside("config.toml", "[archive]\nkeep = \"none\"\n");
    let unarchived = undelivered(&site, &["echo one > notes"], &[]);
    sortie(&site, &["archive", "rm", &unarchived], 0);
    assert!(!folder(&site, &unarchived).exists());
    // and the rest of a removal that was killed goes with the next command
    let rest = site.path().join("home/tasks").join(format!("{unarchived}.going"));
    std::fs::create_dir_all(rest.join("workspace")).expect("is made");
    sortie(&site, &["list"], 0);
    assert!(!rest.exists());
}

#[test]
fn of_a_task_without_a_folder_the_archive_is_entered_and_named() {
    let site = Site::new();
    let id = undelivered(&site, &["echo one > notes"], &[]);
    let remove = || std::fs::remove_dir_all(folder(&site, &id)).expect("is removed");
    remove();
    let told = text(&sortie(&site, &["diff", &id], 2));
    assert!(told.contains(&format!("archive restore {id}")), "{told}");
    assert!(text(&sortie(&site, &["logs", &id], 0)).contains("blocked"));
    let seen = sortie(&site, &["shell", &id, "--", "cat", "notes"], 0);
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "one\n");
    assert!(!folder(&site, &id).join("workspace").exists());
    remove();
    sortie(&site, &["archive", "rm", &id], 0);
    assert!(text(&sortie(&site, &["shell", &id, "--", "true"], 2)).contains("--keep"));
    assert!(!folder(&site, &id).exists());
}

#[test]
fn a_kept_workspace_is_entered_again_and_again_also_after_a_failure() {
    let site = Site::new();
    let id = undelivered(&site, &["echo one > notes"], &["--keep"]);
    let shell = |command: &str, code| text(&sortie(&site, &["shell", &id, "--", "sh", "-c", command], code));
    assert_eq!(shell("cat notes; echo two >> notes; pwd", 0), "one\n/workspace\n");
    assert_eq!(shell("cat notes; exit 7", 7), "one\ntwo\n");
    assert_eq!(shell("kill -9 $$", 137), "");
    // as isolated as the task's own commands
    assert_eq!(
        shell(&format!("cat {} 2>/dev/null || echo hidden", site.path().join("script.json").display()), 0),
        "hidden\n"
    );
    let logs = text(&sortie(&site, &["logs", &id, "--json"], 0));
    assert!(logs.contains("\"type\":\"step.started\",\"step\":\"shell\""), "{logs}");
    let mut piped = site.sortie();
    let mut child =
        piped.args(["shell", &id]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    child.stdin.take().expect("piped").write_all(b"echo from $((20 + 22))\n").expect("is written");
    let output = child.wait_with_output().expect("ends");
    assert_eq!((output.status.code(), text(&output).as_str()), (Some(0), "from 42\n"));
}

#[test]
fn input_that_a_shell_takes_late_arrives_whole_and_a_deaf_one_can_be_ended() {
    let site = Site::new();
    let id = undelivered(&site, &["true"], &["--keep"]);
    let shell = |command: &str| {
        let mut shell = site.sortie();
        shell.args(["shell", &id, "--", "sh", "-c", command]).stdin(Stdio::piped()).stdout(Stdio::piped());
        shell.spawn().expect("starts")
    };
    // more than is held back of what it prints, and more than its pipe holds, before it reads the first byte
    let mut child = shell("head -c 4000000 /dev/zero; exec cksum");
    let text: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    let mut stdin = child.stdin.take().expect("piped");
    let writer = std::thread::spawn({
        let text = text.clone();
        move || stdin.write_all(&text).expect("all of it is taken")
    });
    let output = child.wait_with_output().expect("ends");
    writer.join().expect("it has written");
    let words = String::from_utf8_lossy(&output.stdout[4_000_000..]).into_owned();
    let mut wanted =
        Command::new("cksum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    wanted.stdin.take().expect("piped").write_all(&text).expect("is read");
    let wanted = wanted.wait_with_output().expect("ends");
    assert_eq!(words, String::from_utf8_lossy(&wanted.stdout));

    hand_on_hangups();
    let mut child = shell("trap '' TERM; echo up; while :; do sleep 86412; done");
    let mut stdout = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let mut stdin = child.stdin.take().expect("piped");
    let writer = std::thread::spawn(move || while stdin.write_all(&[0; 4096]).is_ok() {});
    std::io::BufRead::read_line(&mut stdout, &mut String::new()).expect("it runs");
    // once, as a terminal does that goes away
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("is told");
    assert_eq!(child.wait().expect("ends").code(), Some(137));
    writer.join().expect("its pipe is closed");
}

#[test]
fn an_archived_work_tree_is_entered_and_goes_again_unless_it_is_to_stay() {
    let site = Site::new();
    let id = undelivered(&site, &["echo one > notes; mkdir -m 555 closed"], &[]);
    let tree = folder(&site, &id).join("workspace");
    assert!(!tree.exists());
    let seen = sortie(&site, &["shell", &id, "--", "sh", "-c", "cat notes; echo two >> notes"], 0);
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "one\n");
    assert!(!tree.exists());
    sortie(&site, &["shell", &id, "--keep", "--", "sh", "-c", "echo two >> notes"], 0);
    assert_eq!(std::fs::read_to_string(tree.join("notes")).expect("is there"), "one\ntwo\n");
    let seen = sortie(&site, &["shell", &id, "--", "cat", "notes"], 0);
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "one\ntwo\n");
    assert!(tree.exists());
    std::fs::set_permissions(tree.join("closed"), std::fs::Permissions::from_mode(0o755)).expect("is opened");
}

#[test]
fn what_somebody_did_in_a_shell_with_keep_stays_however_the_shell_ends() {
    let site = Site::new();
    let id = undelivered(&site, &["echo one > notes"], &[]);
    let tree = folder(&site, &id).join("workspace");
    let made = |name: &str| {
        let command = format!("echo hours of work > {name}; echo made; read line");
        let mut shell = site.sortie();
        shell.args(["shell", &id, "--keep", "--", "sh", "-c", &command]);
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        let mut stdout = std::io::BufReader::new(shell.stdout.take().expect("piped"));
        std::io::BufRead::read_line(&mut stdout, &mut String::new()).expect("it runs");
        shell
    };
    // its end cannot be written down
    let mut shell = made("first");
    let journal = rusqlite::Connection::open(site.path().join("home/journal.db")).expect("opens");
    journal.execute_batch("BEGIN IMMEDIATE").expect("is locked");
    drop(shell.stdin.take());
    assert_eq!(shell.wait().expect("ends").code(), Some(5));
    drop(journal);
    assert!(tree.join("first").exists());

    std::fs::remove_dir_all(folder(&site, &id)).expect("is removed");
    let mut shell = made("second");
    shell.kill().expect("is killed");
    shell.wait().expect("is gone");
    sortie(&site, &["list"], 0);
    assert!(tree.join("second").exists());
}

#[test]
fn a_shell_is_behind_the_gate() {
    let site = Site::new();
    let id = undelivered(&site, &["echo SECRET > .env"], &["--keep"]);
    site.aside(
        "config.toml",
        "[[rule]]\nname = \"no-cat\"\naction = \"exec\"\nmatch = { target = \"cat*\" }\ndecision = \"deny\"\n\
         reason = \"no cats\"\ndenies = [\"cat x\"]\nallows = [\"ls\"]\n",
    );
    let refused = text(&sortie(&site, &["shell", &id, "--", "cat", "notes"], 3));
    assert!(refused.contains("no cats"), "{refused}");
    sortie(&site, &["shell", &id, "--", "ls"], 0);
    let written = std::fs::read_to_string(folder(&site, &id).join("workspace/.env")).expect("is there");
    assert_eq!(written, "SECRET\n");
    let hidden = text(&sortie(&site, &["shell", &id, "--", "sh", "-c", "grep SECRET .env; true"], 0));
    assert!(hidden.contains("Permission denied"), "path rules hold in there: {hidden}");
    assert!(!hidden.contains("SECRET"), "path rules hold in there: {hidden}");
}

#[test]
fn a_task_that_runs_is_not_entered() {
    let site = Site::new();
    let mut child =
        site.scripted(&shell_script(&["exec sleep 86411"])).stdout(Stdio::piped()).spawn().expect("starts");
    let mut stdout = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("sleep 86411") || !line.contains("\"kind\":\"exec\"") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut stdout, &mut line).expect("is read") > 0, "it ended early");
    }
    let list = text(&sortie(&site, &["list", "--json"], 0));
    let task: Value = serde_json::from_str(list.lines().next().expect("a task")).expect("JSON");
    let refused = text(&sortie(&site, &["shell", task["task"].as_str().expect("an id"), "--", "true"], 2));
    assert!(refused.contains("is being worked on"), "{refused}");
    child.kill().expect("is killed");
    child.wait().expect("ends");
}

/// `sortie shell` at a terminal of its own.
struct Terminal {
    controller: std::fs::File,
    child: std::process::Child,
    user: OwnedFd,
    seen: String,
}

impl Terminal {
    fn start(mut command: Command) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let controller = openpt(flags).expect("a terminal");
        grantpt(&controller).expect("is granted");
        unlockpt(&controller).expect("is unlocked");
        let user = ioctl_tiocgptpeer(&controller, flags).expect("has another end");
        set_size(&user, 31, 97);
        let end = || Stdio::from(user.try_clone().expect("is cloned"));
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("starts");
        rustix::io::ioctl_fionbio(&controller, true).expect("is set");
        Self { controller: controller.into(), child, user, seen: String::new() }
    }

    fn types(&mut self, keys: &str) {
        self.controller.write_all(keys.as_bytes()).expect("is typed");
    }

    /// Waits until this was shown, and forgets all before it.
    fn shows(&mut self, wanted: &str) {
        let begun = Instant::now();
        loop {
            if let Some(at) = self.seen.find(wanted) {
                self.seen.drain(..at + wanted.len());
                return;
            }
            assert!(begun.elapsed() < LONG, "never `{wanted}`: {}", self.seen);
            let mut buffer = [0; 4096];
            match self.controller.read(&mut buffer) {
                Ok(count @ 1..) => self.seen.push_str(&String::from_utf8_lossy(&buffer[..count])),
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

fn set_size(terminal: &OwnedFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("is set");
}

#[test]
fn at_a_terminal_keys_sizes_and_the_exit_code_pass_through() {
    let site = Site::new();
    let id = undelivered(&site, &["true"], &["--keep"]);
    let mut shell = site.sortie();
    shell.args(["shell", &id, "--", "sh"]).env("PS1", "$ ").env("TERM", "dumb");
    // as a script starts it in the background; whoever sits at the terminal inside must not notice
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' INT; exec \"$@\"", "sh"]).arg(shell.get_program()).args(shell.get_args());
    for (name, value) in shell.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(site.path());
    let mut terminal = Terminal::start(command);
    let before = tcgetattr(&terminal.user).expect("is read").local_modes;
    terminal.types("echo re''ady\n");
    terminal.shows("ready");
    terminal.types("stty size; echo si''zed\n");
    terminal.shows("31 97");
    terminal.shows("sized");
    // Ctrl-C ends what runs inside, and not the shell or this program
    let seconds = own_seconds();
    terminal.types(&format!("sleep {seconds}; echo ended $?\n"));
    // and not before it is itself: a shell's child may still be deaf to it
    until("it runs", || runs(&seconds));
    terminal.types("\x03");
    terminal.types("echo st''ill\n");
    terminal.shows("still");
    set_size(&terminal.user, 40, 120);
    let child = rustix::process::Pid::from_child(&terminal.child);
    rustix::process::kill_process(child, rustix::process::Signal::WINCH).expect("is told");
    // the size arrives some time after the signal
    terminal.types("while [ \"$(stty size)\" != '40 120' ]; do sleep 0.05; done; echo la''rger\n");
    terminal.shows("larger");
    assert!(
        !tcgetattr(&terminal.user)
            .expect("is read")
            .local_modes
            .contains(rustix::termios::LocalModes::ICANON)
    );
    terminal.types("exit 9\n");
    assert_eq!(terminal.child.wait().expect("ends").code(), Some(9));
    let after = tcgetattr(terminal.user.as_fd()).expect("is read").local_modes;
    assert_eq!(after, before, "the terminal is as it was");
}
