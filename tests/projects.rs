//! Real projects, fetched as package sources with their package managers: set-up
//! installs what they depend on, from the registries that these managers name
//! and from nowhere else, and the numbers of their tests are right, in the
//! sandbox with this machine's tools and in a container with those of the image
//! that `SORTIE_TEST_TOOLS_IMAGE` names.
//!
//! These are the only tests that leave the machine. Without a registry or an
//! image they are skipped with a line that says so; in CI (`CI` is set) they fail
//! instead.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Ran, Site, finish};

/// The most runs until every host of a set-up is known.
const ROUNDS: usize = 5;

/// A project with a bug in it.
struct Project {
    name: &'static str,
    /// The file that the bug is in.
    file: &'static str,
    right: &'static str,
    wrong: &'static str,
    /// Tests that pass, fail and are skipped with the bug.
    before: [u64; 3],
    /// And without it.
    after: [u64; 3],
}

#[test]
fn a_rust_crate_is_repaired_and_its_tests_are_counted() {
    let project = Project {
        name: "humansize",
        file: "src/formatters.rs",
        right: "while fabs(size) >= divider",
        wrong: "while fabs(size) > divider",
        before: [3, 6, 1],
        after: [9, 0, 1],
    };
    project.check(|folder| {
        let manifest = "[package]\nname = \"fetch\"\nedition = \"2021\"\n\n\
                        [dependencies]\nhumansize = \"=2.1.3\"\n\n[workspace]\n";
        std::fs::create_dir(folder.join("src")).expect("a folder is made");
        std::fs::write(folder.join("src/lib.rs"), "").expect("a file is written");
        std::fs::write(folder.join("Cargo.toml"), manifest).expect("a file is written");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        fetch(folder, &cargo, &["vendor", "--quiet"])?;
        let source = folder.join("vendor/humansize");
        // what packaging added; set-up has to do without a lock file and an ignore file
        for name in
            ["Cargo.lock", "Cargo.toml.orig", ".cargo-checksum.json", ".cargo_vcs_info.json", ".gitignore"]
        {
            std::fs::remove_file(source.join(name)).ok();
        }
        Ok(source)
    });
}

#[test]
fn a_python_package_is_repaired_and_its_tests_are_counted() {
    let project = Project {
        name: "jsonpatch",
        file: "jsonpatch.py",
        right: "elif part > len(subobj) or part < 0:",
        wrong: "elif part >= len(subobj) or part < 0:",
        before: [98, 12, 0],
        after: [110, 0, 0],
    };
    project.check(|folder| {
        let sdist =
            ["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "jsonpatch", "jsonpatch==1.33"];
        fetch(folder, "python3", &sdist)?;
        unpack(folder, "jsonpatch-1.33.tar.gz");
        Ok(folder.join("jsonpatch-1.33"))
    });
}

#[test]
fn a_javascript_package_is_repaired_and_its_tests_are_counted() {
    let project = Project {
        name: "shell-quote",
        file: "index.js",
        right: r"return s.op.replace(/(.)/g, '\\$1');",
        wrong: "return s.op;",
        before: [93, 2, 0],
        after: [95, 0, 0],
    };
    project.check(|folder| {
        fetch(folder, "npm", &["pack", "--loglevel=error", "shell-quote@1.6.1"])?;
        unpack(folder, "shell-quote-1.6.1.tgz");
        Ok(folder.join("package"))
    });
}

impl Project {
    /// Fetches the project with `fetch`, which is given an empty folder and
    /// returns the source's, and has a task repair it in each kind of workspace.
    fn check(&self, fetch: impl FnOnce(&Path) -> Result<PathBuf, String>) {
        let fetched = tempfile::tempdir().expect("a temporary folder");
        let source = match fetch(fetched.path()) {
            Ok(source) => source,
            Err(failure) => return skip(&format!("`{}` cannot be fetched: {failure}", self.name)),
        };
        self.check_in(&source, &["--workspace", "sandbox"]);
        match std::env::var("SORTIE_TEST_TOOLS_IMAGE") {
            Ok(image) => self.check_in(&source, &["--workspace", "docker", "--image", &image]),
            Err(_) => skip("SORTIE_TEST_TOOLS_IMAGE names no image"),
        }
    }

    /// Breaks a copy of the project and has a task repair it.
    fn check_in(&self, source: &Path, workspace: &[&str]) {
        let site = Site::empty();
        let copied = Command::new("cp").arg("--archive").arg(source).arg(site.clone()).status();
        assert!(copied.expect("cp runs").success(), "{}", source.display());
        let whole = std::fs::read_to_string(site.clone().join(self.file)).expect("the file is there");
        assert_eq!(whole.matches(self.right).count(), 1, "{}", self.file);
        site.write(self.file, whole.replace(self.right, self.wrong));
        site.publish();
        let ran = self.run(&site, workspace);
        self.assert_repaired(&site, &ran, &whole);
    }

    /// Runs the task, and again as long as set-up was kept from a host because
    /// its addresses are not public, as with a mirror: the report names the
    /// host, and the settings then do what a user would make of it.
    fn run(&self, site: &Site, workspace: &[&str]) -> Ran {
        let edit = json!({ "path": self.file, "old": self.wrong, "new": self.right });
        let call = |name: &str, arguments: Value| json!({ "tool_calls": [{ "name": name, "arguments": arguments }] });
        let script = json!({ "replies": [
            call("run_tests", json!({})),
            call("edit_file", edit),
            call("run_tests", json!({})),
            finish("done"),
        ]});
        let mut trusted: Vec<String> = Vec::new();
        for round in 1..=ROUNDS {
            let network = format!("[network]\nsetup = \"registries\"\ntrusted = {}\n", json!(trusted));
            site.aside("config.toml", network);
            let ran = Ran::of(site.scripted(&script).args(workspace));
            let hosts = hosts_without_public_addresses(ran.report());
            if hosts.is_empty() {
                let (name, hosts) = (self.name, trusted.len());
                eprintln!("{name} {workspace:?}: {round} rounds, {hosts} hosts had to be trusted");
                return ran;
            }
            assert!(
                !hosts.iter().any(|host| trusted.contains(host)),
                "a trusted host is refused: {:#}",
                ran.report()
            );
            trusted.extend(hosts);
        }
        panic!("{}: set-up asks for new hosts again and again: {trusted:?}", self.name);
    }

    fn assert_repaired(&self, site: &Site, ran: &Ran, whole: &str) {
        let report = ran.report();
        assert_eq!(
            (ran.code, report["outcome"].as_str()),
            (Some(0), Some("done")),
            "{report:#}\n{}",
            ran.stderr
        );
        let installs: Vec<_> = ran.of_type("step.ended").filter(|step| step["step"] == "install").collect();
        assert!(!installs.is_empty() && installs.iter().all(|step| step["ok"] == true), "{installs:#?}");
        assert_eq!(report["tests"]["baseline"], counts(self.before), "{}", ran.tool_results());
        assert_eq!(report["tests"]["final"], counts(self.after), "{}", ran.tool_results());
        assert_eq!(report["tests"]["after_last_edit"], true);
        // the model is told the same numbers
        let told: Vec<_> = ran.of_type("tool.ended").filter(|event| event["tool"] == "run_tests").collect();
        for (told, [passed, failed, skipped]) in told.iter().zip([self.before, self.after]) {
            let numbers = format!("{passed} passed, {failed} failed, {skipped} skipped\n");
            assert!(
                told["content"].as_str().is_some_and(|text| text.starts_with(&numbers)),
                "{numbers}{told:#}"
            );
        }
        assert_eq!(told.len(), 2);
        // the repaired file and nothing that set-up or the tests left behind
        let branch = report["branch"].as_str().expect("a branch");
        assert_eq!(
            site.git(&site.origin(), &["diff", "--name-status", "main", branch]),
            format!("M\t{}", self.file)
        );
        let delivered = site.git(&site.origin(), &["show", &format!("{branch}:{}", self.file)]);
        assert_eq!(delivered, whole.trim());
        assert_eq!(site.git(&site.clone(), &["status", "--porcelain", "--ignored"]), "", "the user's clone");
    }
}

/// Passes a part by, but in CI.
fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{reason}");
    eprintln!("skipped: {reason}");
}

fn counts([passed, failed, skipped]: [u64; 3]) -> Value {
    json!({ "passed": passed, "failed": failed, "skipped": skipped })
}

/// Hosts that a run was kept from because they have no public address.
fn hosts_without_public_addresses(report: &Value) -> Vec<String> {
    let refused = report["refused"].as_array().expect("a list").iter();
    let mut hosts: Vec<String> = refused
        .filter(|refusal| refusal["rule"] == "public-addresses")
        .filter_map(|refusal| {
            let target = refusal["action"].as_str()?.strip_prefix("network-connect ")?;
            Some(target.rsplit_once(':')?.0.to_owned())
        })
        .collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// Runs a package manager in a folder.
fn fetch(folder: &Path, program: impl AsRef<OsStr>, arguments: &[&str]) -> Result<(), String> {
    let program = program.as_ref();
    let output = Command::new(program).current_dir(folder).args(arguments).output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} {arguments:?}: {}\n{}", program.display(), output.status, text.trim()))
}

fn unpack(folder: &Path, archive: &str) {
    let status = Command::new("tar")
        .current_dir(folder)
        .args(["-xzf", archive, "--no-same-owner"])
        .status()
        .expect("tar runs");
    assert!(status.success(), "{archive}");
}
