//! What a workspace can do to the work tree: nothing of it runs on the host,
//! nothing from outside is delivered.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
use sortie_core::action::{Against, Change, ChangeKind, ReadOperation};
use sortie_policy::ports::{ErrorCode, Repository};

use crate::support::{BRANCH, CANARY, Ground, Task, git, git_command, write};

/// Uses everything that reads or delivers the work tree.
async fn exercise(ground: &Ground, task: &Task) {
    let changes = task.repository.changes(Against::Base).await.expect("changes");
    let paths: Vec<_> = changes.iter().map(|change| change.path.as_str()).collect();
    let diff = task.read(ReadOperation::Diff { against: Against::Base, max: 1 << 20 }, &paths).await;
    task.repository.diff(diff).await.expect("compares");
    task.repository.status(task.read(ReadOperation::Status, &paths).await).await.expect("reads");
    task.deliver().await;
    ground.nothing_ran();
    ground.nothing_leaked();
}

#[tokio::test]
async fn a_config_in_the_work_trees_git_steers_nothing() {
    let ground = Ground::with(&[("a", "1\n"), (".gitattributes", "* filter=evil diff=evil merge=evil\n")]);
    let task = ground.task();
    task.prepare().await;
    let bomb = ground.bomb();
    write(&task.tree, "included", format!("[core]\n\tpager = {bomb}\n\tsshCommand = {bomb}\n"));
    let config = format!(
        "[core]\n\tfsmonitor = {bomb}\n\thooksPath = {t}/hooks\n\tworktree = {o}\n\teditor = {bomb}\n\tpager = {bomb}\n\
         \tsshCommand = {bomb}\n\taskPass = {bomb}\n\tgitProxy = {bomb}\n\talternateRefsCommand = {bomb}\n\
         \tattributesFile = {t}/attributes\n\texcludesFile = /dev/null\n\
         [credential]\n\thelper = !{bomb}\n[include]\n\tpath = {t}/included\n\
         [filter \"evil\"]\n\tclean = {bomb}\n\tsmudge = {bomb}\n\tprocess = {bomb}\n\trequired = true\n\
         [diff \"evil\"]\n\tcommand = {bomb}\n\ttextconv = {bomb}\n[diff]\n\texternal = {bomb}\n\
         [url \"ext::{bomb} \"]\n\tinsteadOf = file://\n\tpushInsteadOf = file://\n\
         [url \"{o}/elsewhere.git\"]\n\tinsteadOf = {origin}\n[http]\n\tproxy = http://127.0.0.1:1\n\
         [gpg]\n\tprogram = {bomb}\n[commit]\n\tgpgSign = true\n[alias]\n\tcommit = !{bomb}\n\
         [uploadpack]\n\tpackObjectsHook = {bomb}\n[gc]\n\trecentObjectsHook = {bomb}\n",
        t = task.tree.display(),
        o = ground.path().join("outside").display(),
        origin = ground.origin().display(),
    );
    write(&task.tree, ".git/config", config);
    for hook in [
        "pre-commit",
        "post-commit",
        "pre-push",
        "reference-transaction",
        "post-checkout",
        "fsmonitor-watchman",
    ] {
        for folder in [".git/hooks", "hooks"] {
            write(&task.tree, &format!("{folder}/{hook}"), format!("#!/bin/sh\n{bomb}\n"));
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(task.tree.join(folder).join(hook), mode).expect("is executable");
        }
    }
    write(&task.tree, "a", "2\n");
    exercise(&ground, &task).await;
    assert_eq!(ground.in_origin(&["show", &format!("{BRANCH}:a")]), "2");
    let listed = ground.in_origin(&["ls-tree", "-r", "--name-only", BRANCH]);
    assert!(!listed.contains(".git/"), "{listed}");
}

#[tokio::test]
async fn a_gitfile_commondir_alternates_and_links_in_dot_git_lead_nowhere() {
    type Attack = fn(&Path, &Path);
    let attacks: [(&str, Attack); 5] = [
        ("gitfile", |tree, outside| {
            fs::remove_dir_all(tree.join(".git")).expect("is removed");
            write(tree, ".git", format!("gitdir: {}/.git\n", outside.display()));
        }),
        ("link", |tree, outside| {
            fs::remove_dir_all(tree.join(".git")).expect("is removed");
            symlink(outside.join(".git"), tree.join(".git")).expect("is linked");
        }),
        ("commondir", |tree, outside| write(tree, ".git/commondir", format!("{}/.git\n", outside.display()))),
        ("alternates", |tree, outside| {
            write(tree, ".git/objects/info/alternates", format!("{}/.git/objects\n", outside.display()));
        }),
        ("linked head", |tree, outside| {
            for name in ["HEAD", "index", "packed-refs"] {
                fs::remove_file(tree.join(".git").join(name)).expect("is removed");
                symlink(outside.join("canary"), tree.join(".git").join(name)).expect("is linked");
            }
        }),
    ];
    for (name, attack) in attacks {
        let ground = Ground::with(&[("a", "1\n")]);
        let outside = ground.path().join("outside");
        git(&outside, &["init", "-q"]);
        git(&outside, &["add", "canary"]);
        git(&outside, &["commit", "-qm", "private"]);
        let task = ground.task();
        task.prepare().await;
        attack(&task.tree, &outside);
        symlink(task.tree.join(".git/config"), task.tree.join("into-dot-git")).expect("is linked");
        write(&task.tree, "a", "2\n");
        exercise(&ground, &task).await;
        let listed = ground.in_origin(&["ls-tree", "-r", "--format=%(objectmode) %(path)", BRANCH]);
        assert_eq!(listed, "100644 a\n120000 into-dot-git", "{name}");
    }
}

#[tokio::test]
async fn attributes_change_no_byte_in_either_direction() {
    let content = "one\r\n$Id$ $Format:%H$\ntwo\n";
    let attributes = "* text=auto eol=crlf ident filter=lfs diff=lfs\n*.utf working-tree-encoding=UTF-16\na export-subst\n";
    let ground = Ground::with(&[(".gitattributes", attributes)]);
    // written past the seed's own filters
    let seed = ground.seed();
    for name in ["a", "b.utf"] {
        write(&seed, "raw", content);
        let id = git(&seed, &["hash-object", "-w", "--no-filters", "raw"]);
        git(&seed, &["update-index", "--add", "--cacheinfo", &format!("100644,{id},{name}")]);
    }
    git(&seed, &["commit", "-qm", "raw"]);
    git(&seed, &["push", "-q", "origin", "HEAD:refs/heads/main"]);
    let task = ground.task();
    task.prepare().await;
    for name in ["a", "b.utf"] {
        assert_eq!(fs::read_to_string(task.tree.join(name)).expect("is read"), content);
    }
    assert_eq!(task.changes().await, []);
    write(&task.tree, "a", "$Id: x$\r\n");
    task.deliver().await;
    let blob = ground.in_origin(&["cat-file", "-s", &format!("{BRANCH}:a")]);
    assert_eq!(blob, "9");
}

#[tokio::test]
async fn a_link_to_the_outside_is_delivered_as_a_link_and_never_as_content() {
    let ground = Ground::with(&[("a", "1\n"), ("dir/canary", "tracked\n")]);
    symlink("/etc/passwd", ground.seed().join("tracked-link")).expect("is linked");
    ground.publish();
    let task = ground.task();
    task.prepare().await;
    assert_eq!(fs::read_link(task.tree.join("tracked-link")).expect("is a link"), Path::new("/etc/passwd"));
    symlink(&ground.canary, task.tree.join("to-canary")).expect("is linked");
    fs::remove_file(task.tree.join("a")).expect("is removed");
    symlink(&ground.canary, task.tree.join("a")).expect("is linked");
    // a folder with tracked files becomes a link to one that has a file of that name
    fs::remove_dir_all(task.tree.join("dir")).expect("is removed");
    symlink(ground.path().join("outside"), task.tree.join("dir")).expect("is linked");
    exercise(&ground, &task).await;
    let listed = ground.in_origin(&["ls-tree", "-r", "--format=%(objectmode) %(path)", BRANCH]);
    assert_eq!(listed, "120000 a\n120000 dir\n120000 to-canary\n120000 tracked-link");
    let target = ground.in_origin(&["cat-file", "-p", &format!("{BRANCH}:a")]);
    assert_eq!(target, ground.canary.display().to_string());
}

/// Swaps folders and a file for links to the outside and back, until told to
/// stop. What is swapped also changes, so that it is always to be committed.
fn swap_until(
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    ground: &Ground,
    tree: &Path,
) -> JoinHandle<()> {
    let outside = ground.path().join("outside");
    let names = [("a", "canary", &outside), ("b/c", "canary", &outside), ("f", "", &ground.canary)];
    let swaps = names.map(|(name, content, target)| {
        let aside = ground.path().join(format!("aside-{}", name.replace('/', "-")));
        symlink(target, &aside).expect("is linked");
        (tree.join(name), content, aside)
    });
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            for (path, content, aside) in &swaps {
                let exchange =
                    || renameat_with(CWD, path, CWD, aside, RenameFlags::EXCHANGE).expect("change places");
                exchange();
                let file = if content.is_empty() { aside.clone() } else { aside.join(content) };
                fs::write(file, rounds.load(Ordering::Relaxed).to_string()).expect("is written");
                exchange();
            }
            rounds.fetch_add(1, Ordering::Relaxed);
        }
    })
}

#[tokio::test]
async fn folders_swapped_for_links_while_they_are_read_bring_nothing_in() {
    let ground = Ground::with(&[("a/canary", "1\n"), ("b/c/canary", "1\n"), ("f", "1\n")]);
    let task = ground.task();
    task.prepare().await;
    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let swapper = swap_until(Arc::clone(&stop), Arc::clone(&rounds), &ground, &task.tree);
    let mut commits = 0;
    while commits < 100 || rounds.load(Ordering::Relaxed) < 2000 {
        assert!(!swapper.is_finished(), "nobody swaps them any more");
        match task.commit().await {
            Ok(_) => commits += 1,
            Err(error) => assert!(matches!(error.code, ErrorCode::Conflict | ErrorCode::Invalid), "{error}"),
        }
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().expect("the swapper ends");
    task.push().await.expect("pushes");
    ground.nothing_leaked();
    // not only what was pushed: nothing that the host took in
    let objects = git(&task.config.host_repository, &["cat-file", "--batch-all-objects", "--batch"]);
    assert!(!objects.contains(CANARY), "the host's repository holds the canary");
}

#[tokio::test]
async fn fifos_and_sockets_are_passed_over_without_waiting() {
    let ground = Ground::with(&[("a", "1\n"), ("b", "1\n")]);
    let task = ground.task();
    task.prepare().await;
    fs::remove_file(task.tree.join("a")).expect("is removed");
    let made = Command::new("mkfifo").args(["a", "fifo", ".gitignore"]).current_dir(&task.tree).status();
    assert!(made.expect("mkfifo runs").success());
    // the path may be too long to bind one
    mknodat(CWD, task.tree.join("socket"), FileType::Socket, Mode::RUSR, 0).expect("is made");
    write(&task.tree, "b", "2\n");
    let expected = [("a".to_owned(), ChangeKind::Deleted), ("b".to_owned(), ChangeKind::Modified)];
    assert_eq!(task.changes().await, expected);
    exercise(&ground, &task).await;
    let notices = task.repository.take_notices().join("\n");
    for name in ["`a`", "`fifo`", "`socket`", "`.gitignore`"] {
        assert!(notices.contains(&format!("{name} is left out")), "{notices}");
    }
}

#[tokio::test]
async fn names_are_bytes_and_arrive_as_they_are() {
    let names: [&[u8]; 10] = [
        b"-rf",
        b"--upload-pack=touch",
        b"a\nb",
        b"caf\xe9",
        b"caf\xe8",
        b"back\\slash",
        b"quote\"'$(x)",
        b"README",
        b"readme",
        b"..still-here",
    ];
    let ground = Ground::with(&[("seed", "1\n")]);
    let task = ground.task();
    task.prepare().await;
    for name in names {
        fs::write(task.tree.join(OsStr::from_bytes(name)), name).expect("is written");
    }
    exercise(&ground, &task).await;
    let output = git_command(&ground.origin())
        .args(["ls-tree", "-r", "-z", "--name-only", BRANCH])
        .output()
        .expect("git runs");
    let listed: Vec<_> = output.stdout.split(|&byte| byte == 0).filter(|name| !name.is_empty()).collect();
    let mut expected: Vec<&[u8]> = names.to_vec();
    expected.push(b"seed");
    expected.sort_unstable();
    assert_eq!(listed, expected);
    // and back again
    fs::remove_file(task.tree.join(OsStr::from_bytes(b"caf\xe9"))).expect("is removed");
    assert_eq!(task.changes().await, [("caf\u{fffd}".to_owned(), ChangeKind::Deleted)]);
}

#[tokio::test]
async fn names_that_read_the_same_are_permitted_or_left_out_together() {
    let ground = Ground::with(&[("a", "1\n")]);
    let task = ground.task();
    task.prepare().await;
    for name in [&b"caf\xe9"[..], b"caf\xe8"] {
        fs::write(task.tree.join(OsStr::from_bytes(name)), "x").expect("is written");
    }
    write(&task.tree, "a", "2\n");
    task.commit_of(vec![Change { path: "a".into(), kind: ChangeKind::Modified }]).await.expect("commits");
    assert_eq!(task.changes().await.len(), 2);
    task.commit_of(vec![Change { path: "caf\u{fffd}".into(), kind: ChangeKind::Added }])
        .await
        .expect("commits");
    assert_eq!(task.changes().await, []);
}

#[tokio::test]
async fn repositories_within_and_dot_git_in_any_spelling_are_left_out() {
    let ground = Ground::with(&[("a", "1\n"), ("dir/b", "1\n")]);
    let task = ground.task();
    task.prepare().await;
    for path in [".GIT/config", "dir/.Git/config", "git~1/x", "nested/.git/HEAD", "nested/file", "dir/new"] {
        write(&task.tree, path, "x");
    }
    assert_eq!(task.changes().await, [("dir/new".to_owned(), ChangeKind::Added)]);
    let notices = task.repository.take_notices().join("\n");
    for name in ["`.GIT`", "`dir/.Git`", "`git~1`", "`nested`"] {
        assert!(notices.contains(&format!("{name} is left out")), "{notices}");
    }
    exercise(&ground, &task).await;
}

#[tokio::test]
async fn submodules_and_lfs_pointers_stay_what_they_are() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 5\n";
    let ground = Ground::with(&[
        ("big.bin", pointer),
        (".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n"),
    ]);
    git(&ground.seed(), &["submodule", "--quiet", "add", &ground.url(), "inner"]);
    ground.publish();
    let before = ground.in_origin(&["rev-parse", "main:inner"]);
    let task = ground.task();
    task.prepare().await;
    assert_eq!(fs::read_to_string(task.tree.join("big.bin")).expect("is read"), pointer);
    assert!(fs::read_dir(task.tree.join("inner")).expect("is a folder").next().is_none());
    assert_eq!(git(&task.tree, &["status", "--porcelain"]), "");
    write(&task.tree, "inner/filled", "x");
    write(&task.tree, "new", "x");
    assert_eq!(task.changes().await, [("new".to_owned(), ChangeKind::Added)]);
    fs::remove_dir_all(task.tree.join("inner")).expect("is removed");
    task.deliver().await;
    assert_eq!(ground.in_origin(&["rev-parse", &format!("{BRANCH}:inner")]), before);
}

#[tokio::test]
async fn a_hostile_gitignore_costs_bounded_work() {
    let ground = Ground::with(&[("a", "1\n")]);
    let task = ground.task();
    task.prepare().await;
    let lines: String = (0..30_000).map(|line| format!("{}{line}\n", "**/a*[".repeat(line % 3))).collect();
    write(&task.tree, ".gitignore", lines);
    write(&task.tree, "sub/.gitignore", "*\n".repeat(200_000));
    write(&task.tree, "b", "x");
    let paths: Vec<_> = task.changes().await.into_iter().map(|(path, _)| path).collect();
    assert!(paths.contains(&"b".to_owned()), "{paths:?}");
    // one that is too long does not count, however few its lines are
    write(&task.tree, ".gitignore", format!("*\n#{}", "x".repeat(300 << 10)));
    let paths: Vec<_> = task.changes().await.into_iter().map(|(path, _)| path).collect();
    assert!(paths.contains(&"b".to_owned()), "{paths:?}");
}

#[tokio::test]
async fn rules_without_end_do_not_crowd_out_those_of_the_base() {
    let ground = Ground::with(&[(".gitignore", "secret\n"), ("sub/.gitignore", "hidden\n"), ("a", "1\n")]);
    let task = ground.task();
    task.prepare().await;
    write(&task.tree, ".gitignore", "nope\n".repeat(30_000));
    write(&task.tree, "sub/.gitignore", "");
    for path in ["secret", "sub/hidden", "new"] {
        write(&task.tree, path, "x");
    }
    let paths: Vec<_> = task.changes().await.into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, [".gitignore", "new", "sub/.gitignore"]);
    assert!(task.repository.take_notices().join("\n").contains("more than 20000 lines"));
}

#[tokio::test]
async fn a_work_tree_that_is_not_empty_is_not_checked_out_into() {
    let ground = Ground::with(&[("a", "1\n")]);
    let task = ground.task();
    task.fetch().await.expect("fetches");
    symlink(&ground.canary, task.tree.join("a")).expect("is linked");
    let error = task.repository.check_out().await.expect_err("is refused");
    assert_eq!(error.code, ErrorCode::Conflict);
    assert_eq!(fs::read_to_string(&ground.canary).expect("is read"), CANARY);
}
