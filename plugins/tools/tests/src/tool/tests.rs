//! The tool as the host calls it, over a pretended host.

use sortie_sdk::testing::{Host, Reply};

use super::*;

const CARGO_OK: &str = "\nrunning 1 test\ntest a ... ok\n\n\
    test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";

fn rust() -> Host {
    Host::new().file("Cargo.toml", "[package]\nname = \"x\"\n")
}

fn call(host: &Host, arguments: Value, details: Value) -> Result<Output> {
    let arguments: RunTests = serde_json::from_value(arguments)?;
    let call = Call { id: "call-1".into(), tool: "run_tests".into(), details };
    host.enter(|| arguments.run(&call))
}

fn ran(host: &Host) -> Output {
    call(host, json!({}), json!({})).expect("the tool answers")
}

#[test]
fn numbers_and_failures_come_as_text_and_as_json() {
    let out = include_str!("../../tests/fixtures/cargo-failing.out");
    let host = rust().command(move |_| Reply::new().stdout(out).exit(Exit::Code(101)));
    let output = ran(&host);
    assert!(
        output.content.starts_with("103 passed, 3 failed, 1 skipped\n$ cargo test"),
        "{}",
        output.content
    );
    assert_eq!(output.details["counts"], json!({"passed": 103, "failed": 3, "skipped": 1}));
    assert_eq!(output.details["command"], json!(["cargo", "test", "--no-fail-fast", "--offline"]));
    assert_eq!(output.details["format"], "cargo");
    assert_eq!(output.details["exit_code"], 101);
    assert_eq!(output.details["detected_by"], "Cargo.toml");
    assert_eq!(output.details["failures"][0]["name"], "hamming_works");
}

#[test]
fn a_plan_that_was_fixed_is_run_whatever_the_repository_says_now() {
    let host = rust().command(|command| {
        assert_eq!(command.argv, ["cargo", "test", "-p", "x"]);
        Reply::new().stdout(CARGO_OK)
    });
    let fixed = json!({"fixed": {"command": ["cargo", "test", "-p", "x"], "format": "cargo"}});
    let output = call(&host, json!({}), fixed).expect("the tool answers");
    assert_eq!(output.details["counts"]["passed"], 1);
    assert_eq!(output.details["detected_by"], "fixed");
}

#[test]
fn a_plan_that_is_malformed_is_refused_and_nothing_runs() {
    for fixed in [
        json!({"command": []}),
        json!({"command": [""]}),
        json!({"command": ["x"], "format": "tea"}),
        json!(1),
    ] {
        let error = call(&rust(), json!({}), json!({"fixed": fixed})).expect_err("refused");
        assert_eq!(error.code, ErrorCode::Invalid, "{error}");
    }
}

#[test]
fn settings_name_the_command() {
    let host = rust().settings(json!({"command": ["just", "test"]})).command(|command| {
        assert_eq!(command.argv, ["just", "test"]);
        Reply::new().stdout("3 passed in 0.10s\n")
    });
    let output = ran(&host);
    assert_eq!(output.details["counts"]["passed"], 3);
    assert_eq!(output.details["detected_by"], "settings");
}

#[test]
fn a_repository_without_tests_has_no_numbers() {
    let output = ran(&Host::new().file("README.md", "hello"));
    assert!(output.content.starts_with("no tests found: "), "{}", output.content);
    assert_eq!(output.details["counts"], Value::Null);
    // The host reads a plan from these: what is absent is not `null`.
    assert!(
        output.details.get("format").is_none() && output.details["command"] == json!([]),
        "{}",
        output.details
    );
    let nothing = "\nrunning 0 tests\n\n\
        test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
    let output = ran(&rust().command(move |_| Reply::new().stdout(nothing)));
    assert_eq!(output.details["counts"], Value::Null);
    assert!(output.content.starts_with("no tests found: the command ran none"), "{}", output.content);
}

#[test]
fn a_run_that_did_not_end_well_is_never_a_pass() {
    let ends = [
        Reply::new().stdout(CARGO_OK).exit(Exit::TimedOut),
        Reply::new().stdout(CARGO_OK).exit(Exit::Signal(9)),
        Reply::new().exit(Exit::Code(101)),
        Reply::new().stderr("boom").exit(Exit::Code(1)),
    ];
    for end in ends {
        let host = rust().command(move |_| end.clone());
        let output = ran(&host);
        assert_eq!(output.details["counts"]["failed"], 1, "{}", output.content);
        assert_eq!(output.details["failures"][0]["name"], "run");
    }
}

#[test]
fn a_status_that_no_test_explains_is_told() {
    let host = rust().command(|_| Reply::new().stdout(CARGO_OK).exit(Exit::Code(3)));
    let output = ran(&host);
    assert_eq!(output.details["counts"], json!({"passed": 1, "failed": 0, "skipped": 0}));
    assert!(output.content.contains("status 3 although no test failed"), "{}", output.content);
}

#[test]
fn the_report_of_the_runner_is_believed_and_not_what_tests_printed() {
    let host = Host::new().file("pytest.ini", "[pytest]\n").file("test_a.py", "def test_a(): pass\n");
    let host = host.command(|command| {
        if command.argv[0] == "sh" {
            return Reply::new().stdout(include_str!("../../tests/fixtures/pytest.xml"));
        }
        assert!(
            command
                .env
                .iter()
                .any(|(name, value)| name == "PYTEST_ADDOPTS" && value.contains("--junitxml=/tmp/"))
        );
        Reply::new().stdout("===== 900 passed in 0.10s =====\n").exit(Exit::Code(1))
    });
    assert_eq!(ran(&host).details["counts"], json!({"passed": 4, "failed": 6, "skipped": 2}));
}

#[test]
fn without_a_report_the_summary_is_read() {
    let host = Host::new().file("pytest.ini", "[pytest]\n").file("test_a.py", "def test_a(): pass\n");
    let host = host.command(|command| match command.argv[0].as_str() {
        "sh" => Reply::new(),
        _ => Reply::new().stdout("== 2 failed, 1 passed in 0.10s ==\n").exit(Exit::Code(1)),
    });
    assert_eq!(ran(&host).details["counts"], json!({"passed": 1, "failed": 2, "skipped": 0}));
}

#[test]
fn hostile_output_costs_nothing_but_the_numbers() {
    let outputs: [Vec<u8>; 4] = [
        vec![0xff; 8 << 20],
        b"\x1b[".repeat(1 << 20),
        "running 9 tests\n".repeat(1 << 18).into_bytes(),
        b"running 18446744073709551615 tests\ntest result: ok. 18446744073709551615 passed; 1 failed; 0 ignored; 1 measured\n".to_vec(),
    ];
    for bytes in outputs {
        let host = rust()
            .command(move |_| bytes.chunks(64 << 10).fold(Reply::new().exit(Exit::Code(1)), Reply::stdout));
        let output = ran(&host);
        assert!(output.content.len() < 60_000, "{}", output.content.len());
        assert!(output.details["counts"]["failed"].as_u64() > Some(0), "{}", output.content);
    }
}

#[test]
fn a_filter_is_never_an_option() {
    // a runner that would take it
    let host = rust().command(|_| Reply::new().stdout(CARGO_OK));
    for filter in ["--config=x", "-p", "a\nb", "a\0b", &"x".repeat(2_000)] {
        let error = call(&host, json!({"filter": filter}), json!({})).expect_err(filter);
        assert!(matches!(error.code, ErrorCode::Invalid | ErrorCode::TooLarge), "{filter}: {error}");
    }
}

#[test]
fn a_command_that_may_not_run_is_the_hosts_refusal() {
    let host = rust().command(|_| Reply::fails(Error::denied("no grant for `cargo`")));
    let error = call(&host, json!({}), json!({})).expect_err("refused");
    assert_eq!(error.code, ErrorCode::Denied);
    assert!(error.message.contains("no grant"), "{error}");
}

#[test]
fn a_limit_that_was_reached_is_named_with_its_value() {
    let reply = Reply::new().stdout(CARGO_OK).exit(Exit::Signal(9)).limit("memory_bytes", 1024);
    let host = Host::new().file("Cargo.toml", "[package]").command(move |_| reply.clone());
    let output = host.call::<RunTests>(json!({})).expect("it is told");
    assert!(output.content.contains("the limit memory_bytes = 1024 was reached"), "{}", output.content);
}
