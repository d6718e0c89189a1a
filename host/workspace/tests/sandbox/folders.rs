//! What is shown, hidden, protected, and refused before anything starts.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use sortie_policy::ports::Exit;
use sortie_workspace::sandbox::{Owner, Sandbox, SandboxError, Toolchains};

use crate::support::{Box, Folders, give_away, program};

#[tokio::test]
async fn what_commands_write_is_theirs_on_the_host() {
    use std::os::unix::fs::MetadataExt;
    let inside = Box::start().await;
    inside.sh("echo hello > file; mkdir folder; echo cache > ~/cache").await;
    let metadata = fs::metadata(inside.folders.work_tree.join("file")).expect("it was written");
    assert_eq!(metadata.uid(), Owner::current().uid);
    assert_eq!(fs::read_to_string(inside.folders.home.join("cache")).expect("it was written"), "cache\n");
}

#[tokio::test]
async fn folders_below_one_that_only_root_can_enter_work() {
    let folders = Folders::new();
    fs::set_permissions(folders.outside.path(), fs::Permissions::from_mode(0o700)).expect("it is ours");
    folders.file("file", "hello");
    let inside = Box::of(folders).await;
    assert_eq!(inside.sh("cat file; echo more >> file; cat file").await.stdout, "hellohellomore\n");
}

#[tokio::test]
async fn a_masked_file_or_folder_can_neither_be_read_nor_replaced() {
    let folders = Folders::new();
    folders.file(".env", "secret");
    folders.file("keys/one", "secret");
    folders.file("plain", "open");
    let mut config = folders.config();
    config.masks = [".env", "keys", "absent", "../outside"].map(PathBuf::from).into();
    let inside = Box::with(folders, config).await;
    for script in [
        "cat .env",
        "cat keys/one",
        "ls keys",
        "cp .env copy",
        "rm -f .env",
        "mv .env gone",
        "mv keys gone",
        "echo x > .env",
        "chmod 644 .env",
        "echo x > keys/two",
        "ln .env hard && cat hard",
        "cat /proc/self/root/workspace/.env",
        "tar c . | grep secret",
        "umount .env",
    ] {
        let outcome = inside.sh(script).await;
        assert!(outcome.exit != Exit::Code(0) && !outcome.stdout.contains("secret"), "{script}: {outcome:?}");
    }
    assert_eq!(inside.sh("cat plain").await.stdout, "open");
    assert_eq!(inside.sandbox.unprotected(), [PathBuf::from("absent")]);
    assert_eq!(fs::read_to_string(inside.folders.work_tree.join(".env")).expect("it is there"), "secret");
}

#[tokio::test]
async fn a_mask_through_a_link_hides_what_it_leads_to_and_none_leads_out() {
    let folders = Folders::new();
    folders.file("real", "secret");
    symlink("real", folders.work_tree.join("link")).expect("it is free");
    symlink("/etc/hostname", folders.work_tree.join("out")).expect("it is free");
    let mut config = folders.config();
    config.masks = ["link", "out"].map(PathBuf::from).into();
    let inside = Box::with(folders, config).await;
    assert_ne!(inside.sh("cat real").await.exit, Exit::Code(0));
    assert_eq!(inside.sh("cat out").await.stdout, "sortie\n");
    assert_eq!(inside.sandbox.unprotected(), [PathBuf::from("out")]);
}

#[tokio::test]
async fn a_read_only_path_can_be_read_and_not_changed() {
    let folders = Folders::new();
    folders.file("ci/build.yml", "steps");
    folders.file("ci/deep/file", "steps");
    folders.file("lock", "pinned");
    let mut config = folders.config();
    config.read_only = ["ci", "lock"].map(PathBuf::from).into();
    let inside = Box::with(folders, config).await;
    for script in [
        "echo x > ci/build.yml",
        "echo x > ci/new",
        "rm ci/build.yml",
        "rm -rf ci/deep",
        "mv ci gone",
        "echo x >> lock",
        "rm -f lock",
        "mv lock gone",
        "chmod 777 lock",
        "echo new > n; mv n lock",
    ] {
        let outcome = inside.sh(script).await;
        assert_ne!(outcome.exit, Exit::Code(0), "{script}: {outcome:?}");
    }
    assert_eq!(inside.sh("cat ci/build.yml lock").await.stdout, "stepspinned");
}

#[tokio::test]
async fn a_mask_within_a_read_only_folder_holds_as_well() {
    let folders = Folders::new();
    folders.file("ci/token", "secret");
    let mut config = folders.config();
    config.read_only = vec!["ci".into()];
    config.masks = vec!["ci/token".into()];
    let inside = Box::with(folders, config).await;
    assert_ne!(inside.sh("cat ci/token").await.exit, Exit::Code(0));
}

#[tokio::test]
async fn toolchains_in_the_home_work_and_their_credentials_stay_outside() {
    let folders = Folders::new();
    let home = folders.outside.path().join("user");
    for path in [
        ".cargo/bin/tool",
        ".cargo/credentials.toml",
        ".rustup/toolchains/t/lib",
        ".rustup/settings.toml",
        ".ssh/id",
        ".aws/credentials",
        ".azure/token",
        ".config/gcloud/credentials.db",
        ".config/gh/hosts.yml",
        ".docker/config.json",
        ".gem/credentials",
        ".git-credentials",
        ".gnupg/key",
        ".kube/config",
        ".m2/settings.xml",
        ".netrc",
        ".npmrc",
        ".pypirc",
        "work/notes",
    ] {
        let path = home.join(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
        fs::write(&path, "#!/bin/sh\necho works in $CARGO_HOME").expect("it can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("it is ours");
    let mut config = folders.config();
    config.toolchains = Toolchains::discover(&home, |_| None);
    let inside = Box::with(folders, config).await;
    assert_eq!(inside.run(&["tool"]).await.stdout, "works in /home/agent/.cargo\n");
    let user = home.display();
    assert_ne!(inside.sh(&format!("echo x > {user}/.cargo/bin/tool")).await.exit, Exit::Code(0));
    assert_eq!(
        inside.sh(&format!("cd {user}; find . | sort")).await.stdout,
        ".\n./.cargo\n./.cargo/bin\n./.cargo/bin/tool\n./.rustup\n./.rustup/toolchains\n./.rustup/toolchains/t\n./.rustup/toolchains/t/lib\n"
    );
}

#[tokio::test]
async fn rustup_gets_a_home_that_it_can_write_to() {
    let folders = Folders::new();
    let home = folders.outside.path().join("user");
    fs::create_dir_all(home.join(".rustup/toolchains/t/bin")).expect("it can be made");
    fs::write(home.join(".rustup/toolchains/t/bin/rustc"), "compiler").expect("it can be written");
    fs::write(home.join(".rustup/settings.toml"), "settings").expect("it can be written");
    let mut config = folders.config();
    config.toolchains = Toolchains::discover(&home, |_| None);
    let inside = Box::with(folders, config.clone()).await;
    let script = "cat $RUSTUP_HOME/toolchains/t/bin/rustc $RUSTUP_HOME/settings.toml && echo own >> $RUSTUP_HOME/settings.toml";
    assert_eq!(inside.sh(script).await.stdout, "compilersettings");
    assert_ne!(inside.sh("echo x > $RUSTUP_HOME/toolchains/t/bin/rustc").await.exit, Exit::Code(0));
    inside.sandbox.stop().await.expect("it ends");
    // What the commands have made of it stays, and another start does not mind.
    let again = Box::with(inside.folders, config).await;
    assert_eq!(again.sh("cat $RUSTUP_HOME/settings.toml").await.stdout, "settingsown\n");
}

#[tokio::test]
async fn what_the_home_is_given_is_put_there_without_privileges() {
    let folders = Folders::new();
    let user = folders.outside.path().join("user");
    fs::create_dir_all(user.join(".rustup/toolchains/t")).expect("it can be made");
    fs::write(user.join(".rustup/settings.toml"), "settings").expect("it can be written");
    // As earlier commands may have left it: only a privilege could write there.
    let closed = folders.home.join(".rustup");
    fs::create_dir(&closed).expect("it is new");
    give_away(&closed);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).expect("root may, and others own it");
    let mut config = folders.config();
    config.toolchains = Toolchains::discover(&user, |_| None);
    let inside = Box::with(folders, config).await;
    assert_eq!(fs::read_dir(&closed).expect("it is there").count(), 0);
    assert_eq!(inside.sh("echo alive").await.stdout, "alive\n");
}

/// As root, on a host whose mounts are shared, as systemd makes them.
#[test]
fn what_is_put_over_files_inside_does_not_cover_the_hosts() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // A thread of its own, whose mounts no other test sees.
    let tried = std::thread::spawn(|| {
        #[expect(unsafe_code, reason = "unshare can split descriptor tables between threads")]
        // SAFETY: the descriptor table is not among the flags.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.expect("root may");
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).expect("root may");
        let folders = Folders::new();
        let shared = folders.outside.path().to_owned();
        mount_bind(&shared, &shared).expect("root may");
        mount_change(&shared, MountPropagationFlags::SHARED).expect("root may");
        folders.file(".env", "secret");
        folders.file("ci/build.yml", "steps");
        let mut config = folders.config();
        config.masks = vec![".env".into()];
        config.read_only = vec!["ci".into()];
        let mounts = || fs::read_to_string("/proc/thread-self/mountinfo").expect("it is always there");
        let before = mounts();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("it starts");
        let seen = runtime.block_on(async {
            let inside = Box::with(folders, config).await;
            assert_ne!(inside.sh("cat .env").await.exit, Exit::Code(0));
            let seen = (fs::read_to_string(inside.folders.work_tree.join(".env")), mounts());
            inside.sandbox.stop().await.expect("it ends");
            unmount(&shared, UnmountFlags::DETACH).expect("it was mounted above");
            seen
        });
        assert_eq!(seen.0.expect("it can be read"), "secret");
        // Some may go meanwhile: a container of another test ends, and its mount with its folder.
        let new: Vec<_> = seen.1.lines().filter(|line| !before.contains(line)).collect();
        assert!(new.is_empty(), "{new:?}");
    });
    tried.join().expect("nothing of it shows outside");
}

#[tokio::test]
async fn certificates_of_the_host_are_trusted_inside() {
    let folders = Folders::new();
    let path = folders.outside.path().join("bundle.pem");
    fs::write(&path, "-----BEGIN CERTIFICATE-----").expect("it can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let mut config = folders.config();
    config.certificates = Some(path);
    let inside = Box::with(folders, config).await;
    assert_eq!(inside.sh("cat \"$SSL_CERT_FILE\" \"$CARGO_HTTP_CAINFO\"").await.stdout.len(), 2 * 27);
}

#[tokio::test]
async fn a_hidden_folder_of_the_system_is_empty() {
    let folders = Folders::new();
    let mut config = folders.config();
    config.hidden = vec!["/usr/share".into()];
    let inside = Box::with(folders, config).await;
    let outcome = inside.sh("ls -A /usr/share; echo x > /usr/share/x").await;
    assert!(outcome.stdout.is_empty() && outcome.exit != Exit::Code(0), "{outcome:?}");
}

#[tokio::test]
async fn a_hidden_folder_of_a_toolchain_is_empty_by_whatever_name_it_is_shown() {
    let folders = Folders::new();
    let user = folders.outside.path().join("user");
    fs::create_dir_all(folders.outside.path().join("deno/bin/state")).expect("it can be made");
    fs::create_dir(&user).expect("it can be made");
    symlink("../deno", user.join(".deno")).expect("it is free");
    for name in ["state/journal", "tool"] {
        fs::write(user.join(".deno/bin").join(name), "theirs").expect("it can be written");
    }
    let mut config = folders.config();
    config.toolchains = Toolchains::discover(&user, |_| None);
    config.hidden = vec![folders.outside.path().join("deno/bin/state")];
    let inside = Box::with(folders, config).await;
    let outcome = inside.sh(&format!("cd {}/.deno/bin; ls; cat tool; ls -A state", user.display())).await;
    assert_eq!(outcome.stdout, "state\ntool\ntheirs", "{outcome:?}");
}

#[tokio::test]
async fn two_sandboxes_do_not_see_each_other() {
    let (one, two) = (Box::start().await, Box::start().await);
    one.sh("echo one > file; echo one > /tmp/file; echo one > ~/file").await;
    let outcome = two.sh("ls /workspace /tmp /home/agent").await;
    assert!(!outcome.stdout.contains("file"), "{outcome:?}");
}

#[tokio::test]
async fn a_folder_that_is_not_there_or_not_ours_is_refused() {
    let folders = Folders::new();
    let mut config = folders.config();
    config.work_tree = "/no/such/folder".into();
    let error = Sandbox::start(config).await.expect_err("there is none");
    assert!(matches!(error, SandboxError::Folder { .. }), "{error}");
    let mut config = folders.config();
    config.work_tree = "/usr".into();
    let error = Sandbox::start(config).await.expect_err("it is root's");
    assert!(matches!(error, SandboxError::Owner { found: 0, .. }), "{error}");
    let mut config = folders.config();
    let link = folders.outside.path().join("link");
    symlink(&folders.work_tree, &link).expect("it is free");
    config.work_tree = link;
    let error = Sandbox::start(config).await.expect_err("it is a link");
    assert!(matches!(error, SandboxError::Folder { .. }), "{error}");
}

#[tokio::test]
async fn a_helper_or_an_init_that_does_not_work_is_an_error() {
    let folders = Folders::new();
    let mut config = folders.config();
    config.helper = "/bin/false".into();
    let error = Sandbox::start(config).await.expect_err("it ends at once");
    assert!(matches!(error, SandboxError::Helper(_) | SandboxError::Io(_)), "{error}");
    let mut config = folders.config();
    config.init = b"#!/no/such/interpreter"[..].into();
    let error = Sandbox::start(config).await.expect_err("it cannot run");
    assert!(error.to_string().starts_with("the sandbox cannot become init: No such file"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_helper_that_hangs_is_ended() {
    let folders = Folders::new();
    let (helper, outlived) = (folders.outside.path().join("helper"), folders.outside.path().join("outlived"));
    // Its child holds on to its standard error.
    program(&helper, format!("#!/bin/sh\nsleep 30\n: > {}\n", outlived.display()).as_bytes());
    let mut config = folders.config();
    config.helper = helper;
    let error = Sandbox::start(config).await.expect_err("it says nothing");
    assert!(
        matches!(&error, SandboxError::Io(error) if error.kind() == std::io::ErrorKind::TimedOut),
        "{error}"
    );
    assert!(!outlived.exists(), "it was waited for");
}

#[tokio::test]
async fn a_probe_says_what_this_machine_enforces() {
    let folders = Folders::new();
    let probe = sortie_workspace::probe::probe(folders.config()).await.expect("it has a sandbox");
    assert_eq!(probe.owner, Owner::current());
    assert!(!probe.kernel.is_empty());
    give_away(Path::new(&folders.home));
}
