//! What a repository that somebody else made can do when it is fetched from
//! or pushed to: nothing of it runs, nothing from elsewhere comes in.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use sortie_core::action::ReadOperation;
use sortie_delivery::Source;
use sortie_policy::ports::{ErrorCode, Repository};

use crate::raw::{publish_tree, raw_object, raw_tree};
use crate::support::{BRANCH, Ground, Task, git, write};

const HOOKS: [&str; 12] = [
    "pre-receive",
    "update",
    "proc-receive",
    "post-receive",
    "post-update",
    "reference-transaction",
    "push-to-checkout",
    "pre-auto-gc",
    "pre-push",
    "post-checkout",
    "post-merge",
    "fsmonitor-watchman",
];

/// Hooks in a folder that would each leave the marker.
fn arm(ground: &Ground, hooks: &Path) {
    for hook in HOOKS {
        write(hooks, hook, format!("#!/bin/sh\n{}\n", ground.bomb()));
        fs::set_permissions(hooks.join(hook), fs::Permissions::from_mode(0o755)).expect("is executable");
    }
}

/// Everything in a repository's config that names a program.
fn hostile_config(ground: &Ground) -> String {
    let bomb = ground.bomb();
    format!(
        "[core]\n\tfsmonitor = {bomb}\n\tpager = {bomb}\n\teditor = {bomb}\n\tsshCommand = {bomb}\n\taskPass = {bomb}\n\
         \talternateRefsCommand = {bomb}\n\tgitProxy = {bomb}\n\
         [credential]\n\thelper = !{bomb}\n[filter \"evil\"]\n\tclean = {bomb}\n\tsmudge = {bomb}\n\tprocess = {bomb}\n\
         [uploadpack]\n\tpackObjectsHook = {bomb}\n[gpg]\n\tprogram = {bomb}\n\
         [gc]\n\tauto = 1\n\trecentObjectsHook = {bomb}\n[receive]\n\tautogc = true\n\tdenyCurrentBranch = updateInstead\n\
         [remote \"origin\"]\n\tuploadpack = {bomb};\n\treceivepack = {bomb};\n\
         [maintenance]\n\tauto = true\n[transfer]\n\tcredentialsInUrl = allow\n"
    )
}

fn append(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path).expect("opens");
    file.write_all(text.as_bytes()).expect("is written");
}

#[tokio::test]
async fn hooks_and_programs_of_a_local_repository_do_not_run() {
    let ground = Ground::with(&[("a", "1\n"), (".gitattributes", "* filter=evil\n")]);
    let seed = ground.seed();
    git(&seed, &["remote", "remove", "origin"]);
    arm(&ground, &seed.join(".git/hooks"));
    append(&seed.join(".git/config"), &hostile_config(&ground));
    // dirty, and with a time that makes Git look at the content
    write(&seed, "a", "3\n");
    let source = Source::parse("seed", ground.path()).expect("is a repository");
    assert_eq!(source.uncommitted(10), [Path::new("a")]);
    // the origin that the config names has no URL: delivery is into the repository
    let task = Task::on(&ground, "seed", |_| {});
    task.prepare().await;
    write(&task.tree, "a", "2\n");
    let commit = task.deliver().await;
    ground.nothing_ran();
    let packed = fs::read_to_string(seed.join(".git/refs/heads").join(BRANCH)).expect("the branch is there");
    assert_eq!(packed.trim(), commit);
    assert_eq!(fs::read_to_string(seed.join("a")).expect("is read"), "3\n");
}

#[tokio::test]
async fn hooks_of_the_origin_do_not_run() {
    let ground = Ground::with(&[("a", "1\n")]);
    arm(&ground, &ground.origin().join("hooks"));
    arm(&ground, &ground.path().join("more-hooks"));
    let hooks = ground.path().join("more-hooks");
    append(&ground.origin().join("config"), &hostile_config(&ground));
    append(&ground.origin().join("config"), &format!("[core]\n\thooksPath = {}\n", hooks.display()));
    for repository in [ground.url(), "seed".into()] {
        let task = Task::on(&ground, &repository, |config| {
            config.branch = format!("sortie/{}", repository.len());
            config.host_repository = ground.path().join(format!("task-{}.git", repository.len()));
            config.work_tree = ground.path().join(format!("tree-{}", repository.len()));
        });
        fs::create_dir(&task.config.work_tree).expect("is made");
        task.prepare().await;
        write(&task.config.work_tree, "a", "2\n");
        task.deliver().await;
        ground.nothing_ran();
    }
}

#[tokio::test]
async fn hooks_that_the_users_own_config_names_do_not_run_on_the_tasks_behalf() {
    let ground = Ground::with(&[("a", "1\n")]);
    arm(&ground, &ground.path().join("hooks"));
    write(
        ground.path(),
        "gitconfig",
        format!("[core]\n\thooksPath = {}\n", ground.path().join("hooks").display()),
    );
    let task = Task::on(&ground, &ground.url(), |config| {
        config.environment = vec![("GIT_CONFIG_GLOBAL".into(), ground.path().join("gitconfig").into())];
    });
    task.prepare().await;
    write(&task.tree, "a", "2\n");
    task.deliver().await;
    ground.nothing_ran();
}

/// What a hostile folder looks like, and what the refusal says.
type Case = (&'static str, fn(&Path, &Path), &'static str);

const LEADING_ELSEWHERE: [Case; 12] = [
    (
        "a gitfile",
        |seed, private| {
            fs::remove_dir_all(seed.join(".git")).expect("is removed");
            write(seed, ".git", format!("gitdir: {}/.git\n", private.display()));
        },
        "does not lead back",
    ),
    (
        "a linked .git",
        |seed, private| {
            fs::remove_dir_all(seed.join(".git")).expect("is removed");
            symlink(private.join(".git"), seed.join(".git")).expect("is linked");
        },
        "its `.git` is a link",
    ),
    (
        "commondir",
        |seed, private| write(seed, ".git/commondir", format!("{}/.git\n", private.display())),
        "`commondir` leads to another",
    ),
    (
        "alternates",
        |seed, private| {
            write(seed, ".git/objects/info/alternates", format!("{}/.git/objects\n", private.display()));
        },
        "borrows objects",
    ),
    (
        "linked objects",
        |seed, private| {
            fs::remove_dir_all(seed.join(".git/objects")).expect("is removed");
            symlink(private.join(".git/objects"), seed.join(".git/objects")).expect("is linked");
        },
        "its `objects` is a link",
    ),
    (
        "linked packs",
        |seed, private| {
            fs::remove_dir_all(seed.join(".git/objects/pack")).expect("is removed");
            symlink(private.join(".git/objects/pack"), seed.join(".git/objects/pack")).expect("is linked");
        },
        "its `objects/pack` is a link",
    ),
    (
        "a linked fan-out folder",
        |seed, private| {
            symlink(private.join(".git/objects"), seed.join(".git/objects/zz")).expect("is linked");
        },
        "links in its `objects`",
    ),
    (
        "a linked object",
        |seed, private| {
            fs::create_dir_all(seed.join(".git/objects/ee")).expect("is made");
            symlink(private.join(".git/HEAD"), seed.join(".git/objects/ee").join("0".repeat(38)))
                .expect("is linked");
        },
        "links in its `objects`",
    ),
    (
        "a fifo for an object",
        |seed, _| {
            let pack = seed.join(".git/objects/pack/pack-x.pack");
            assert!(Command::new("mkfifo").arg(&pack).status().expect("mkfifo runs").success());
        },
        "neither file nor folder",
    ),
    (
        "a .git within",
        |seed, private| write(seed, ".git/.git", format!("gitdir: {}/.git\n", private.display())),
        "a `.git` within it",
    ),
    (
        "objects on demand",
        |seed, _| append(&seed.join(".git/config"), "[remote \"evil\"]\n\tpromisor\n\turl = ext::sh\n"),
        "partial clone",
    ),
    (
        "objects on demand, of a work tree",
        |seed, _| write(seed, ".git/config.worktree", "[remote \"evil\"]\n\tpromisor = true\n"),
        "partial clone",
    ),
];

#[tokio::test]
async fn a_local_repository_that_leads_elsewhere_is_refused() {
    for (name, attack, reason) in LEADING_ELSEWHERE {
        let ground = Ground::with(&[("a", "1\n")]);
        let private = ground.path().join("outside");
        git(&private, &["init", "-q"]);
        git(&private, &["add", "canary"]);
        git(&private, &["commit", "-qm", "private"]);
        attack(&ground.seed(), &private);
        let url = format!("file://{}", ground.seed().display());
        for text in ["seed", "seed/.", url.as_str()] {
            let error = Source::parse(text, ground.path()).expect_err(name).to_string();
            assert!(error.contains(reason) && !error.contains('\n'), "{name}: {error}");
        }
        ground.nothing_ran();
    }
}

#[tokio::test]
async fn a_bare_repository_among_the_files_is_not_taken_for_the_users() {
    let ground = Ground::with(&[("a", "1\n")]);
    git(&ground.seed(), &["init", "-q", "--bare", "sub"]);
    fs::create_dir(ground.seed().join("sub/deep")).expect("is made");
    let source = Source::parse("seed/sub/deep", ground.path()).expect("is a repository");
    assert_eq!(source.work_tree(), Some(ground.seed().canonicalize().expect("is there").as_path()));
}

#[tokio::test]
async fn an_origin_that_would_run_a_program_is_refused_and_never_asked() {
    let ground = Ground::with(&[("a", "1\n")]);
    for url in
        [format!("ext::{}", ground.bomb()), "--upload-pack=x".into(), "ssh://-oProxyCommand=x/y".into()]
    {
        git(&ground.seed(), &["config", "remote.origin.url", &url]);
        let task = Task::on(&ground, "seed", |_| {});
        assert!(task.config.source.delivery().is_err());
        assert_eq!(task.fetch().await.expect_err("is refused").code, ErrorCode::Invalid);
        ground.nothing_ran();
    }
}

#[tokio::test]
async fn a_local_config_does_not_redirect_fetch_or_push() {
    let ground = Ground::with(&[("a", "1\n")]);
    let redirect = format!("[url \"ext::{} \"]\n\tinsteadOf = /\n\tpushInsteadOf = /\n", ground.bomb());
    append(&ground.seed().join(".git/config"), &redirect);
    let task = Task::on(&ground, "seed", |_| {});
    task.prepare().await;
    write(&task.tree, "a", "2\n");
    let commit = task.deliver().await;
    assert_eq!(
        fs::read_to_string(ground.origin().join("refs/heads").join(BRANCH)).expect("is there").trim(),
        commit
    );
    ground.nothing_ran();
}

#[tokio::test]
async fn a_fifo_in_place_of_an_index_is_not_waited_for() {
    let ground = Ground::with(&[("a", "1\n")]);
    let index = ground.seed().join(".git/index");
    fs::remove_file(&index).expect("is removed");
    assert!(Command::new("mkfifo").arg(&index).status().expect("mkfifo runs").success());
    let source = Source::parse("seed", ground.path()).expect("is a repository");
    assert_eq!(source.uncommitted(10), [] as [std::path::PathBuf; 0]);
}

#[tokio::test]
async fn a_fifo_in_place_of_a_config_does_not_block() {
    let ground = Ground::with(&[("a", "1\n")]);
    let config = ground.seed().join(".git/config");
    fs::remove_file(&config).expect("is removed");
    assert!(Command::new("mkfifo").arg(&config).status().expect("mkfifo runs").success());
    let error = Source::parse("seed", ground.path()).expect_err("is refused");
    assert!(error.to_string().contains("no regular file"), "{error}");
}

#[tokio::test]
async fn trees_with_names_that_would_escape_are_refused() {
    for name in [".git", ".GIT", ".gIt", "git~1", ".gi\u{200c}t", "..", ".", "a/b", ".git "] {
        let ground = Ground::with(&[("a", "1\n")]);
        let blob = ground.in_origin(&["rev-parse", "main:a"]);
        publish_tree(&ground, &[("100644", name, &blob)]);
        let task = ground.task();
        let error = task.fetch().await.expect_err(name);
        assert_eq!(error.code, ErrorCode::Invalid, "{name:?}: {error}");
        assert!(!error.message.contains('\n'));
        assert_eq!(fs::read_dir(&task.tree).expect("is there").count(), 0);
    }
}

#[tokio::test]
async fn a_tree_with_a_link_and_a_folder_of_one_name_is_refused() {
    let ground = Ground::with(&[("d/canary", "overwritten\n")]);
    let inner = ground.in_origin(&["rev-parse", "main:d"]);
    let target = ground.path().join("outside").display().to_string();
    let link = raw_object(&ground.origin(), "blob", target.as_bytes());
    publish_tree(&ground, &[("120000", "x", &link), ("40000", "x", &inner)]);
    let error = ground.task().fetch().await.expect_err("is refused");
    assert_eq!(error.code, ErrorCode::Invalid, "{error}");
    assert_eq!(fs::read_to_string(&ground.canary).expect("is read"), crate::support::CANARY);
}

#[tokio::test]
async fn a_small_pack_with_trees_without_end_is_refused() {
    let ground = Ground::with(&[("a", "1\n")]);
    let blob = ground.in_origin(&["rev-parse", "main:a"]);
    let numbers: Vec<_> = (0..1100).map(|number| format!("{number:04}")).collect();
    let wide = |mode, id: &str| raw_tree(&ground, numbers.iter().map(|name| (mode, name.as_str(), id)));
    let files = wide("100644", &blob);
    let long = "n".repeat(2000);
    let named = raw_tree(&ground, [("40000", long.as_str(), files.as_str())]);
    let deep = (0..250).fold(files.clone(), |tree, _| raw_tree(&ground, [("40000", "d", tree.as_str())]));
    for (name, tree) in [("files", wide("40000", &files)), ("paths", wide("40000", &named)), ("deep", deep)] {
        publish_tree(&ground, &[("40000", name, &tree)]);
        let task = ground.task();
        let error = task.fetch().await.expect_err(name);
        assert_eq!(error.code, ErrorCode::TooLarge, "{name}: {error}");
        assert!(error.message.contains(name), "{error}");
    }
}

#[tokio::test]
async fn a_small_pack_of_more_than_a_disk_holds_is_not_checked_out() {
    let ground = Ground::with(&[("a", "1\n")]);
    let zeros = raw_object(&ground.origin(), "blob", &vec![0; 64 << 20]);
    let names: Vec<_> = (0..300).map(|number| format!("{number:03}")).collect();
    let files = raw_tree(&ground, names.iter().map(|name| ("100644", name.as_str(), zeros.as_str())));
    publish_tree(&ground, &[("40000", "files", &files)]);
    let task = ground.task();
    task.fetch().await.expect("fetches");
    let error = task.repository.check_out().await.expect_err("is refused");
    assert_eq!(error.code, ErrorCode::TooLarge, "{error}");
    assert_eq!(fs::read_dir(&task.tree).expect("is there").count(), 0);
}

#[tokio::test]
async fn messages_without_end_are_told_in_part() {
    let ground = Ground::with(&[("a", "1\n")]);
    write(ground.path(), "message", format!("subject\n\n{}", "m".repeat(1 << 20)));
    git(&ground.seed(), &["commit", "-q", "--allow-empty", "-F", "../message"]);
    git(&ground.seed(), &["push", "-q", "origin", "HEAD:refs/heads/main"]);
    let task = ground.task();
    task.prepare().await;
    let log = task.repository.log(task.read(ReadOperation::Log { max: 10 }, &[]).await).await.expect("logs");
    assert!(log[0].message.starts_with("subject\n\nmmm") && log[0].message.len() < 20_000);
    let show = task.read(ReadOperation::Show { rev: "HEAD".into(), max: 1000 }, &["a"]).await;
    let shown = task.repository.show(show).await.expect("shows");
    assert!(shown.len() < 1200 && shown.contains("[cut here: "), "{} bytes", shown.len());
}

#[tokio::test]
async fn a_submodule_whose_url_looks_like_an_option_is_refused_in_one_line() {
    let modules = "[submodule \"x\"]\n\tpath = x\n\turl = --upload-pack=touch\n";
    let ground = Ground::with(&[("a", "1\n")]);
    let blob = ground.in_origin(&["rev-parse", "main:a"]);
    let modules = raw_object(&ground.origin(), "blob", modules.as_bytes());
    publish_tree(&ground, &[("100644", ".gitmodules", &modules), ("100644", "a", &blob)]);
    let error = ground.task().fetch().await.expect_err("is refused");
    assert_eq!(error.code, ErrorCode::Invalid, "{error}");
    assert!(error.message.contains("gitmodules") && !error.message.contains('\n'), "{error}");
    ground.nothing_ran();
}

#[tokio::test]
async fn a_branch_named_like_an_option_is_fetched_as_a_branch() {
    let ground = Ground::with(&[("a", "1\n")]);
    let main = ground.in_origin(&["rev-parse", "main"]);
    write(&ground.origin(), "refs/heads/--upload-pack=x", format!("{main}\n"));
    assert_eq!(ground.task().fetch_from(Some("refs/heads/--upload-pack=x")).await.expect("fetches"), main);
    let error = ground.task().restarted();
    assert_eq!(error.fetch_from(Some("--upload-pack=x")).await.expect("is fetched already"), main);
}

#[tokio::test]
async fn a_base_that_is_no_commit_is_refused() {
    let ground = Ground::with(&[("a", "1\n")]);
    let blob = ground.in_origin(&["rev-parse", "main:a"]);
    ground.in_origin(&["tag", "blob", &blob]);
    let error = ground.task().fetch_from(Some("blob")).await.expect_err("is refused");
    assert_eq!(error.code, ErrorCode::NotFound, "{error}");
    // nothing of it sticks
    ground.task().fetch().await.expect("fetches");
}

#[tokio::test]
async fn only_the_base_is_fetched() {
    let ground = Ground::with(&[("a", "1\n")]);
    git(&ground.seed(), &["checkout", "-q", "-b", "other"]);
    write(&ground.seed(), "b", "of another branch\n");
    git(&ground.seed(), &["add", "-A"]);
    git(&ground.seed(), &["commit", "-qm", "other"]);
    git(&ground.seed(), &["tag", "v9"]);
    // what is fetched has a tag, which Git would bring by itself
    git(&ground.seed(), &["tag", "v1", "main"]);
    git(&ground.seed(), &["push", "-q", "origin", "other", "v9", "v1"]);
    let task = ground.task();
    task.prepare().await;
    let refs = git(&task.config.host_repository, &["for-each-ref", "--format=%(refname)"]);
    assert_eq!(refs, format!("refs/heads/{BRANCH}\nrefs/sortie/base\nrefs/sortie/fetched"));
    let objects = git(&task.config.host_repository, &["cat-file", "--batch-all-objects", "--batch"]);
    assert!(!objects.contains("of another branch"));
}
