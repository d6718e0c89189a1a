//! What is kept of a workspace, and comes back.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use sortie_workspace::archive::{ArchiveError, PackLimits, Retention, UnpackLimits, What};

use crate::support::{Ground, LIMITS};

fn all(_: &Path) -> bool {
    false
}

#[test]
fn a_workspace_comes_back_as_it_was() {
    let ground = Ground::new();
    fs::create_dir_all(ground.tree("src/empty")).expect("is made");
    fs::write(ground.tree("src/tool"), "run").expect("is written");
    fs::set_permissions(ground.tree("src/tool"), fs::Permissions::from_mode(0o755)).expect("is set");
    let long = "long/".repeat(40) + "name";
    fs::create_dir_all(ground.tree(&long)).expect("is made");
    fs::write(ground.tree(&long).join("file"), "deep").expect("is written");
    symlink("x".repeat(300), ground.tree("far")).expect("is linked");
    symlink("src/tool", ground.tree("near")).expect("is linked");
    fs::set_permissions(ground.tree("src"), fs::Permissions::from_mode(0o555)).expect("is set");
    fs::create_dir(ground.path("blobs")).expect("is made");
    fs::write(ground.path("blobs").join("a".repeat(64)), "blob").expect("is written");
    fs::write(ground.path("blobs/.tmpabc"), "half").expect("is written");
    fs::write(ground.path("changes.diff"), "diff").expect("is written");
    let manifest = ground.pack(LIMITS, all).expect("is written");
    assert_eq!((manifest.contents.files, manifest.contents.links, manifest.contents.bytes), (2, 2, 7));
    assert!(!manifest.contents.is_partial());
    assert_eq!(ground.archives.manifest(&ground.task).expect("is read"), manifest);

    let to = ground.path("back");
    let restore = |what, to: &Path| {
        ground.archives.restore(&ground.task, what, to, None, UnpackLimits::default()).expect("is restored")
    };
    restore(What::All, &to);
    let read = |name: &str| fs::read_to_string(to.join(name)).expect("is read");
    assert_eq!(read("journal.jsonl"), "{\"seq\":1}\n");
    assert_eq!(
        (read("changes.diff"), read(&format!("blobs/{}", "a".repeat(64)))),
        ("diff".into(), "blob".into())
    );
    assert!(!to.join("blobs/.tmpabc").exists());
    assert_eq!(read(&format!("workspace/{long}/file")), "deep");
    assert!(to.join("workspace/src/empty").is_dir());
    let mode = |name: &str| fs::metadata(to.join("workspace").join(name)).expect("is there").mode() & 0o7777;
    assert_eq!((mode("src/tool"), mode("src")), (0o755, 0o555));
    assert_eq!(fs::read_link(to.join("workspace/far")).expect("a link"), Path::new(&"x".repeat(300)));
    let modified = |path: &Path| fs::metadata(path).expect("is there").mtime();
    assert_eq!(modified(&to.join("workspace/src/tool")), modified(&ground.tree("src/tool")));

    let tree = ground.path("tree again");
    let restored = restore(What::Workspace, &tree);
    assert_eq!(fs::read_to_string(tree.join("near")).expect("is read"), "run");
    assert_eq!(restored.files, 2);
    assert!(!tree.join("journal.jsonl").exists());
    for closed in [ground.tree("src"), to.join("workspace/src"), tree.join("src")] {
        fs::set_permissions(closed, fs::Permissions::from_mode(0o755)).expect("is set");
    }
}

#[test]
fn extended_attributes_are_not_kept() {
    let ground = Ground::new();
    fs::write(ground.tree("file"), "x").expect("is written");
    let set = rustix::fs::setxattr(
        ground.tree("file"),
        "user.origin",
        b"needle-in-an-attribute",
        rustix::fs::XattrFlags::empty(),
    );
    if set.is_err_and(|errno| errno == rustix::io::Errno::OPNOTSUPP) {
        return eprintln!("not tested: this file system has no extended attributes");
    }
    ground.pack(LIMITS, all).expect("is written");
    let to = ground.path("back");
    ground
        .archives
        .restore(&ground.task, What::All, &to, None, UnpackLimits::default())
        .expect("is restored");
    assert_eq!(rustix::fs::listxattr_query(to.join("workspace/file")).expect("are listed"), 0);
}

#[test]
fn links_out_of_the_workspace_bring_nothing_in_and_fifos_do_not_hold_it_up() {
    let ground = Ground::new();
    fs::create_dir(ground.path("outside")).expect("is made");
    fs::write(ground.path("outside/key"), "MARKER-OUTSIDE").expect("is written");
    symlink(ground.path("outside"), ground.tree("folder")).expect("is linked");
    symlink(ground.path("outside/key"), ground.tree("file")).expect("is linked");
    mknodat(CWD, ground.tree("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("is made");
    let _socket = std::os::unix::net::UnixListener::bind(ground.tree("socket")).expect("is bound");
    let manifest = ground.pack(LIMITS, all).expect("is written");
    assert_eq!((manifest.contents.links, manifest.contents.special, manifest.contents.files), (2, 2, 0));
    assert!(!manifest.contents.is_partial());
    assert!(!unzipped(&ground).contains("MARKER-OUTSIDE"));
}

fn unzipped(ground: &Ground) -> String {
    let file = fs::File::open(ground.archives.path(&ground.task)).expect("is there");
    String::from_utf8_lossy(&zstd::decode_all(file).expect("is read")).into_owned()
}

#[test]
fn what_a_path_rule_masks_is_left_out_with_all_below_it() {
    let ground = Ground::new();
    fs::create_dir_all(ground.tree("keys/deep")).expect("is made");
    for name in [".env", "keys/deep/a", "plain"] {
        fs::write(ground.tree(name), format!("MARKER-{name}")).expect("is written");
    }
    let masked = |path: &Path| path == Path::new(".env") || path == Path::new("keys");
    let manifest = ground.pack(LIMITS, masked).expect("is written");
    assert_eq!((manifest.contents.masked, manifest.contents.files), (2, 1));
    let unzipped = unzipped(&ground);
    assert!(unzipped.contains("MARKER-plain"));
    assert!(!unzipped.contains("MARKER-.env") && !unzipped.contains("MARKER-keys"));
}

#[test]
fn files_that_are_too_large_sparse_or_not_are_left_out_and_named() {
    let ground = Ground::new();
    let sparse = fs::File::create(ground.tree("sparse")).expect("is made");
    sparse.write_all_at(b"x", 1 << 40).expect("is written");
    for name in ["a", "b", "c", "d", "e"] {
        fs::write(ground.tree(name), vec![0; 1 << 20]).expect("is written");
    }
    fs::write(ground.tree("0"), vec![0; (1 << 20) + 1]).expect("is written");
    let manifest = ground.pack(LIMITS, all).expect("is written");
    assert_eq!((manifest.contents.files, manifest.contents.too_large), (4, 3));
    assert_eq!(manifest.contents.left_out, ["0", "e", "sparse"]);
    assert!(manifest.contents.is_partial());
}

#[test]
fn what_lies_too_deep_to_be_restored_is_left_out_and_the_rest_comes_back() {
    let ground = Ground::new();
    fs::write(ground.tree("plain"), "x").expect("is written");
    // name by name, as a command can that enters each folder: 25 times 201 bytes are more than a path may have
    let mut folder = rustix::fs::open(ground.path("tree"), OFlags::DIRECTORY, Mode::empty()).expect("opens");
    let name = "d".repeat(200);
    for _ in 0..25 {
        rustix::fs::mkdirat(&folder, &name, Mode::from_raw_mode(0o700)).expect("is made");
        folder = rustix::fs::openat(&folder, &name, OFlags::DIRECTORY, Mode::empty()).expect("opens");
    }
    let manifest = ground.pack(LIMITS, all).expect("is written");
    assert!(manifest.contents.is_partial() && manifest.contents.left_out.len() == 1, "{manifest:?}");
    let to = ground.path("back");
    ground
        .archives
        .restore(&ground.task, What::Workspace, &to, None, UnpackLimits::default())
        .expect("what was written can be restored");
    assert_eq!(fs::read_to_string(to.join("plain")).expect("is there"), "x");
}

#[test]
fn too_many_files_or_too_large_an_archive_leave_what_was_there_before() {
    let ground = Ground::new();
    fs::write(ground.tree("first"), "first").expect("is written");
    ground.pack(LIMITS, all).expect("is written");
    let noise: Vec<u8> = (0..200_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(ground.tree("noise"), noise).expect("is written");
    let small = PackLimits { archive: 64 << 10, ..LIMITS };
    let error = ground.pack(small, all).expect_err("it is too large");
    assert!(error.to_string().contains("archive.max_mb"), "{error}");
    let few = PackLimits { entries: 1, ..LIMITS };
    let error = ground.pack(few, all).expect_err("there are too many");
    assert!(error.to_string().contains("more than 1 files"), "{error}");
    assert_eq!(ground.archives.manifest(&ground.task).expect("is read").contents.files, 1);
    let names = fs::read_dir(ground.path("archives")).expect("is read").count();
    assert_eq!(names, 1, "nothing half-written stays");
}

#[test]
fn a_workspace_that_changes_meanwhile_gives_no_archive() {
    let ground = Ground::new();
    fs::write(ground.tree("file"), "x").expect("is written");
    let changed = ground.pack_while(LIMITS, all, || fs::write(ground.tree("new"), "x").expect("is written"));
    assert!(changed.expect_err("it has changed").to_string().contains("changed meanwhile"));
    assert_eq!(ground.archives.list().expect("is read"), []);
    assert_eq!(fs::read_dir(ground.path("archives")).expect("is read").count(), 0);
}

#[test]
fn what_is_restored_belongs_to_whom_it_is_for() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let ground = Ground::new();
    fs::create_dir(ground.tree("folder")).expect("is made");
    fs::write(ground.tree("folder/file"), "x").expect("is written");
    symlink("/etc/passwd", ground.tree("link")).expect("is linked");
    ground.pack(LIMITS, all).expect("is written");
    let to = ground.path("back");
    let owner = Some((65432, 65433));
    ground
        .archives
        .restore(&ground.task, What::Workspace, &to, owner, UnpackLimits::default())
        .expect("is restored");
    for path in [to.clone(), to.join("folder"), to.join("folder/file"), to.join("link")] {
        let found = fs::symlink_metadata(&path).expect("is there");
        assert_eq!((found.uid(), found.gid()), (65432, 65433), "{}", path.display());
    }
    assert_eq!(fs::metadata("/etc/passwd").expect("is there").uid(), 0);
}

#[test]
fn archives_are_listed_removed_and_kept_by_the_rules() {
    let ground = Ground::new();
    assert_eq!(ground.archives.list().expect("none is no error"), []);
    ground.pack(LIMITS, all).expect("is written");
    let folder = ground.path("archives");
    assert_eq!(fs::metadata(&folder).expect("is there").mode() & 0o777, 0o700);
    let archive = ground.archives.path(&ground.task);
    assert_eq!(fs::metadata(archive).expect("is there").mode() & 0o777, 0o600);
    fs::write(folder.join("notes.txt"), "mine").expect("is written");
    let listed = ground.archives.list().expect("is read");
    assert_eq!(listed.len(), 1);
    let now = SystemTime::now();
    let rules = Retention { age: Duration::from_secs(86_400), bytes: 1 << 30 };
    assert_eq!(ground.archives.enforce(rules, now).expect("is read"), []);
    let later = now + Duration::from_secs(2 * 86_400);
    assert_eq!(ground.archives.enforce(rules, later).expect("is read").len(), 1);
    assert!(matches!(ground.archives.remove(&ground.task), Err(ArchiveError::None(_))));
    ground.pack(LIMITS, all).expect("is written");
    ground.archives.remove(&ground.task).expect("is removed");
    assert!(folder.join("notes.txt").exists());
}
