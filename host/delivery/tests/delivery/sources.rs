//! What `--repo` may name.

use std::fs;
use std::path::Path;

use sortie_delivery::Source;
use sortie_policy::ports::{ErrorCode, Repository};

use crate::support::{BRANCH, Ground, Task, git, script, write};

#[tokio::test]
async fn a_path_within_a_clone_works_on_its_head_and_delivers_to_its_origin() {
    let ground = Ground::with(&[("src/a", "1\n")]);
    write(&ground.seed(), "src/a", "local\n");
    git(&ground.seed(), &["commit", "-qam", "not pushed yet"]);
    write(&ground.seed(), "src/a", "dirty\n");
    let task = Task::on(&ground, "seed/src", |_| {});
    assert_eq!(
        task.config.source.masked(),
        ground.seed().canonicalize().expect("is there").display().to_string()
    );
    assert_eq!(task.config.source.uncommitted(10), [Path::new("src/a")]);
    let base = task.fetch().await.expect("fetches");
    assert_eq!(base, git(&ground.seed(), &["rev-parse", "HEAD"]));
    task.repository.check_out().await.expect("checks out");
    assert_eq!(fs::read_to_string(task.tree.join("src/a")).expect("is read"), "local\n");
    write(&task.tree, "src/a", "2\n");
    let commit = task.deliver().await;
    assert_eq!(ground.in_origin(&["rev-parse", BRANCH]), commit);
    assert_eq!(git(&ground.seed(), &["branch", "--list", BRANCH]), "");
    assert_eq!(fs::read_to_string(ground.seed().join("src/a")).expect("is read"), "dirty\n");
}

#[tokio::test]
async fn a_path_without_an_origin_gets_the_branch_itself() {
    let ground = Ground::with(&[("a", "1\n")]);
    git(&ground.seed(), &["remote", "remove", "origin"]);
    let task = Task::on(&ground, "seed", |_| {});
    task.prepare().await;
    write(&task.tree, "a", "2\n");
    let commit = task.deliver().await;
    assert_eq!(git(&ground.seed(), &["rev-parse", BRANCH]), commit);
    assert_eq!(git(&ground.seed(), &["branch", "--show-current"]), "main");
    assert_eq!(git(&ground.seed(), &["status", "--porcelain"]), "");
}

#[tokio::test]
async fn a_bare_path_a_detached_head_and_a_shallow_clone_work() {
    let ground = Ground::with(&[("a", "1\n")]);
    write(&ground.seed(), "a", "2\n");
    ground.publish();
    git(ground.path(), &["clone", "-q", "--depth", "1", &ground.url(), "shallow"]);
    git(ground.path(), &["clone", "-q", &ground.url(), "detached"]);
    git(&ground.path().join("detached"), &["checkout", "-q", "--detach", "HEAD~1"]);
    for (name, history) in [("origin.git", "2"), ("shallow", "1"), ("detached", "1")] {
        let task = Task::on(&ground, name, |config| {
            config.branch = format!("sortie/{name}");
            config.host_repository = ground.path().join(format!("task-{name}.git"));
            config.work_tree = ground.path().join(format!("tree-{name}"));
        });
        fs::create_dir(&task.config.work_tree).expect("is made");
        task.prepare().await;
        assert_eq!(git(&task.config.work_tree, &["rev-list", "--count", "HEAD"]), history, "{name}");
        write(&task.config.work_tree, "a", name);
        let commit = task.deliver().await;
        assert_eq!(ground.in_origin(&["rev-parse", &format!("sortie/{name}")]), commit, "{name}");
    }
}

#[tokio::test]
async fn a_linked_work_tree_and_a_submodules_checkout_work() {
    let ground = Ground::with(&[("a", "1\n")]);
    git(&ground.seed(), &["worktree", "add", "-q", "-b", "side", "../linked"]);
    write(&ground.path().join("linked"), "a", "linked\n");
    git(&ground.path().join("linked"), &["commit", "-qam", "on the side"]);
    git(ground.path(), &["init", "-q", "outer"]);
    git(&ground.path().join("outer"), &["submodule", "--quiet", "add", &ground.url(), "inner"]);
    for name in ["linked", "outer/inner"] {
        let folder = ground.path().join(name);
        let task = Task::on(&ground, name, |config| {
            config.host_repository = ground.path().join(format!("task-{}.git", name.replace('/', "-")));
        });
        let base = task.fetch().await.expect(name);
        assert_eq!(base, git(&folder, &["rev-parse", "HEAD"]), "{name}");
    }
}

#[tokio::test]
async fn a_linked_work_tree_without_an_origin_gets_the_branch_itself() {
    let ground = Ground::with(&[("a", "1\n")]);
    git(&ground.seed(), &["remote", "remove", "origin"]);
    git(&ground.seed(), &["worktree", "add", "-q", "-b", "side", "../linked"]);
    let task = Task::on(&ground, "linked", |_| {});
    task.prepare().await;
    write(&task.tree, "a", "2\n");
    let commit = task.deliver().await;
    assert_eq!(git(&ground.seed(), &["rev-parse", BRANCH]), commit);
}

#[tokio::test]
async fn an_empty_repository_is_one_clear_line() {
    let ground = Ground::with(&[]);
    git(ground.path(), &["init", "-q", "--bare", "empty.git"]);
    git(ground.path(), &["init", "-q", "unborn"]);
    for name in ["empty.git", "unborn"] {
        let error = Task::on(&ground, name, |_| {}).fetch().await.expect_err("there is nothing");
        assert_eq!(error.code, ErrorCode::NotFound);
        assert!(error.message.contains("no commit on its HEAD") && !error.message.contains('\n'), "{error}");
    }
}

#[tokio::test]
async fn a_remote_that_is_not_there_is_one_clear_line() {
    let ground = Ground::with(&[]);
    for text in ["nope", "file:///nonexistent/a.git", ".", "outside/canary"] {
        let error = Source::parse(text, ground.path()).expect_err("there is none").to_string();
        assert!(error.starts_with("there is no git repository at `/") && !error.contains('\n'), "{error}");
    }
    // nothing listens on port 1, which stays reserved
    let task = Task::on(&ground, "https://me:token-5f2a@127.0.0.1:1/a.git", |_| {});
    let error = task.fetch().await.expect_err("nobody answers");
    assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
    assert!(!error.message.contains("token-5f2a") && !error.message.contains('\n'), "{error}");
}

/// Has `ssh` record its arguments and serve the origin.
fn fake_ssh(ground: &Ground) -> (Box<dyn Fn() -> String>, std::path::PathBuf) {
    let record = ground.path().join("argv");
    let text = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" >> {}\nfor last; do :; done\n\
         case \"$last\" in git-upload-pack*) exec git upload-pack {o};; git-receive-pack*) exec git receive-pack {o};; esac\n",
        record.display(),
        o = ground.origin().display()
    );
    let path = script(ground.path(), "ssh", text);
    (Box::new(move || fs::read_to_string(&record).expect("ssh ran")), path)
}

#[tokio::test]
async fn ssh_is_given_host_and_path_as_arguments() {
    for (url, user, path) in [
        ("git@host.example:team/a.git", "git@host.example", "'team/a.git'"),
        ("ssh://git@host.example:2222/team/a.git", "git@host.example", "'/team/a.git'"),
    ] {
        let ground = Ground::with(&[("a", "1\n")]);
        let (recorded, ssh) = fake_ssh(&ground);
        let task =
            Task::on(&ground, url, |config| config.environment.push(("GIT_SSH_COMMAND".into(), ssh.into())));
        task.prepare().await;
        write(&task.tree, "a", "2\n");
        let commit = task.deliver().await;
        assert_eq!(ground.in_origin(&["rev-parse", BRANCH]), commit);
        let recorded = recorded();
        assert!(recorded.lines().any(|line| line == user), "{recorded}");
        assert!(recorded.lines().any(|line| line == format!("git-upload-pack {path}")), "{recorded}");
        assert!(recorded.lines().any(|line| line == format!("git-receive-pack {path}")), "{recorded}");
    }
}

/// Has `ssh` be this script.
fn scripted_ssh(ground: &Ground, commands: &str) -> Task {
    let ssh = script(ground.path(), "ssh", format!("#!/bin/sh\n{commands}\n"));
    Task::on(ground, "git@host.example:a", |config| {
        config.environment.push(("GIT_SSH_COMMAND".into(), ssh.into()));
    })
}

#[tokio::test]
async fn git_has_a_session_of_its_own_and_cannot_fill_the_disk() {
    let ground = Ground::with(&[]);
    let said = ground.path().join("said");
    let script =
        format!("cut -d ' ' -f 6 /proc/self/stat > {s}; ulimit -f >> {s}; exit 255", s = said.display());
    scripted_ssh(&ground, &script).fetch().await.expect_err("ssh fails");
    let said = fs::read_to_string(said).expect("is written");
    let [session, limit] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
    // not by `getsid`, whose binding refuses the 0 of a leader outside of this namespace
    let own = fs::read_to_string("/proc/self/stat").expect("is read");
    let own = own.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(3)).expect("a session");
    assert_ne!(session, own);
    assert!(limit.parse::<u64>().is_ok(), "{limit}");
}

#[tokio::test]
async fn what_git_said_counts_though_something_in_the_background_holds_its_standard_error() {
    let ground = Ground::with(&[]);
    let pid = ground.path().join("pid");
    let commands = format!(
        "setsid sleep 1000 </dev/null >/dev/null & echo $! > {}; echo 'Permission denied (publickey).' >&2; exit 255",
        pid.display()
    );
    let error = scripted_ssh(&ground, &commands).fetch().await.expect_err("ssh fails");
    let left = fs::read_to_string(pid).expect("is written").trim().parse().expect("a number");
    let left = rustix::process::Pid::from_raw(left).expect("a process");
    rustix::process::kill_process(left, rustix::process::Signal::KILL).expect("it is ours");
    assert_eq!(error.code, ErrorCode::Denied, "{error}");
    assert!(error.message.contains("publickey"), "{error}");
}

#[tokio::test]
async fn cancelling_leaves_no_process_behind() {
    let ground = Ground::with(&[]);
    let pid = ground.path().join("pid");
    let task = scripted_ssh(
        &ground,
        &format!("echo $$ > {p}.new; mv {p}.new {p}; exec sleep 1000", p = pid.display()),
    );
    let cancel = task.config.cancel.clone();
    let cancelled = async {
        while !pid.exists() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (fetched, ()) = tokio::join!(task.fetch(), cancelled);
    assert_eq!(fetched.expect_err("is cancelled").code, ErrorCode::Cancelled);
    let process = format!("/proc/{}/stat", fs::read_to_string(pid).expect("is read").trim());
    // gone, or dead and not yet waited for by whoever took it over
    while fs::read_to_string(&process).is_ok_and(|stat| !stat.contains(") Z ")) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn ssh_has_no_terminal_to_ask_on() {
    let ground = Ground::with(&[]);
    let said = ground.path().join("said");
    let script = format!("(: </dev/tty) 2>{s} || echo none >{s}; exit 255", s = said.display());
    let task = scripted_ssh(&ground, &script);
    task.fetch().await.expect_err("ssh fails");
    assert_eq!(fs::read_to_string(said).expect("is written"), "none\n");
}
