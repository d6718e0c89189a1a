//! Folders that root of a set-up made within each other, more than a process has descriptors or a path has room for, are
//! the owner's again.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use rustix::fs::{FileType, Mode, OFlags, fstat, mkdirat, mknodat, openat};
use sortie_workspace::remove_tree;
use sortie_workspace::sandbox::Owner;

use crate::support::{Place, image, start, succeeds};

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn open(folder: &Path) -> OwnedFd {
    openat(rustix::fs::CWD, folder, FOLDER, Mode::empty()).expect("it is there")
}

/// Whose each of the folders `d` within each other is; a folder with `beside` in it has that looked at, too.
fn owners(folder: &Path) -> Vec<(u32, u32)> {
    let mut owners = Vec::new();
    let mut at = open(folder);
    while let Ok(below) = openat(&at, "d", FOLDER, Mode::empty()) {
        let beside = rustix::fs::statat(&below, "beside", rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
        let found = fstat(&below).expect("it is open");
        for found in [Some(found), beside.ok()].into_iter().flatten() {
            owners.push((found.st_uid, found.st_gid));
        }
        at = below;
    }
    owners
}

#[tokio::test]
async fn folders_that_root_of_a_set_up_made_within_each_other_are_given_back_however_deep() {
    let Some(image) = image() else { return };
    let place = Place::new("deep");
    let set_up = start(place.set_up(&image)).await;
    let deep = "import os\nos.chdir(os.environ['HOME'])\nfor _ in range(2500):\n  os.mkdir('d', 0o700)\n  os.chdir('d')\n  \
                open('beside', 'w')";
    succeeds(&set_up, &format!("python3 -c \"{deep}\"")).await;
    set_up.finish().await.expect("it is given back");
    let Owner { uid, gid } = Owner::current();
    assert_eq!(owners(&place.home), vec![(uid, gid); 5000]);
    assert!(!place.outside.path().join("container-root").exists());
    remove_tree(&place.home.join("d")).expect("it is the owner's to remove");
}

#[tokio::test]
async fn folders_that_root_of_a_set_up_gave_away_themselves_are_given_back_at_the_next_start() {
    let Some(image) = image() else { return };
    let place = Place::new("themselves");
    let set_up = start(place.set_up(&image)).await;
    succeeds(&set_up, "chown 12345:54321 /workspace /home/agent").await;
    // as when its host is killed
    drop(set_up);
    let work = start(place.config(&image)).await;
    let Owner { uid, gid } = Owner::current();
    for folder in [&place.work_tree, &place.home] {
        let found = fstat(open(folder)).expect("it is open");
        assert_eq!((found.st_uid, found.st_gid), (uid, gid));
    }
    assert_eq!(succeeds(&work, "touch made ~/made; id -un").await, "agent\n");
    work.stop().await;
}

#[test]
fn giving_back_takes_few_descriptors_and_goes_on_behind_each_folder_that_it_comes_back_from() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give away");
        return;
    }
    let place = tempfile::tempdir_in("/dev/shm").expect("a folder in memory, for speed");
    let folder = place.path().join("folder");
    std::fs::create_dir(&folder).expect("made");
    let mut at = open(&folder);
    for _ in 0..3_000 {
        mknodat(&at, "device", FileType::CharacterDevice, Mode::RUSR, 0x103).expect("root may");
        for name in ["a", "d", "z"] {
            mkdirat(&at, name, Mode::RWXU).expect("made");
            let aside = openat(&at, name, FOLDER, Mode::empty()).expect("it is there");
            mkdirat(&aside, "beside", Mode::RWXU).expect("made");
        }
        at = openat(&at, "d", FOLDER, Mode::empty()).expect("it is there");
    }
    let init = std::env::current_exe().expect("it has a name");
    let script = "ulimit -n 100; exec \"$0\" --give-back 65521:65521 \"$1\"";
    let output = Command::new("sh").args(["-c", script]).args([&init, &folder]).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let owned = |at: &OwnedFd, name: &str| {
        let found = rustix::fs::statat(at, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some((found.st_uid, found.st_gid))
    };
    let mut at = open(&folder);
    for level in 0..3_000 {
        assert_eq!(owned(&at, "device"), None, "{level}");
        for name in ["a", "a/beside", "z", "z/beside", "d", "d/beside"] {
            assert_eq!(owned(&at, name), Some((65521, 65521)), "{name} at {level}");
        }
        at = openat(&at, "d", FOLDER, Mode::empty()).expect("it is there");
    }
    remove_tree(&folder).expect("it can be removed");
}
