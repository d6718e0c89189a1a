//! What a hostile work tree cannot make the host do.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, RenameFlags, mkfifoat, mknodat, renameat_with};
use sortie_core::action::IfMatch;
use sortie_policy::ports::{ErrorCode, Files, SearchQuery};
use tempfile::TempDir;

use crate::file_changes::{Tree, is_root};

/// A folder outside of the work tree, with a canary in it.
fn outside() -> TempDir {
    let dir = TempDir::new().expect("a temporary folder");
    fs::write(dir.path().join("f"), "canary").expect("a file");
    dir
}

fn untouched(outside: &TempDir) {
    assert_eq!(fs::read_to_string(outside.path().join("f")).expect("it is there"), "canary");
    assert_eq!(fs::read_dir(outside.path()).expect("a folder").count(), 1);
}

#[tokio::test]
async fn paths_that_lead_out_are_refused() {
    let (tree, outside) = (Tree::new(), outside());
    tree.put("d/x", "");
    let name = outside.path().file_name().expect("a name").to_str().expect("text");
    for path in [
        outside.path().join("f").to_str().expect("text").to_owned(),
        format!("../{name}/f"),
        format!("d/../../{name}/f"),
        "..".into(),
        "d/..".into(),
    ] {
        assert_eq!(tree.read(&path).await.expect_err(&path).code, ErrorCode::Invalid, "{path}");
        assert_eq!(tree.write(&path, "x", IfMatch::Any).await.expect_err(&path).code, ErrorCode::Invalid);
        assert_eq!(tree.edit(&path, "canary", "x", 1).await.expect_err(&path).code, ErrorCode::Invalid);
        assert_eq!(tree.remove(&path).await.expect_err(&path).code, ErrorCode::Invalid);
    }
    untouched(&outside);
}

#[tokio::test]
async fn links_are_not_followed_and_the_refusal_says_where_they_point() {
    let (tree, outside) = (Tree::new(), outside());
    let root = tree.dir.path();
    tree.put("secrets/.env", "inner canary");
    symlink(outside.path().join("f"), root.join("file")).expect("a link");
    symlink(outside.path(), root.join("dir")).expect("a link");
    symlink("/proc/self/root", root.join("magic")).expect("a link");
    // an alias inside of the tree: a permit for `notes` is none for `secrets/.env`
    symlink("secrets/.env", root.join("notes")).expect("a link");
    symlink("secrets", root.join("alias")).expect("a link");
    symlink("loop", root.join("loop")).expect("a link");
    for path in ["file", "dir/f", "notes", "alias/.env", "loop", "magic/etc/hostname"] {
        let error = tree.read(path).await.expect_err(path);
        assert_eq!(error.code, ErrorCode::Invalid, "{path}");
        assert!(error.message.contains("leads through a link"), "{}", error.message);
        assert_eq!(tree.write(path, "x", IfMatch::Any).await.expect_err(path).code, ErrorCode::Invalid);
        assert_eq!(tree.edit(path, "canary", "x", 1).await.expect_err(path).code, ErrorCode::Invalid);
    }
    assert_eq!(
        tree.write("dir/new/deep", "x", IfMatch::Any).await.expect_err("out").code,
        ErrorCode::Invalid
    );
    let message = tree.read("alias/.env").await.expect_err("a link").message;
    assert!(message.starts_with("`alias/.env` leads through a link, `alias` to `secrets`"), "{message}");
    tree.remove("file").await.expect("the link itself");
    assert_eq!(tree.remove("dir/f").await.expect_err("out").code, ErrorCode::Invalid);
    assert_eq!(tree.text("secrets/.env"), "inner canary");
    untouched(&outside);
}

#[tokio::test]
async fn nothing_but_regular_files_is_opened() {
    let tree = Tree::new();
    let path = |name: &str| tree.dir.path().join(name);
    mkfifoat(CWD, path("fifo"), Mode::from_raw_mode(0o666)).expect("a fifo");
    mkfifoat(CWD, path(".gitignore"), Mode::from_raw_mode(0o666)).expect("a fifo");
    let _socket = UnixListener::bind(path("socket")).expect("a socket");
    let mut special = vec!["fifo", "socket", ".gitignore"];
    let zero = rustix::fs::makedev(1, 5);
    if is_root()
        && mknodat(CWD, path("device"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), zero).is_ok()
    {
        special.push("device");
    }
    for name in special {
        let error = tree.read(name).await.expect_err(name);
        assert_eq!(error.code, ErrorCode::Invalid);
        assert!(error.message.ends_with("not a regular file"), "{}", error.message);
        assert_eq!(tree.write(name, "x", IfMatch::Any).await.expect_err(name).code, ErrorCode::Invalid);
    }
    let query = SearchQuery { pattern: ".".into(), glob: None, ignore_case: false, max_matches: 10 };
    assert!(tree.files.survey_search(&query).await.expect("it does not wait").paths.is_empty());
}

#[tokio::test]
async fn a_repositorys_own_folder_is_not_written_to() {
    let tree = Tree::new();
    tree.put(".git/config", "[core]");
    tree.put("sub/.git", "gitdir: x");
    for path in [".git/config", ".git/hooks/pre-commit", ".git", "sub/.git", ".GIT/config", "sub/.Git/x"] {
        let error = tree.write(path, "x", IfMatch::Any).await.expect_err(path);
        assert_eq!((error.code, error.rule.as_deref()), (ErrorCode::Denied, Some("files/git-dir")), "{path}");
        assert_eq!(tree.edit(path, "core", "x", 1).await.expect_err(path).code, ErrorCode::Denied);
        assert_eq!(tree.remove(path).await.expect_err(path).code, ErrorCode::Denied);
    }
    assert_eq!(tree.text(".git/config"), "[core]");
    tree.write(".gitignore", "x", IfMatch::Any).await.expect("another file");
    tree.read(".git/config").await.expect("it may be read");
}

/// Exchanges what stands at two names, over and over, until it is dropped.
struct Swapper {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Swapper {
    fn start(one: PathBuf, other: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).expect("both are there");
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it is dropped once").join().expect("it only renames");
    }
}

/// Whether it was read so often, and the race went both ways. On a busy machine that may take longer.
fn is_enough(counts: (u32, u32), least: u32, begun: Instant) -> bool {
    let both = counts.0 > 0 && counts.1 > 0;
    counts.0 + counts.1 >= least && (both || begun.elapsed() > Duration::from_secs(300))
}

/// Reads what may be swapped, and counts the reads that came through and
/// those that did not. What is read is always what was inside.
async fn read_amid_swaps(tree: &Tree, path: &str, counts: &mut (u32, u32)) {
    match tree.read(path).await {
        Ok(content) => {
            assert_eq!(content.data, b"inside");
            counts.0 += 1;
        }
        Err(error) => {
            assert!(matches!(error.code, ErrorCode::Invalid | ErrorCode::NotFound), "{error}");
            counts.1 += 1;
        }
    }
}

#[tokio::test]
async fn a_folder_that_is_swapped_for_a_link_never_leads_out() {
    let (tree, outside) = (Tree::new(), outside());
    tree.put("d/f", "inside");
    symlink(outside.path(), tree.dir.path().join("l")).expect("a link");
    let swapper = Swapper::start(tree.dir.path().join("d"), tree.dir.path().join("l"));
    let (mut counts, begun) = ((0, 0), Instant::now());
    while !is_enough(counts, 2500, begun) {
        read_amid_swaps(&tree, "d/f", &mut counts).await;
        let _ = tree.write("d/f", "inside", IfMatch::Any).await;
        let _ = tree.write("d/new", "inside", IfMatch::Any).await;
        let _ = tree.remove("d/new").await;
        if (counts.0 + counts.1) % 50 == 0 {
            let query =
                SearchQuery { pattern: "canary".into(), glob: None, ignore_case: false, max_matches: 10 };
            assert!(tree.files.survey_search(&query).await.expect("it runs").paths.is_empty());
        }
    }
    drop(swapper);
    assert!(counts.0 > 0 && counts.1 > 0, "there was no race: {counts:?}");
    untouched(&outside);
}

#[tokio::test]
async fn a_file_that_is_swapped_for_a_link_or_a_fifo_is_never_mistaken() {
    let (tree, outside) = (Tree::new(), outside());
    let path = |name: &str| tree.dir.path().join(name);
    tree.put("f", "inside");
    symlink(outside.path().join("f"), path("link")).expect("a link");
    mkfifoat(CWD, path("fifo"), Mode::from_raw_mode(0o666)).expect("a fifo");
    for other in ["link", "fifo"] {
        let swapper = Swapper::start(path("f"), path(other));
        let (mut counts, begun) = ((0, 0), Instant::now());
        while !is_enough(counts, 10_000, begun) {
            read_amid_swaps(&tree, "f", &mut counts).await;
        }
        drop(swapper);
        assert!(counts.0 > 0 && counts.1 > 0, "there was no race: {counts:?}");
        if fs::symlink_metadata(path("f")).expect("it is there").file_type().is_file() {
            continue;
        }
        renameat_with(CWD, path("f"), CWD, path(other), RenameFlags::EXCHANGE).expect("both are there");
    }
    untouched(&outside);
}
