//! Paths, links and names: to files of the host, and to the kernel's own.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use sortie_policy::ports::Exit;

use super::{Checks, number, outside};
use crate::containers;
use crate::support::Box;

#[tokio::test]
async fn credentials_and_sockets_of_the_host_are_not_there() {
    let inside = Box::start().await;
    let home = std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned());
    let below = |name: &str| format!("{home}/{name}");
    let mut paths: Vec<String> = [
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/sudoers",
        "/etc/ssh",
        "/etc/ssl/private",
        "/etc/gitconfig",
        "/home",
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/run/user",
        "/run/dbus",
        "/var/lib",
        "/var/log",
        "/srv",
        "/mnt",
        "/media",
        "/boot",
        "/sys",
        "/dev/mem",
        "/dev/kmsg",
        "/dev/fuse",
        "/dev/kvm",
        "/dev/vda",
        "/dev/sda",
    ]
    .map(str::to_owned)
    .into();
    paths.extend(
        [".ssh", ".aws", ".config", ".docker", ".gnupg", ".netrc", ".npmrc", ".pypirc", ".gitconfig"]
            .map(below),
    );
    paths.extend(
        [".cargo/credentials.toml", ".cargo/registry", ".kube", ".bash_history", ".bashrc"].map(below),
    );
    let mut checks = Checks::default();
    for path in &paths {
        // The one home that is there is the commands' own.
        let script = format!("[ -e '{path}' ] && ls -d '{path}'/* '{path}' | grep -vE '^/home(/agent)?$'");
        let outcome = inside.sh(&script).await;
        checks.expect(path, outcome.stdout.is_empty(), &outcome.stdout);
    }
    checks.expect(
        "control: /etc/passwd",
        inside.sh("cat /etc/passwd").await.stdout.contains("agent"),
        "unreadable",
    );
    let users = inside.sh("cut -d: -f1 /etc/passwd").await.stdout;
    checks.expect("the host's users", users == "agent\nroot\nnobody\n", &users);
    let shown = inside.sh("ls -A /; ls -A /home /var /run /.sortie").await.stdout;
    let known = [
        ".sortie",
        "bin",
        "dev",
        "etc",
        "home",
        "lib",
        "lib32",
        "lib64",
        "libx32",
        "nix",
        "opt",
        "proc",
        "run",
        "sbin",
        "tmp",
        "usr",
        "var",
        "workspace",
        "agent",
        "init",
        "hidden",
        "hidden.d",
    ];
    let more = shown.split_whitespace().filter(|name| !name.starts_with('/') && !known.contains(name));
    let more: Vec<_> = more.collect();
    checks.expect("other folders", more.is_empty(), &more);
    checks.done();
}

/// A folder of the host that everybody may read and write, with a canary in it.
fn canary(inside: &Box) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let folder = inside.folders.outside.path().join("public");
    fs::create_dir(&folder).expect("the folder is new");
    for folder in [inside.folders.outside.path(), &folder] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("it is ours");
    }
    let canary = folder.join("canary");
    fs::write(&canary, "sings").expect("it is ours");
    fs::set_permissions(&canary, fs::Permissions::from_mode(0o666)).expect("it is ours");
    canary
}

#[tokio::test]
async fn no_path_leads_to_a_file_outside() {
    let inside = Box::start().await;
    let canary = canary(&inside);
    let path = canary.display().to_string();
    let name = path.trim_start_matches('/');
    fs::hard_link(&canary, inside.folders.work_tree.join("control")).expect("one file system");
    let mut checks = Checks::default();
    let control = inside.sh("cat control").await.stdout;
    checks.expect("control: the same file in the work tree", control == "sings", control);
    fs::remove_file(inside.folders.work_tree.join("control")).expect("it is there");
    for (what, script) in [
        ("its path", format!("cat {path}")),
        ("a link", format!("ln -s {path} link; cat link")),
        ("a link of the host's", "cat host-link".to_owned()),
        ("dots", format!("cat ../../../../../../{name}")),
        ("the root of process 1", format!("cat /proc/1/root/{name}")),
        ("its own root", format!("cat /proc/self/root/{name}")),
        ("the working directory of its keeper", format!("cat /proc/$PPID/cwd/../../{name}")),
        ("a link to write through", format!("ln -sf {path} w; echo x > w")),
        ("dots to write through", format!("echo x > ../../../../{name}")),
        ("a hard link", format!("ln {path} hard && cat hard")),
        ("a rename", format!("echo x > mine; mv mine {path}")),
    ] {
        if what == "a link of the host's" {
            std::os::unix::fs::symlink(&canary, inside.folders.work_tree.join("host-link"))
                .expect("it is free");
        }
        let outcome = inside.sh(&script).await;
        checks.expect(what, outcome.exit != Exit::Code(0) && !outcome.stdout.contains("sings"), &outcome);
        let text = fs::read_to_string(&canary).expect("it is ours");
        checks.expect(&format!("{what}: the canary afterwards"), text == "sings", text);
    }
    // What can be seen but not changed cannot be had under another name either.
    for path in ["/usr/bin/env", "/etc/passwd", "/.sortie/init", "/dev/null"] {
        let seen = number(&inside.probe(&["link", path, "/workspace/another"]).await);
        checks.expect(&format!("a hard link to {path}"), seen == libc::EXDEV, seen);
    }
    let socket = canary.with_file_name("socket").display().to_string();
    let _listener = UnixListener::bind(&socket).expect("the name is free");
    let seen = number(&inside.probe(&["connect-path", &socket]).await);
    checks.expect("a socket with a path", seen == libc::ENOENT, seen);
    let control = outside(&["connect-path", &socket]);
    checks.expect("control: a socket with a path, outside", control == 0, control);
    checks.done();
}

#[tokio::test]
async fn a_race_of_renames_writes_nothing_outside() {
    let inside = Box::start().await;
    let canary = canary(&inside);
    let folder = canary.parent().expect("it has one").display();
    let script = format!(
        "mkdir a; ln -s {folder} b; ln -s /etc c
         (i=0; while [ $i -lt 400 ]; do mv a t; mv b a; mv a b; mv t a; mv a t; mv c a; mv a c; mv t a; i=$((i+1)); done) 2>/dev/null &
         i=0; while [ $i -lt 4000 ]; do echo x > a/canary; echo x > a/hostname; i=$((i+1)); done 2>/dev/null
         cat /etc/hostname"
    );
    let outcome = inside.sh(&script).await;
    assert_eq!(outcome.stdout.trim(), "sortie");
    assert_eq!(fs::read_to_string(&canary).expect("it is ours"), "sings");
}

#[tokio::test]
async fn system_directories_cannot_be_written() {
    let inside = Box::start().await;
    let mut checks = Checks::default();
    for script in [
        "echo x > /usr/escaped",
        "echo x > /etc/escaped",
        "echo x >> /etc/passwd",
        "rm /etc/hosts",
        "echo x > /bin/escaped",
        "echo x > /escaped",
        "mkdir /escaped",
        "echo x > /.sortie/init",
        "rm /.sortie/init",
        "mv /.sortie/init /.sortie/gone",
        "ln -s x /.sortie/socket",
        "chmod 777 /.sortie/init",
        "rm /dev/null",
        "mv /dev/null /dev/gone",
        "chmod 700 /dev/null",
        "touch /proc/sys/escaped",
        "chmod 700 /.sortie/hidden",
        "echo x > /lib/escaped",
        "echo x > /opt/escaped",
    ] {
        let outcome = inside.sh(script).await;
        checks.expect(script, outcome.exit != Exit::Code(0), &outcome);
    }
    for script in [
        "echo x > /workspace/f",
        "echo x > /home/agent/f",
        "echo x > /tmp/f",
        "echo x > /dev/shm/f",
        "echo x > /dev/null",
        "echo x > /var/tmp/f",
    ] {
        let outcome = inside.sh(script).await;
        checks.expect(&format!("control: {script}"), outcome.exit == Exit::Code(0), &outcome);
    }
    // The image's own mode of this folder counts where Podman uses runc.
    if !containers::of_podman().await {
        let outcome = inside.sh("echo x > /run/f").await;
        checks.expect("control: /run", outcome.exit == Exit::Code(0), &outcome);
    }
    for path in ["/usr/escaped", "/etc/escaped", "/escaped"] {
        checks.expect(path, !Path::new(path).exists(), "on the host");
    }
    checks.done();
}

#[tokio::test]
async fn the_kernels_own_files_give_nothing_and_take_nothing() {
    let inside = Box::start().await;
    let mut checks = Checks::default();
    for script in [
        "echo escaped > /proc/sys/kernel/hostname",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
        "echo x > /proc/sys/kernel/core_pattern",
        "echo b > /proc/sysrq-trigger",
        "head -c 1 /proc/kcore",
        "head -c 1 /proc/kmsg",
        "cat /proc/keys",
        "cat /proc/timer_list",
        "head -c 1 /proc/kallsyms",
        "echo 1 > /proc/sys/vm/drop_caches",
        "ls /sys/kernel",
        "cat /proc/1/attr/current > /proc/self/attr/exec",
    ] {
        let outcome = inside.sh(script).await;
        checks.expect(script, outcome.exit != Exit::Code(0) && outcome.stdout.is_empty(), &outcome);
    }
    let control = inside.sh("cat /proc/sys/kernel/ostype /proc/meminfo /proc/cpuinfo").await;
    checks.expect("control: reading", control.stdout.starts_with("Linux"), &control);
    checks.done();
}
