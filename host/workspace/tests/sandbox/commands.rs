//! Streams, exits, terminals, listening.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::time::Duration;

use sortie_policy::ports::{Chunk, Exit};
use sortie_workspace::client::{ClientError, InputError, Stdin, Step, Window};
use sortie_workspace::sandbox::Owner;

use crate::support::{Box, LONG, Outcome, eventually, outcome, prober};

fn clean(stdout: &str) -> Outcome {
    Outcome { exit: Exit::Code(0), stdout: stdout.to_owned(), stderr: String::new(), dropped: 0 }
}

#[tokio::test]
async fn a_command_gives_its_output_and_its_code() {
    let inside = Box::start().await;
    let outcome = inside.sh("echo out; echo err >&2; exit 7").await;
    let expected =
        Outcome { exit: Exit::Code(7), stdout: "out\n".into(), stderr: "err\n".into(), dropped: 0 };
    assert_eq!(outcome, expected);
    inside.sandbox.stop().await.expect("it ends");
}

#[tokio::test]
async fn a_command_that_dies_by_a_signal_says_which() {
    let inside = Box::start().await;
    assert_eq!(inside.sh("kill -TERM $$").await.exit, Exit::Signal(15));
}

#[tokio::test]
async fn the_environment_is_the_sandboxs_own() {
    let inside = Box::start().await;
    let names: BTreeSet<String> = inside
        .run(&["env"])
        .await
        .stdout
        .lines()
        .map(|line| line.split('=').next().unwrap_or_default().to_owned())
        .collect();
    let given: BTreeSet<String> = inside.sandbox.environment().iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, given);
    assert!(names.contains("PATH") && names.contains("HOME"));
}

#[tokio::test]
async fn no_signal_that_the_host_ignores_is_ignored_inside() {
    for signal in [libc::SIGUSR1, libc::SIGRTMIN(), libc::SIGRTMAX()] {
        #[expect(unsafe_code, reason = "rustix has no signal actions")]
        // SAFETY: nobody in this process waits for these.
        unsafe {
            libc::signal(signal, libc::SIG_IGN)
        };
    }
    let script = "sed -n 's/^SigIgn:[[:space:]]*//p' /proc/self/status";
    let ignored = |said: &str| {
        let set = u64::from_str_radix(said.trim(), 16).expect("a set of signals");
        // glibc has two of its own ignored in what it starts, and these tests' init is linked with it
        (1..=64)
            .filter(|signal| set >> (signal - 1) & 1 == 1 && ![32, 33].contains(signal))
            .collect::<Vec<_>>()
    };
    let own = std::process::Command::new("sh").args(["-c", script]).output().expect("it runs").stdout;
    let own = ignored(&String::from_utf8_lossy(&own));
    assert!([10, libc::SIGRTMIN(), 64].iter().all(|signal| own.contains(signal)), "control: {own:?}");
    assert_eq!(ignored(&Box::start().await.sh(script).await.stdout), [0; 0]);
}

#[tokio::test]
async fn commands_run_as_an_unprivileged_user_with_a_name() {
    let inside = Box::start().await;
    assert_eq!(
        inside.sh("id -un; pwd; cd; pwd; hostname").await,
        clean("agent\n/workspace\n/home/agent\nsortie\n")
    );
    // by the host's numbers: a rootless Docker's user is root by its own
    inside.sh("touch own").await;
    let own = std::fs::metadata(inside.folders.work_tree.join("own")).expect("it is made");
    let uid = std::os::unix::fs::MetadataExt::uid(&own);
    assert!(uid == Owner::current().uid && uid != 0, "{uid}");
}

#[tokio::test]
async fn standard_input_reaches_the_command() {
    let inside = Box::start().await;
    let mut running = inside.spawn(&inside.spec(&["cat"]), Stdin::Pipe).await;
    running.write(b"hello ").await.expect("it reads");
    running.write(b"there").await.expect("it reads");
    running.close_stdin().await.expect("it is open");
    assert_eq!(outcome(&mut running).await, clean("hello there"));
    assert!(matches!(running.write(b"more").await, Err(InputError::Closed)));
}

#[tokio::test]
async fn without_standard_input_there_is_its_end() {
    let inside = Box::start().await;
    assert_eq!(inside.run(&["cat"]).await, clean(""));
}

#[tokio::test]
async fn no_file_that_a_command_is_given_is_the_hosts() {
    let inside = Box::start().await;
    // what was opened outside is on no mount of the workspace's
    let script = "for stream in 0 1 2; do
            case $(readlink /proc/$$/fd/$stream) in
                pipe:*) echo pipe; continue ;;
            esac
            mount=$(sed -n 's/^mnt_id:[[:space:]]*//p' /proc/$$/fdinfo/$stream)
            cut -d' ' -f1,5 /proc/self/mountinfo | sed -n \"s/^$mount //p\"
        done";
    for (stdin, kinds) in [(Stdin::Null, ["/dev/null", "/dev"]), (Stdin::Pipe, ["pipe"; 2])] {
        let mut running = inside.spawn(&inside.spec(&["/bin/sh", "-c", script]), stdin).await;
        let seen = outcome(&mut running).await.stdout;
        // a container's devices are in a folder of its own
        assert!(kinds.iter().any(|kind| seen == format!("{kind}\npipe\npipe\n")), "{stdin:?}: {seen}");
    }
}

#[tokio::test]
async fn a_command_that_echoes_does_not_block_the_one_that_writes() {
    let inside = Box::start().await;
    let mut running = inside.spawn(&inside.spec(&["cat"]), Stdin::Pipe).await;
    let data = vec![b'x'; 900 << 10];
    running.write(&data).await.expect("the echo is taken up meanwhile");
    running.close_stdin().await.expect("it is open");
    assert_eq!(outcome(&mut running).await.stdout.len(), data.len());
}

#[tokio::test]
async fn more_echo_than_is_held_back_is_an_error_and_not_a_wait_for_ever() {
    let inside = Box::start().await;
    let mut running = inside.spawn(&inside.spec(&["cat"]), Stdin::Pipe).await;
    let result = running.write(&vec![b'x'; 8 << 20]).await;
    assert!(matches!(result, Err(InputError::Blocked)), "{result:?}");
}

#[tokio::test]
async fn a_gigabyte_of_output_costs_the_host_what_was_asked_for() {
    const KEPT: u64 = 1 << 20;
    let inside = Box::start().await;
    let spec = inside.spec(&["head", "-c", "1G", "/dev/zero"]);
    let mut running = inside.sandbox.client().spawn(&spec, Stdin::Null, KEPT).await.expect("it starts");
    let before = peak_memory();
    let mut kept = 0;
    loop {
        match running.next(LONG).await.expect("the workspace is there").expect("it goes on") {
            Chunk::Stdout(bytes) => {
                assert!(bytes.len() <= 64 << 10);
                kept += bytes.len() as u64;
            }
            Chunk::Stderr(bytes) => panic!("{}", String::from_utf8_lossy(&bytes)),
            Chunk::Skipped(bytes) => panic!("somebody reads, and {bytes} bytes are missing"),
            Chunk::Exit(ended) => {
                assert_eq!((ended.exit, ended.dropped), (Exit::Code(0), (1 << 30) - KEPT));
                break;
            }
        }
    }
    assert_eq!(kept, KEPT);
    // Other tests run beside this one; a gigabyte would show all the same.
    assert!(peak_memory() - before < 512 << 20);
}

fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is always there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a process has memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

#[tokio::test]
async fn what_is_in_the_pipe_at_the_end_is_not_lost() {
    let inside = Box::start().await;
    let mut running = inside.spawn(&inside.spec(&["head", "-c", "60000", "/dev/zero"]), Stdin::Null).await;
    // Nobody reads until the command is long gone.
    inside.sh("sleep 0.2").await;
    assert_eq!(outcome(&mut running).await.stdout.len(), 60000);
}

#[tokio::test]
async fn the_end_does_not_wait_for_what_holds_the_pipe_in_the_background() {
    let inside = Box::start().await;
    let mut running =
        inside.spawn(&inside.spec(&["/bin/sh", "-c", "sleep 1000 & echo done"]), Stdin::Null).await;
    assert_eq!(outcome(&mut running).await, clean("done\n"));
}

#[tokio::test]
async fn the_end_comes_although_something_in_the_background_writes_for_ever() {
    let inside = Box::start().await;
    let mut running = inside.spawn(&inside.spec(&["/bin/sh", "-c", "yes & sleep 0.1"]), Stdin::Null).await;
    assert_eq!(outcome(&mut running).await.exit, Exit::Code(0));
}

#[tokio::test]
async fn of_what_is_written_in_the_background_only_what_was_there_at_the_end_is_given_out() {
    let inside = Box::start().await;
    let mut running = inside.spawn(&inside.spec(&["/bin/sh", "-c", "yes & sleep 0.1"]), Stdin::Null).await;
    let mut given = 0;
    loop {
        // Slower than the one that writes: there is always more to read.
        tokio::time::sleep(Duration::from_millis(20)).await;
        match running.next(LONG).await.expect("the workspace is there").expect("it goes on") {
            Chunk::Exit(ended) => break assert_eq!(ended.exit, Exit::Code(0)),
            Chunk::Stdout(bytes) | Chunk::Stderr(bytes) => given += bytes.len(),
            Chunk::Skipped(bytes) => panic!("somebody reads, and {bytes} bytes are missing"),
        }
        assert!(given < 256 << 20, "the end is put off");
    }
}

#[tokio::test]
async fn what_is_written_while_the_rest_is_read_after_the_end_is_not_given_out() {
    let inside = Box::start().await;
    let script = "echo $$ > /tmp/pid; printf out; printf err >&2
        (until [ -e /tmp/go ]; do sleep 0.01; done; printf late >&2; touch /tmp/written) & exit 6";
    let mut running = inside.spawn(&inside.spec(&["/bin/sh", "-c", script]), Stdin::Null).await;
    let is_so = async |script: &str| inside.sh(script).await.exit == Exit::Code(0);
    eventually("it has ended", async || is_so("[ -s /tmp/pid ] && ! [ -e /proc/$(cat /tmp/pid) ]").await)
        .await;
    // its end is told a moment later
    tokio::time::sleep(Duration::from_secs(1)).await;
    let first = running.next(LONG).await.expect("the workspace is there");
    assert_eq!(first, Some(Chunk::Stdout(b"out".to_vec())));
    assert!(is_so("touch /tmp/go").await);
    eventually("more is there", async || is_so("[ -e /tmp/written ]").await).await;
    let rest = outcome(&mut running).await;
    assert_eq!((rest.exit, rest.stderr.as_str()), (Exit::Code(6), "err"));
}

#[tokio::test]
async fn asking_again_after_the_exit_gives_nothing() {
    let inside = Box::start().await;
    let mut running = inside.spawn(&inside.spec(&["true"]), Stdin::Null).await;
    outcome(&mut running).await;
    assert_eq!(running.next(LONG).await.expect("the workspace is there"), None);
}

#[tokio::test]
async fn waiting_ends_when_its_time_is_up_though_output_is_dropped_all_the_while() {
    let inside = Box::start().await;
    let running = inside.sandbox.client().spawn(&inside.spec(&["yes"]), Stdin::Null, 0).await;
    let next = running.expect("it starts").next(Duration::from_millis(20)).await;
    assert_eq!(next.expect("the workspace is there"), None);
}

#[tokio::test]
async fn a_program_or_a_directory_that_does_not_exist_is_named() {
    let inside = Box::start().await;
    let error =
        inside.sandbox.client().spawn(&inside.spec(&["no-such"]), Stdin::Null, 0).await.expect_err("none");
    assert!(matches!(error, ClientError::Refused { step: Step::Program, .. }));
    assert_eq!(error.to_string(), "cannot run `no-such`: No such file or directory (os error 2)");
    let mut spec = inside.spec(&["true"]);
    spec.cwd = "/no/such".into();
    let error = inside.sandbox.client().spawn(&spec, Stdin::Null, 0).await.expect_err("none");
    assert_eq!(
        error.to_string(),
        "cannot enter the directory `/no/such`: No such file or directory (os error 2)"
    );
}

#[tokio::test]
async fn a_storm_of_failing_commands_leaves_init_at_work() {
    let inside = Box::start().await;
    for _ in 0..20 {
        let client = inside.sandbox.client();
        let spec = inside.spec(&["/no/such/program"]);
        let spawns = (0..50).map(|_| client.spawn(&spec, Stdin::Null, 0));
        for result in futures_util::future::join_all(spawns).await {
            assert!(matches!(result, Err(ClientError::Refused { step: Step::Program, .. })));
        }
    }
    assert_eq!(inside.sh("echo alive").await, clean("alive\n"));
}

#[tokio::test]
async fn many_commands_run_side_by_side() {
    let inside = Box::start().await;
    let numbers: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let argv: Vec<[&str; 2]> = numbers.iter().map(|number| ["echo", number.as_str()]).collect();
    let outcomes = futures_util::future::join_all(argv.iter().map(|argv| inside.run(argv))).await;
    for (number, outcome) in numbers.iter().zip(outcomes) {
        assert_eq!(outcome, clean(&format!("{number}\n")));
    }
}

#[tokio::test]
async fn arguments_may_be_long_and_too_long_is_an_error() {
    let inside = Box::start().await;
    let piece = "x".repeat(100_000);
    let argv = [&["/bin/sh", "-c", "echo $# ${#1}", "sh"][..], &[piece.as_str(); 10][..]].concat();
    assert_eq!(inside.run(&argv).await, clean("10 100000\n"));
    let argv = [&["true"][..], &[piece.as_str(); 30][..]].concat();
    let result = inside.sandbox.client().spawn(&inside.spec(&argv), Stdin::Null, 0).await;
    assert!(matches!(result, Err(ClientError::TooLong)));
    let single = "x".repeat(1 << 20);
    let result = inside.sandbox.client().spawn(&inside.spec(&["true", &single]), Stdin::Null, 0).await;
    assert!(matches!(result, Err(ClientError::Refused { step: Step::Program, .. })));
}

#[tokio::test]
async fn a_nul_byte_in_an_argument_is_an_error() {
    let inside = Box::start().await;
    let result = inside.sandbox.client().spawn(&inside.spec(&["echo", "a\0b"]), Stdin::Null, 0).await;
    assert!(matches!(result, Err(ClientError::Refused { step: Step::Program, .. })));
}

#[tokio::test]
async fn a_terminal_is_one() {
    let inside = Box::start().await;
    let mut spec =
        inside.spec(&["/bin/sh", "-c", "tty; stty size; read line; echo got $line; cat >/dev/null"]);
    spec.terminal = Some(Window { rows: 33, columns: 99 });
    let mut running = inside.spawn(&spec, Stdin::Null).await;
    running.write(b"hello\n").await.expect("it is open");
    running.close_stdin().await.expect("it is open");
    let outcome = outcome(&mut running).await;
    assert_eq!(outcome.exit, Exit::Code(0));
    for expected in ["/dev/pts/0", "33 99", "got hello"] {
        assert!(outcome.stdout.contains(expected), "{expected} in {}", outcome.stdout);
    }
}

#[tokio::test]
async fn the_host_accepts_what_dials_a_port_inside() {
    let inside = Box::start().await;
    let listener = inside.sandbox.client().listen(0).await.expect("the port is free");
    let port = listener.local_addr().expect("it listens").port();
    let server = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("somebody dials");
        let mut said = [0; 5];
        peer.read_exact(&mut said).expect("it speaks");
        peer.write_all(b"fine").expect("it listens");
        said
    });
    let mut running = inside
        .spawn(
            &inside.spec(&[prober(), "--probe", "dial", &format!("127.0.0.1:{port}"), "hello"]),
            Stdin::Null,
        )
        .await;
    assert_eq!(outcome(&mut running).await.stdout, "fine");
    assert_eq!(&server.join().expect("no panic"), b"hello");
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error() {
    let inside = Box::start().await;
    let first = inside.sandbox.client().listen(3128).await.expect("the port is free");
    let error = inside.sandbox.client().listen(3128).await.expect_err("it is taken");
    assert!(matches!(error, ClientError::Refused { step: Step::Listen, .. }), "{error}");
    drop(first);
}
