//! Folders with a quota of the file system's. Where the kernel has none, or this is not root, nothing is tried, and said.

use std::path::{Path, PathBuf};
use std::process::Command;

use sortie_policy::ports::{CommandLimit, Ended, Exit, LimitReached};
use sortie_workspace::disk::{DiskLimits, FileSystem, Quota, Space};

use crate::disk::Watched;
use crate::support::{Folders, eventually};

/// What the folders may take up.
const MOST: u64 = 32 << 20;

const REACHED: LimitReached = LimitReached { limit: CommandLimit::Disk, value: MOST };

/// A file system of its own, with quotas of projects.
struct Mounted {
    at: PathBuf,
    _ground: tempfile::TempDir,
}

impl Mounted {
    /// Both kinds, as far as they can be had here.
    fn all() -> impl Iterator<Item = Self> {
        let kinds = [("xfs", &[][..]), ("ext4", &["-O", "project,quota", "-E", "quotatype=prjquota"][..])];
        kinds.into_iter().filter_map(|(kind, options)| {
            Self::make(kind, options).inspect_err(|why| eprintln!("skipped on {kind}: {why}")).ok()
        })
    }

    fn make(kind: &str, options: &[&str]) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("this takes root".to_owned());
        }
        let ground = tempfile::tempdir().expect("temporary folders can be made");
        let (image, at) = (ground.path().join("image"), ground.path().join("mounted"));
        std::fs::create_dir(&at).expect("the folder is new");
        let file = std::fs::File::create(&image).expect("the file is new");
        file.set_len(512 << 20).expect("holes take no space");
        run(Command::new(format!("mkfs.{kind}")).arg("-q").args(options).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop,prjquota"]).args([&image, &at]))?;
        // for the commands' user
        run(Command::new("chmod").arg("0777").arg(&at))?;
        Ok(Self { at, _ground: ground })
    }

    fn folders(&self) -> Folders {
        Folders::under(tempfile::tempdir_in(&self.at).expect("temporary folders can be made"))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(why) = run(Command::new("umount").arg("--lazy").arg(&self.at)) {
            eprintln!("it stays mounted: {why}");
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(said.trim().replace('\n', "; ")) }
}

fn give(folders: &Folders) -> Quota {
    let parts = [folders.work_tree.clone(), folders.home.clone()];
    Quota::give(&parts, MOST).expect("they can have one").expect("the file system has quotas")
}

/// Bytes that a file takes up, if it could be made.
fn blocks(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |found| std::os::unix::fs::MetadataExt::blocks(&found) * 512)
}

#[tokio::test]
async fn the_kernel_refuses_what_passes_a_quota_and_the_command_is_told_which_limit_that_is() {
    for mounted in Mounted::all() {
        let folders = mounted.folders();
        let (work_tree, home) = (folders.work_tree.clone(), folders.home.clone());
        give(&folders);
        let watched = Watched::over(folders, DiskLimits { bytes: MOST, free: 0 }).await;
        let ended = watched.filled("cat /dev/zero > half; exit 7").await;
        assert_eq!((ended.exit, ended.limits.as_slice()), (Exit::Code(7), &[REACHED][..]));
        let held = blocks(&work_tree.join("half"));
        assert!((MOST - (2 << 20)..=MOST).contains(&held), "{held}");
        let ended = watched.filled("cat /dev/zero > /home/agent/rest; exit 7").await;
        assert_eq!(ended.limits, [REACHED], "both folders share one limit");
        let held = held + blocks(&home.join("rest"));
        assert!(held <= MOST, "{held}");
        assert_eq!(watched.filled("rm -f half /home/agent/rest").await, Ended::of(Exit::Code(0)));

        let script = "i=0; while : > $i; do i=$((i+1)); done 2>/dev/null; exit 7";
        assert_eq!(watched.filled(script).await.limits, [REACHED], "empty files count as well");
        let files = std::fs::read_dir(&work_tree).expect("it is there").count();
        assert!((8000..=8192).contains(&files), "{files}");
        assert!(watched.told.lock().expect("nobody panics").is_empty(), "nothing was ended");
    }
}

#[tokio::test]
async fn what_is_free_on_the_disk_is_told_from_what_is_left_of_a_quota() {
    for mounted in Mounted::all() {
        assert!(FileSystem::of(&mounted.at).expect("it is there").quotas);
        let folders = mounted.folders();
        give(&folders);
        let free = Space::of(&folders.work_tree).expect("it is there").bytes;
        assert!(free > 4 * MOST, "{free}");
        // so that the bound of free space ends nothing
        let watched = Watched::over(folders, DiskLimits { bytes: MOST, free: 2 * MOST }).await;
        assert_eq!(watched.filled("echo x > file; sleep 1").await, Ended::of(Exit::Code(0)));
    }
}

#[tokio::test]
async fn a_quota_is_given_back_once_its_folders_are_gone_and_not_before() {
    for mounted in Mounted::all() {
        let folders = mounted.folders();
        let quota = give(&folders);
        std::fs::write(folders.work_tree.join("file"), "x").expect("there is room");
        assert_eq!(Quota::sweep(&mounted.at), 0, "it is in use");
        assert_eq!(quota.reached(), None);
        drop((quota, folders));
        // the file system lets go of removed files a moment later
        eventually("it is given back", async || Quota::sweep(&mounted.at) == 1).await;
        assert_eq!(Quota::sweep(&mounted.at), 0, "once");
    }
}

#[tokio::test]
async fn two_workspaces_have_quotas_of_their_own() {
    for mounted in Mounted::all() {
        let (one, other) = (mounted.folders(), mounted.folders());
        let (first, second) = (give(&one), give(&other));
        let full = std::fs::write(one.work_tree.join("full"), vec![1; 31 << 20]);
        assert!(full.is_ok() && std::fs::File::open(&one.work_tree).is_ok_and(|it| it.sync_all().is_ok()));
        assert_eq!((first.reached(), second.reached()), (Some(REACHED), None));
        // what is moved out of a work tree is the host's again to remove
        std::fs::rename(&one.work_tree, one.outside.path().join("going")).expect("it can be moved out");
        std::fs::rename(one.outside.path().join("going"), other.work_tree.join("in"))
            .expect_err("nothing can be moved in");
    }
}

#[test]
fn where_the_file_system_has_no_quotas_nobody_is_given_one() {
    let folders = Folders::new();
    let parts = [folders.work_tree.clone(), folders.home.clone()];
    if FileSystem::of(folders.outside.path()).is_ok_and(|found| !found.quotas) {
        assert!(Quota::give(&parts, MOST).expect("that is no error").is_none());
        assert!(Quota::of(&parts, MOST).is_none());
        assert_eq!(Quota::sweep(folders.outside.path()), 0);
    }
}
