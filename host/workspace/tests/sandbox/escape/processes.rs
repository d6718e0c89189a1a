//! Other processes: init, keepers, the host's, and what they hold open.

use std::fs;

use sortie_policy::ports::Exit;
use sortie_workspace::client::Stdin;

use super::{Checks, number, outside};
use crate::containers;
use crate::support::{Box, outcome};

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
    checks.done();
}

#[tokio::test]
async fn the_hosts_terminal_is_out_of_reach() {
    // or there would be none to reach
    let terminal = fs::File::options().read(true).write(true).open("/dev/ptmx");
    let is_terminal = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().parse::<u32>().is_ok();
    match &terminal {
        Ok(_) => {
            let mut entries = fs::read_dir("/dev/pts").expect("it is there").flatten();
            assert!(entries.any(|entry| is_terminal(&entry)), "control");
        }
        Err(error) => eprintln!("the host has no terminal: {error}"),
    }
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

#[tokio::test]
async fn how_process_1_and_keepers_are_scheduled_is_nobodys_to_change() {
    let inside = Box::start().await;
    let mut checks = Checks::default();
    let other = inside.spawn(&inside.spec(&["sleep", "77777"]), Stdin::Null).await;
    let keeper_of_other =
        "$(for d in /proc/[0-9]*; do tr '\\0' ' ' 2>/dev/null <$d/cmdline | grep -q '^sleep 77777 '
         test $? = 0 && cut -d' ' -f4 $d/stat; done)";
    for process in ["1", "$PPID", keeper_of_other] {
        for attempt in ["renice -n 19 -p", "chrt --idle -p 0", "ionice -c 3 -p"] {
            let script = format!(
                "p={process}; seen() {{ cut -d' ' -f19,40,41 /proc/$p/stat; }}
                 before=$(seen); test -n \"$before\" || echo nobody is there
                 {attempt} $p >/dev/null 2>&1 || test \"$before\" != \"$(seen)\" || echo kept"
            );
            let outcome = inside.sh(&script).await;
            checks.expect(&format!("{attempt} {process}"), outcome.stdout == "kept\n", &outcome);
        }
    }
    // the kernel may share processors out by session; it lets nobody say so more often than ten times a second
    for process in ["1", "$PPID", keeper_of_other] {
        for written in ["self", "$$", "$p"] {
            let script = format!(
                "p={process}; seen() {{ cat /proc/$p/autogroup; }}; before=$(seen)
                 for try in 1 2 3 4 5 6 7 8 9 10; do
                     echo 7 >/proc/{written}/autogroup && break; sleep 0.2
                 done 2>/dev/null
                 test \"$before\" != \"$(seen)\" || echo kept"
            );
            let outcome = inside.sh(&script).await;
            checks.expect(
                &format!("autogroup of {written}, {process}"),
                outcome.stdout == "kept\n",
                &outcome,
            );
        }
    }
    let session = inside.sh("test $(cut -d' ' -f6 /proc/$$/stat) = $$ && echo its own").await;
    checks.expect("a session", session.stdout == "its own\n", &session);
    for own in [
        "nice -n 5 true",
        // itself
        "renice -n 5 -p 0",
        "chrt --idle 0 true",
        "taskset $(taskset -p $$ | sed s/.*:.//) true",
        "ionice -c 3 true",
    ] {
        let outcome = inside.sh(own).await;
        checks.expect(&format!("control: {own}"), outcome.exit == Exit::Code(0), &outcome);
    }
    drop(other);
    checks.done();
}
