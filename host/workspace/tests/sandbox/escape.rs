//! The ways out that are closed. Each check is named; where it can be, the same attempt is made outside, where it
//! must not fail the same way, so that a check that can not fail would be noticed.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Command;

use sortie_policy::ports::Exit;
use sortie_workspace::client::Stdin;

use crate::containers;
use crate::probes::REFUSED;
use crate::support::{Box, Outcome, outcome};

/// Collects what went wrong, by the name of the check.
#[derive(Default)]
pub(crate) struct Checks(Vec<String>);

impl Checks {
    pub(crate) fn expect(&mut self, name: &str, holds: bool, seen: impl std::fmt::Debug) {
        if !holds {
            self.0.push(format!("{name}: {seen:?}"));
        }
    }

    pub(crate) fn done(self) {
        assert!(self.0.is_empty(), "open ways:\n{}", self.0.join("\n"));
    }
}

pub(crate) fn number(outcome: &Outcome) -> i32 {
    outcome.stdout.trim().parse().unwrap_or_else(|_| panic!("no number: {outcome:?}"))
}

pub(crate) fn outside(arguments: &[&str]) -> i32 {
    let output =
        Command::new("/proc/self/exe").arg("--probe").args(arguments).output().expect("the prober runs");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test]
async fn system_calls_that_lead_out_are_refused() {
    let inside = Box::start().await;
    let mut checks = Checks::default();
    for name in REFUSED {
        let seen = number(&inside.probe(&["syscall", name]).await);
        checks.expect(name, seen == libc::EPERM, seen);
        // A plain user is refused some of them outside as well.
        if is_root() {
            let control = outside(&["syscall", name]);
            checks.expect(&format!("{name}, outside as root"), control != libc::EPERM, control);
        }
    }
    let clone3 = number(&inside.probe(&["syscall", "clone3"]).await);
    checks.expect("clone3", clone3 == libc::ENOSYS, clone3);
    let control = outside(&["syscall", "clone3"]);
    checks.expect("clone3, outside", control == libc::EINVAL, control);
    checks.done();
}

#[tokio::test]
async fn system_calls_that_builds_need_are_not_refused() {
    let inside = Box::start().await;
    let mut checks = Checks::default();
    for name in ["socket-inet", "socket-route", "mknod-fifo", "ptrace-own"] {
        let seen = number(&inside.probe(&["syscall", name]).await);
        checks.expect(name, seen == 0, seen);
    }
    checks.done();
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn the_other_numberings_of_system_calls_are_closed() {
    let inside = Box::start().await;
    assert_eq!(number(&inside.probe(&["syscall", "x32"]).await), libc::ENOSYS);
    let outcome = inside.probe(&["syscall", "int80"]).await;
    assert_eq!(outcome.exit, Exit::Signal(31), "{outcome:?}");
}

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
async fn process_1_and_keepers_cannot_be_looked_into() {
    let inside = Box::start().await;
    let mut checks = Checks::default();
    for process in ["1", "$PPID"] {
        for script in [
            "readlink /proc/P/exe",
            "cat /proc/P/environ",
            "ls /proc/P/root/",
            "ls /proc/P/fd",
            "readlink /proc/P/ns/mnt",
            "head -c 1 /proc/P/mem",
            "cat /proc/P/maps",
            "readlink /proc/P/cwd",
            "cat /proc/P/auxv",
            "ls /proc/P/map_files",
            "cat /proc/P/stack",
            "cat /proc/P/syscall",
            "echo 0 > /proc/P/oom_score_adj",
        ] {
            let outcome =
                inside.sh(&format!("( {} )", script.replace('P', process).replace("$$", "$"))).await;
            let refused = outcome.exit != Exit::Code(0) && outcome.stdout.is_empty();
            checks.expect(&format!("{script} of {process}"), refused, &outcome);
        }
    }
    let control = inside.sh("readlink /proc/self/exe && ls /proc/self/fd").await;
    checks.expect("control: one's own", control.exit == Exit::Code(0), &control);
    for process in ["1", "parent"] {
        let seen = number(&inside.probe(&["trace", process]).await);
        checks.expect(&format!("tracing {process}"), seen == libc::EPERM, seen);
    }
    checks.done();
}

#[tokio::test]
async fn there_is_no_socket_of_inits_to_drive() {
    let inside = Box::start().await;
    let mut checks = Checks::default();
    let sockets = inside.sh("find / -xdev -type s 2>/dev/null; find /run /tmp /.sortie -type s").await.stdout;
    checks.expect("sockets with a path", sockets.is_empty(), sockets);
    // A container's init has called one, which nobody answers any more.
    let called = if containers::image().is_some() { "/control$" } else { "^$" };
    let named = inside.sh(&format!("sed 1d /proc/net/unix | awk 'NF > 7' | grep -v '{called}'")).await.stdout;
    checks.expect("sockets with a name", named.is_empty(), named);
    // A command holds its streams and nothing else: not its channel, not the control socket.
    // The fourth is the folder that is being listed.
    let open = inside.run(&["ls", "/proc/self/fd"]).await.stdout;
    checks.expect("open descriptors", open == "0\n1\n2\n3\n", open);
    checks.done();
}

#[tokio::test]
async fn what_the_host_left_open_by_mistake_does_not_come_along() {
    // Not closed on exec, as a careless library might leave it.
    let left_open = rustix::io::dup(std::io::stdin()).expect("it is open");
    let inside = Box::start().await;
    assert_eq!(inside.run(&["ls", "/proc/self/fd"]).await.stdout, "0\n1\n2\n3\n");
    drop(left_open);
}

#[tokio::test]
async fn the_helper_has_nothing_of_the_hosts_environment() {
    let inside = Box::start().await;
    let own = std::process::id();
    let children = fs::read_dir("/proc").expect("it is always there").flatten().filter(|entry| {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        read("status").contains(&format!("PPid:\t{own}\n"))
            && read("cmdline").contains("--sortie-sandbox-helper")
    });
    let environments: Vec<_> =
        children.map(|entry| fs::read(entry.path().join("environ")).unwrap_or_default()).collect();
    assert!(!environments.is_empty() && environments.iter().all(Vec::is_empty), "{environments:?}");
    drop(inside);
}

#[tokio::test]
async fn processes_of_the_host_are_neither_seen_nor_signalled() {
    let inside = Box::start().await;
    let mut checks = Checks::default();
    let seen = inside.sh("ls /proc | grep -c '^[0-9]'").await.stdout.trim().parse::<u32>().expect("a count");
    checks.expect("processes", seen < 10, seen);
    let own = std::process::id().to_string();
    let signalled = number(&inside.probe(&["kill", &own]).await);
    checks.expect("a signal to the tests", signalled == libc::ESRCH, signalled);
    checks.expect("control: a signal outside", outside(&["kill", &own]) == 0, "refused");
    let traced = number(&inside.probe(&["trace", &own]).await);
    checks.expect("tracing the tests", traced == libc::ESRCH, traced);
    let everybody = inside.sh("kill -CONT -1; echo alive").await.stdout;
    checks.expect("a signal to everybody", everybody == "alive\n", everybody);
    checks.done();
}

#[tokio::test]
async fn no_network_is_reached_but_the_loopback_inside() {
    let inside = Box::start().await;
    let mut checks = Checks::default();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it listens").to_string();
    let seen = number(&inside.probe(&["connect", &address]).await);
    checks.expect("the host's loopback", seen == libc::ECONNREFUSED, seen);
    checks.expect("control: loopback outside", outside(&["connect", &address]) == 0, "refused");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let address = socket.local_addr().expect("it listens").to_string();
    let seen = number(&inside.probe(&["datagram", &address]).await);
    checks.expect("a datagram to the host", seen == libc::ECONNREFUSED, seen);
    checks.expect("control: a datagram outside", outside(&["datagram", &address]) == 0, "refused");
    for address in ["192.0.2.1:80", "8.8.8.8:53", "169.254.169.254:80", "10.0.0.1:22", "[2001:db8::1]:80"] {
        let seen = number(&inside.probe(&["connect", address]).await);
        checks.expect(
            address,
            [libc::ENETUNREACH, libc::EADDRNOTAVAIL, libc::EHOSTUNREACH].contains(&seen),
            seen,
        );
    }
    let seen = number(&inside.probe(&["datagram", "8.8.8.8:53"]).await);
    checks.expect("DNS by datagram", seen == libc::ENETUNREACH, seen);
    let names = inside.sh("getent hosts example.com").await;
    checks.expect("names", names.exit != Exit::Code(0), &names);
    let interfaces = inside.sh("sed 1,2d /proc/net/dev | cut -d: -f1 | tr -d ' '").await.stdout;
    checks.expect("interfaces", interfaces == "lo\n", interfaces);
    checks.done();
}

#[tokio::test]
async fn abstract_sockets_of_the_host_are_not_reached() {
    let inside = Box::start().await;
    let name = format!("sortie-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a plain name");
    let _listener = UnixListener::bind_addr(&address).expect("the name is free");
    assert_eq!(number(&inside.probe(&["abstract", &name]).await), libc::ECONNREFUSED);
    assert_eq!(outside(&["abstract", &name]), 0);
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

#[tokio::test]
async fn no_privilege_is_left_and_none_is_gained() {
    let inside = Box::start().await;
    let mut checks = Checks::default();
    let status = inside.sh("cat /proc/self/status").await.stdout;
    for (field, value) in [
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
        checks.expect(field, line.ends_with(value), line);
    }
    let root = number(&inside.probe(&["syscall", "setuid-root"]).await);
    checks.expect("becoming root", [libc::EPERM, libc::EINVAL].contains(&root), root);
    // No root by name, none by a change of user, no ambient capabilities, and all of it locked.
    let bits = inside.probe(&["secure-bits"]).await.stdout;
    checks.expect("secure bits", bits == 0b1110_1111.to_string(), bits);
    let filters = |status: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:"));
        line.and_then(|count| count.trim().parse::<u32>().ok())
    };
    let outside = filters(&fs::read_to_string("/proc/self/status").expect("it is always there"));
    checks.expect("filters", filters(&status) == outside.map(|count| count + 4), filters(&status));
    let maps = inside.sh("echo '0 0 1' > /proc/self/uid_map").await;
    checks.expect("mapping root", maps.exit != Exit::Code(0), &maps);
    let programs = "find /usr/bin /bin /usr/sbin -perm -4000 2>/dev/null";
    for program in inside.sh(programs).await.stdout.lines().take(5) {
        let before = inside.sh("id -u").await.stdout;
        let after = inside.sh(&format!("{program} --version >/dev/null 2>&1 </dev/null; id -u")).await.stdout;
        checks.expect(program, before == after, after);
    }
    checks.done();
}

#[test]
fn the_groups_of_root_are_not_the_boxs() {
    if !is_root() {
        return;
    }
    // To the kernel, groups are a thread's own. The helper has those of the thread that starts it.
    let tried = std::thread::spawn(|| {
        rustix::thread::set_thread_groups(&[rustix::process::Gid::from_raw(4)]).expect("root may");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("it starts");
        runtime.block_on(async {
            let status = Box::start().await.sh("grep ^Groups: /proc/self/status").await.stdout;
            assert_eq!(status.trim(), "Groups:");
        });
    });
    tried.join().expect("it has none of them");
}

#[tokio::test]
async fn a_setuid_program_of_roots_in_the_work_tree_gains_nothing() {
    if !is_root() {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let inside = Box::start().await;
    let program = inside.folders.work_tree.join("id");
    fs::copy("/usr/bin/id", &program).expect("it is there");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("root may");
    let outcome = inside.sh("./id -u").await;
    assert_eq!((outcome.exit, outcome.stdout.trim() == "0"), (Exit::Code(0), false), "{}", outcome.stdout);
}

#[tokio::test]
async fn a_device_node_in_the_work_tree_is_no_device() {
    if !is_root() {
        return;
    }
    let inside = Box::start().await;
    let node = inside.folders.work_tree.join("zero");
    let made =
        Command::new("mknod").arg(&node).args(["-m", "666", "c", "1", "5"]).status().expect("mknod runs");
    assert!(made.success());
    let outcome = inside.sh("head -c 1 zero").await;
    assert_eq!(outcome.exit, Exit::Code(1), "{outcome:?}");
    fs::remove_file(node).expect("it is there");
}

#[tokio::test]
async fn the_hosts_terminal_is_out_of_reach() {
    let inside = Box::start().await;
    let outcome = inside.sh("echo x > /dev/tty; ls /dev/pts; ls /dev").await;
    assert!(outcome.stderr.contains("/dev/tty"), "{outcome:?}");
    assert!(outcome.stdout.starts_with("ptmx\n"), "{outcome:?}");
}

#[tokio::test]
async fn a_command_cannot_forge_the_word_of_its_keeper() {
    let inside = Box::start().await;
    // Whatever a command writes to any descriptor that it has, its end is its own.
    let script = "for fd in 0 1 2 3 4 5 6 7 8 9; do printf '\\003\\000\\000\\000\\000\\000\\000\\000' >&$fd; done 2>/dev/null; exit 3";
    let mut running = inside.spawn(&inside.spec(&["/bin/bash", "-c", script]), Stdin::Null).await;
    assert_eq!(outcome(&mut running).await.exit, Exit::Code(3));
}
