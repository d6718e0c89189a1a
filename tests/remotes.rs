//! What is kept of what remotes sent: `[mirrors]` in the settings.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::{Ran, Site, finish};

/// Of a file that a remote sends; random, so that it does not compress.
const LARGE: u64 = 2 << 20;

/// The demo's repository and a large file, behind `ssh`, which is a script
/// that counts what it sends.
struct Remote {
    site: Site,
}

impl Remote {
    fn new() -> Self {
        let site = Site::new();
        let mut noise = vec![0; LARGE as usize];
        std::io::Read::read_exact(&mut File::open("/dev/urandom").expect("is there"), &mut noise)
            .expect("is read");
        site.write("large", noise);
        site.git(&site.clone(), &["add", "--all"]);
        site.git(&site.clone(), &["commit", "--quiet", "--message", "Large"]);
        site.git(&site.clone(), &["push", "--quiet", "origin", "main"]);
        let folder = site.path().display();
        let script = format!(
            "#!/bin/sh\nfor last; do :; done\ncd '{folder}' || exit 255\n\
             eval \"git $(printf %s \"${{last#git-}}\" | sed \"s|'/|'|\")\" | tee -a sent\n"
        );
        // written by a process of its own: what was just forked off here would hold it open, and it could not be run
        let script = site.aside("ssh.text", script);
        let made = Command::new("install").arg("-m755").arg(script).arg(site.path().join("ssh")).status();
        assert!(made.expect("install runs").success());
        Self { site }
    }

    /// Runs a task under these settings; how much the remote sent for it.
    fn task(&self, settings: &str) -> u64 {
        self.site.aside("config.toml", settings);
        let before = self.sent();
        let script = self.site.aside("script.json", json!({ "replies": [finish("done")] }).to_string());
        let mut command = self.site.sortie();
        command.args([
            "run",
            "Look.",
            "--json",
            "--deliver",
            "none",
            "--repo",
            "ssh://host.example/origin.git",
        ]);
        command.arg("--model").arg(format!("scripted:{}", script.display()));
        command.env("GIT_SSH_COMMAND", format!("'{}'", self.site.path().join("ssh").display()));
        let ran = Ran::of(&mut command);
        assert!(ran.report()["tests"]["baseline"].is_object(), "{:#}\n{}", ran.report(), ran.stderr);
        self.sent() - before
    }

    fn sent(&self) -> u64 {
        fs::metadata(self.site.path().join("sent")).map_or(0, |sent| sent.len())
    }

    fn mirrors(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.site.path().join("home/mirrors")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    fn gc(&self, settings: &str, arguments: &[&str]) -> Output {
        self.site.aside("config.toml", settings);
        let mut command = self.site.sortie();
        command.env("DOCKER_HOST", "unix:///nowhere/at/all.sock");
        command.arg("gc").args(arguments).output().expect("it runs")
    }

    /// The mirrors that `gc` would remove, and their bytes.
    fn would_go(&self, settings: &str) -> (Vec<String>, u64) {
        let output = self.gc(settings, &["--dry-run", "--json"]);
        let going: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        let names = going["mirrors"].as_array().into_iter().flatten().filter_map(Value::as_str);
        (names.map(str::to_owned).collect(), going["mirror_bytes"].as_u64().unwrap_or_default())
    }
}

#[test]
fn a_mirror_is_kept_as_the_settings_want_it_and_not_used_where_they_want_none() {
    let remote = Remote::new();
    assert!(remote.task("") > LARGE);
    let there = remote.mirrors();
    assert_eq!(there.len(), 1);
    assert!(remote.task("") < LARGE / 2, "the second task fetches only what is new");
    let off = "[mirrors]\nenabled = false\n";
    assert!(remote.task(off) > LARGE, "nothing of a mirror is used");

    // by size, by age, and all of them
    let all = |settings: &str| {
        let (names, bytes) = remote.would_go(settings);
        assert_eq!(names, ["ssh://host.example/origin.git"], "{settings}");
        assert!(bytes > LARGE, "{bytes}");
    };
    let none = |settings: &str| assert_eq!(remote.would_go(settings), (Vec::new(), 0), "{settings}");
    none("");
    none("[mirrors]\nmax_mb = 10\n");
    all("[mirrors]\nmax_mb = 1\n");
    all(off);
    let lock = File::options().write(true).open(there[0].join("lock")).expect("is there");
    lock.set_modified(SystemTime::now() - Duration::from_secs(3 * 86_400)).expect("is set");
    none("");
    none("[mirrors]\nkeep_days = 4\n");
    all("[mirrors]\nkeep_days = 2\n");
    assert_eq!(remote.mirrors(), there, "what would go is there still");
    assert!(remote.gc(off, &[]).status.success());
    assert_eq!(remote.mirrors(), Vec::<PathBuf>::new());
    assert!(remote.task(off) > LARGE);
    assert_eq!(remote.mirrors(), Vec::<PathBuf>::new(), "and none is made");
}

#[test]
fn what_is_no_setting_of_mirrors_is_one_clear_line() {
    let site = Site::empty();
    let path = site.path().join("config.toml").display().to_string();
    for (line, said) in [
        ("keep_days = -1", "`keep_days`: invalid value: integer `-1`, expected a whole number from 0 on"),
        ("max_mb = \"lots\"", "`max_mb`: invalid type: string \"lots\", expected a whole number from 0 on"),
        ("enabled = 0", "`enabled`: invalid type: integer `0`, expected `true` or `false`"),
        ("keepdays = 1", "unknown key `keepdays`; hint: did you mean `keep_days`?"),
    ] {
        site.aside("config.toml", format!("[mirrors]\n{line}\n"));
        let output = site.sortie().arg("gc").output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{line}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.trim_end().ends_with(&format!("{path}:2: {said}")), "{line}: {told}");
    }
}
