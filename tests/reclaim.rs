//! What root of a set-up filled is the user's again, though its host was killed.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::signals::until;
use crate::support::{Site, shell_script};

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
    let Ok(image) = std::env::var("SORTIE_TEST_IMAGE") else {
        return eprintln!("skipped: SORTIE_TEST_IMAGE names no image");
    };
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
        let said = site.sortie().args(next).output().expect("runs");
        assert_eq!(said.status.code(), Some(0), "{said:?}");
        let theirs = owner(&tree);
        for path in [tree.join("made"), tree.join("made/file"), home.join("file")] {
            assert_eq!(owner(&path), theirs, "{next:?}: {}", path.display());
        }
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert_eq!(said.contains("1 workspaces that were root's"), next == ["gc"], "{said}");
        let again = site.sortie().args(["gc"]).output().expect("runs");
        assert!(!String::from_utf8_lossy(&again.stdout).contains("root's"), "once: {again:?}");
    }
}
