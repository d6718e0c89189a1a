use sortie_sdk::exec::Exit;
use sortie_sdk::testing::{Host, Reply};

use super::*;

fn shell(reply: Reply) -> Output {
    let host = Host::new().command(move |_| reply.clone());
    host.call::<Shell>(json!({"command": "make"})).expect("runs")
}

#[test]
fn streams_come_in_order_of_arrival_and_the_end_is_said() {
    let output = shell(Reply::new().stdout("one\n").stderr("two\n").stdout("three").exit(Exit::Code(3)));
    assert_eq!(output.content, "one\ntwo\nthree\n[exit code 3]");
    assert_eq!(output.details["exit_code"], 3);
    assert_eq!(output.details["timed_out"], false);
}

#[test]
fn silence_is_the_exit_code_alone() {
    assert_eq!(shell(Reply::new()).content, "[exit code 0]");
}

#[test]
fn timeouts_and_signals_are_told_apart() {
    let output = shell(Reply::new().exit(Exit::TimedOut));
    assert!(output.content.starts_with("[timed out"), "{}", output.content);
    assert_eq!(output.details["timed_out"], true);
    let output = shell(Reply::new().exit(Exit::Signal(11)));
    assert_eq!(output.content, "[killed by signal 11, SIGSEGV]");
    assert_eq!(output.details["exit_code"], Value::Null);
}

#[test]
fn output_is_bounded_and_what_the_host_dropped_is_said() {
    let mut reply = Reply::new().dropped(7);
    for _ in 0..40 {
        reply = reply.stdout("x".repeat(1 << 16));
    }
    let output = shell(reply);
    assert!(output.content.len() < KEEP + 200);
    assert!(output.content.ends_with("\n[7 more bytes of output were dropped]\n[exit code 0]"));
    assert_eq!(output.details["output_bytes"], 40 * (1 << 16) + 7);
}

#[test]
fn the_command_line_reaches_sh_as_one_argument() {
    let host = Host::new().command(|command| {
        assert_eq!(command.argv, ["sh", "-c", "echo 'a b'"]);
        assert_eq!(command.timeout_ms, Some(5));
        Reply::new()
    });
    host.call::<Shell>(json!({"command": "echo 'a b'", "timeout_ms": 5})).expect("runs");
}

#[test]
fn empty_commands_unknown_arguments_and_zero_timeouts_are_refused() {
    let host = Host::new().command(|_| panic!("nothing runs"));
    for bad in [
        json!({"command": " \n"}),
        json!({"command": "ls", "cwd": "/"}),
        json!({"command": "ls", "timeout_ms": 0}),
        json!({"command": "ls", "idle_timeout_ms": 0}),
        json!({"command": "ls", "background": true, "timeout_ms": 0}),
        json!({"command": "ls", "timeout_ms": -1}),
        json!({}),
    ] {
        let error = host.call::<Shell>(bad).expect_err("is refused");
        assert_eq!(error.code, ErrorCode::Invalid);
    }
}

#[test]
fn a_refusal_of_the_gate_is_passed_on() {
    let denied = Error { rule: Some("rules/no-make".into()), ..Error::denied("no make here") };
    let host = Host::new().command({
        let denied = denied.clone();
        move |_| Reply::fails(denied.clone())
    });
    let error = host.call::<Shell>(json!({"command": "make"})).expect_err("is denied");
    assert_eq!(error, denied);
}

#[test]
fn a_cancelled_task_ends_the_call() {
    let host = Host::new().cancelled().command(|_| Reply::new().never_ends());
    let error = host.call::<Shell>(json!({"command": "sleep 9"})).expect_err("is cancelled");
    assert_eq!(error.code, ErrorCode::Cancelled);
}

#[test]
fn a_command_ends_before_its_call_does() {
    for asked in [None, Some(u64::MAX)] {
        let host = Host::new().command(|command| {
            assert_eq!(command.timeout_ms, Some(600_000 - RESERVE_MS));
            Reply::new()
        });
        host.call::<Shell>(json!({"command": "make", "timeout_ms": asked})).expect("runs");
    }
}

#[test]
fn a_limit_that_ended_a_command_is_named_with_its_value() {
    let reply = Reply::new().stdout("x").exit(Exit::TimedOut).limit("idle_timeout_ms", 70);
    let host = Host::new().command(move |command| {
        assert_eq!(command.idle_timeout_ms, Some(70));
        reply.clone()
    });
    let output = host.call::<Shell>(json!({"command": "make", "idle_timeout_ms": 70})).expect("runs");
    assert!(output.content.starts_with("x\n[timed out: idle_timeout_ms = 70 passed"), "{}", output.content);
    assert_eq!(output.details["limits"], json!([{"name": "idle_timeout_ms", "value": 70}]));
}

#[test]
fn a_terminal_is_given_on_request_and_its_line_ends_are_plain() {
    let host = Host::new().command(|command| {
        assert_eq!((command.tty, command.background), (true, false));
        Reply::new().stdout("one\r\ntwo\r\n")
    });
    let output = host.call::<Shell>(json!({"command": "vi", "tty": true})).expect("runs");
    assert_eq!(output.content, "one\ntwo\n[exit code 0]");
}

mod in_the_background {
    use super::*;

    /// A host whose commands all do this.
    fn host(reply: Reply) -> Host {
        Host::new().command(move |_| reply.clone())
    }

    fn start(host: &Host) -> Output {
        host.call::<Shell>(json!({"command": "serve", "background": true})).expect("starts")
    }

    fn read(host: &Host) -> String {
        host.call::<ProcessOutput>(json!({"id": "p1"})).expect("is there").content
    }

    #[test]
    fn a_command_is_called_by_its_id_and_outlives_its_call() {
        let host = host(Reply::new().stdout("listening\n").never_ends());
        let output = start(&host);
        assert_eq!(output.content, "listening\n[p1 runs in the background]");
        assert_eq!((&output.details["id"], &output.details["running"]), (&json!("p1"), &json!(true)));
        assert!(start(&host).content.ends_with("[p2 runs in the background]"));
    }

    #[test]
    fn it_asks_to_run_in_the_background_with_an_input_and_without_the_time_of_the_call() {
        let host = Host::new().command(|command| {
            assert_eq!((command.background, command.timeout_ms), (true, None));
            assert_eq!(
                (command.stdin, command.tty),
                (command.argv[2] == "serve", command.argv[2] != "serve")
            );
            Reply::new().never_ends()
        });
        start(&host);
        host.call::<Shell>(json!({"command": "top", "background": true, "tty": true})).expect("starts");
    }

    #[test]
    fn one_that_fails_at_once_is_told_at_once_and_has_no_id() {
        let host = host(Reply::new().stderr("sh: serve: not found\n").exit(Exit::Code(127)));
        let output = start(&host);
        assert_eq!(output.content, "sh: serve: not found\n[exit code 127]");
        assert_eq!((&output.details["id"], &output.details["exit_code"]), (&Value::Null, &json!(127)));
        let list = host.call::<ProcessList>(json!({})).expect("lists").content;
        assert_eq!(list, "nothing was started in the background");
    }

    #[test]
    fn each_read_gives_what_is_new_and_the_end_is_given_again() {
        let reply = Reply::new().stdout("one\n").pause().stdout("two\n").pause().pause().stderr("three\n");
        let host = host(reply.exit(Exit::Code(3)));
        assert_eq!(start(&host).content, "one\n[p1 runs in the background]");
        assert_eq!(read(&host), "two\n[p1 runs in the background]");
        assert_eq!(read(&host), "three\n[exit code 3]");
        assert_eq!(read(&host), "[exit code 3]");
    }

    #[test]
    fn a_read_waits_no_longer_than_it_was_told() {
        // four waits of 250 ms, as this host counts them
        let silent = (0..5).fold(Reply::new(), |reply, _| reply.pause()).stdout("late\n").never_ends();
        let host = host(silent);
        start(&host);
        assert_eq!(read(&host), "[p1 runs in the background]");
        assert_eq!(read(&host), "late\n[p1 runs in the background]");
    }

    #[test]
    fn output_that_gave_way_is_told() {
        let host = host(Reply::new().pause().skipped(77).stdout("new\n").never_ends());
        start(&host);
        let text = read(&host);
        assert!(text.starts_with("[77 bytes of output are missing here"), "{text}");
        assert!(text.contains("\nnew\n"), "{text}");
    }

    #[test]
    fn input_reaches_the_command_until_it_is_closed_and_a_failure_leaves_it_running() {
        let host = host(Reply::new().pause().stdout("echo\n").never_ends());
        start(&host);
        let output = host.call::<ProcessInput>(json!({"id": "p1", "text": "hi\n", "close": true}));
        assert_eq!(output.expect("is written").content, "echo\n[p1 runs in the background]");
        assert_eq!(host.input(), b"hi\n");
        let error = host.call::<ProcessInput>(json!({"id": "p1", "text": "more"})).expect_err("closed");
        assert_eq!(error.code, ErrorCode::Invalid);
        assert_eq!(read(&host), "[p1 runs in the background]");
    }

    #[test]
    fn stopping_asks_first_and_kills_what_does_not_end() {
        for (reply, end) in [
            (Reply::new(), "[killed by signal 15, SIGTERM]"),
            (
                Reply::new().stubborn(),
                "[killed by signal 9, SIGKILL (the memory limit may have been reached)]",
            ),
        ] {
            let host = host(reply.never_ends());
            start(&host);
            let output = host.call::<ProcessStop>(json!({"id": "p1", "grace_ms": 1})).expect("stops");
            assert_eq!(output.content, end);
            assert_eq!(output.details["running"], false);
            assert_eq!(read(&host), end);
        }
    }

    #[test]
    fn the_list_has_state_age_and_end() {
        let host = Host::new().command(|command| match command.argv[2].as_str() {
            "serve" => Reply::new().never_ends(),
            _ => Reply::new().pause().exit(Exit::Code(4)),
        });
        start(&host);
        host.call::<Shell>(json!({"command": "build", "background": true})).expect("starts");
        let output = host.call::<ProcessList>(json!({})).expect("lists");
        assert_eq!(output.content, "p1  running  1.0 s  sh -c serve\np2  exit code 4  1.0 s  sh -c build");
        assert_eq!(output.details["processes"][1]["exit_code"], 4);
    }

    #[test]
    fn an_unknown_id_says_where_the_known_ones_are() {
        let error = Host::new().call::<ProcessOutput>(json!({"id": "p7"})).expect_err("there is none");
        assert_eq!(error.code, ErrorCode::NotFound);
        assert!(error.message.contains("process_list"), "{error:?}");
    }
}
