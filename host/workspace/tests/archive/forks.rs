//! The port that copies workspaces.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sortie_core::Actor;
use sortie_core::action::WorkspaceCreate;
use sortie_policy::ports::{ErrorCode, Forks as _, WorkspaceSpec};
use sortie_policy::{Gate, Permit};
use sortie_workspace::fork::FolderForks;

fn gate() -> Gate {
    sortie_testing::gate(Vec::new(), sortie_testing::defaults())
}

async fn permit(gate: &Gate) -> Permit<WorkspaceCreate> {
    let create = WorkspaceCreate {
        backend: "sandbox".into(),
        image: None,
        setup_network: "none".into(),
        agent_network: "none".into(),
        ..WorkspaceCreate::default()
    };
    gate.permit(&Actor::Host, create).await.expect("the gate allows it")
}

#[tokio::test]
async fn a_workspace_is_copied_for_a_permit_of_the_right_gate_and_whole_or_not_at_all() {
    let ground = tempfile::tempdir().expect("a folder");
    let spec = |name: &str| WorkspaceSpec {
        work_tree: ground.path().join(name).join("workspace"),
        home: ground.path().join(name).join("home"),
        ..WorkspaceSpec::default()
    };
    let (source, copy) = (spec("source"), spec("copy"));
    fs::create_dir_all(&source.work_tree).expect("is made");
    fs::create_dir(&source.home).expect("is made");
    fs::create_dir(ground.path().join("copy")).expect("is made");
    fs::write(source.work_tree.join("file"), "content").expect("is written");
    fs::write(source.home.join("cache"), "cached").expect("is written");
    let (gate, other) = (gate(), gate());
    let forks = FolderForks::new(gate.seal(), None);

    let foreign = forks.fork(permit(&other).await, &source, &copy).await.expect_err("another gate's");
    assert_eq!(foreign.code, ErrorCode::Denied);
    assert!(!copy.work_tree.exists());

    let forked = forks.fork(permit(&gate).await, &source, &copy).await.expect("is copied");
    assert_eq!((forked.files, forked.bytes), (2, 13));
    assert_eq!(fs::read_to_string(copy.home.join("cache")).expect("is there"), "cached");

    let again = forks.fork(permit(&gate).await, &source, &copy).await.expect_err("it is there");
    assert_eq!(again.code, ErrorCode::Conflict);
    assert!(copy.work_tree.join("file").exists(), "what was there stays");

    let third = spec("third");
    fs::create_dir(ground.path().join("third")).expect("is made");
    let small = forks.clone().at_most(6);
    let error = small.fork(permit(&gate).await, &source, &third).await.expect_err("is too large");
    assert_eq!(error.code, ErrorCode::TooLarge);
    assert!(!third.work_tree.exists() && !third.home.exists());
}

/// A file system that shares blocks between files, in a file. Unmounted when dropped.
struct Sharing {
    point: PathBuf,
    _folder: tempfile::TempDir,
}

impl Sharing {
    /// None where it cannot be had: it takes root, a loop device, and a program that makes one.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let (image, point) = (folder.path().join("image"), folder.path().join("point"));
        fs::create_dir(&point).expect("is made");
        let runs = |program: &str, arguments: &[&str], paths: &[&PathBuf]| {
            let output = Command::new(program).args(arguments).args(paths).output();
            output.is_ok_and(|output| output.status.success())
        };
        let makes = |program, arguments| runs(program, arguments, &[&image]);
        // the smallest that both of them take
        fs::File::create(&image).expect("is made").set_len(320 << 20).expect("is sparse");
        let made = makes("mkfs.xfs", &["-q", "-m", "reflink=1"]) || makes("mkfs.btrfs", &["-q"]);
        (made && runs("mount", &["-o", "loop"], &[&image, &point])).then_some(Self { point, _folder: folder })
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        // also while somebody looks in
        let unmounted = Command::new("umount").arg("-l").arg(&self.point).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.point.display());
    }
}

#[tokio::test]
async fn where_the_file_system_can_a_copy_takes_no_room_and_is_still_apart() {
    const SIZE: u64 = 64 << 20;
    let Some(sharing) = Sharing::mount() else {
        eprintln!("skipped: no file system that shares blocks can be mounted here");
        return;
    };
    let spec = |name: &str| WorkspaceSpec {
        work_tree: sharing.point.join(name),
        home: sharing.point.join(format!("{name}-home")),
        ..WorkspaceSpec::default()
    };
    let (source, copy) = (spec("source"), spec("copy"));
    for folder in [&source.work_tree, &source.home] {
        fs::create_dir(folder).expect("is made");
    }
    let noise: Vec<u8> =
        (0..SIZE / 4).flat_map(|n| (n as u32).wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(source.work_tree.join("large"), &noise).expect("is written");
    let used = || {
        // what is still in memory has no place on the disk yet
        rustix::fs::syncfs(fs::File::open(&sharing.point).expect("opens")).expect("is synced");
        let system = rustix::fs::statvfs(&sharing.point).expect("is told");
        (system.f_blocks - system.f_bfree) * system.f_frsize
    };
    let before = used();
    let gate = gate();
    let forked = FolderForks::new(gate.seal(), None).fork(permit(&gate).await, &source, &copy).await;
    let forked = forked.expect("is copied");
    assert_eq!((forked.files, forked.shared, forked.bytes), (1, 1, SIZE));
    let grown = used().saturating_sub(before);
    assert!(grown < SIZE / 8, "the copy takes {grown} bytes of room");
    overwrite_start(&copy.work_tree.join("large"));
    assert!(fs::read(source.work_tree.join("large")).expect("is read") == noise, "the source has changed");
    assert!(fs::read(copy.work_tree.join("large")).expect("is read")[8..] == noise[8..]);
}

fn overwrite_start(path: &Path) {
    use std::os::unix::fs::FileExt as _;
    let file = fs::File::options().write(true).open(path).expect("opens");
    file.write_all_at(b"changed!", 0).expect("is written");
}
