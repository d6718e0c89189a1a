//! A tool costs no more than its own call, whatever it does.

use std::time::Duration;

use serde_json::json;
use sortie_policy::ports::{ErrorCode, PortError, ToolOutput, Tools as _};

use crate::task::{Task, invocation};

/// One test a fixture, and one that no fixture is without a test.
macro_rules! fixtures {
    ($($name:ident => $check:expr;)*) => {
        const TESTED: &[&str] = &[$(stringify!($name)),*];

        $(
            #[tokio::test]
            async fn $name() {
                let task = Task::new().await;
                let tool = stringify!($name).replace('_', "-").trim_start_matches("r#").to_owned();
                let permit = task.permit(&tool, json!({ "text": "hello" })).await;
                let result = task.tools.invoke(permit, invocation(limit(&tool))).await;
                let check: fn(Result<ToolOutput, PortError>, Vec<String>) = $check;
                check(result, task.log.take());
                task.assert_alive().await;
            }
        )*
    };
}

fn limit(tool: &str) -> Duration {
    Duration::from_millis(if matches!(tool, "loop" | "sleep") { 300 } else { 120_000 })
}

fn failed(result: Result<ToolOutput, PortError>, code: ErrorCode, message: &str) {
    let error = result.expect_err("it misbehaves");
    assert_eq!((error.code, error.message.as_str()), (code, message));
}

fn content(result: Result<ToolOutput, PortError>) -> String {
    result.expect("it answers").content
}

fn logged(log: &[String], text: &str) {
    assert!(log.iter().any(|line| line.contains(text)), "{text} in {log:?}");
}

fixtures! {
    echo => |result, _| assert_eq!(content(result), r#"c1 {"text":"hello"} {"a":1}"#);
    count => |result, _| assert_eq!(content(result), "1");
    r#loop => |result, _| failed(result, ErrorCode::Timeout, "tool `loop` failed: it ran longer than its 300 ms");
    sleep => |result, _| failed(result, ErrorCode::Timeout, "tool `sleep` failed: it ran longer than its 300 ms");
    allocate => |result, log| {
        let text = "tool `allocate` failed: it wanted more than its 256 MiB of memory; its log has the details";
        failed(result, ErrorCode::Internal, text);
        logged(&log, "it wanted more than its 256 MiB of memory");
    };
    recurse => |result, log| {
        let text = "tool `recurse` failed: it accessed memory out of bounds, or recursed too deeply; its log has the details";
        failed(result, ErrorCode::Internal, text);
        logged(&log, "out of bounds memory access");
    };
    panic => |result, log| {
        failed(result, ErrorCode::Internal, "tool `panic` failed: it panicked or aborted; its log has the details");
        logged(&log, "the fixture panicked on purpose");
        assert!(log.iter().all(|line| !line.contains('\u{1b}')));
    };
    exit => |result, _| {
        let text = "tool `exit` failed: it exited with status 1 instead of answering; its log has the details";
        failed(result, ErrorCode::Internal, text);
    };
    print => |result, log| {
        assert_eq!(content(result), "printed");
        logged(&log, "bytes more were dropped");
        assert!(log.iter().map(String::len).sum::<usize>() < 200_000);
    };
    log => |result, log| {
        assert_eq!(content(result), "logged");
        assert_eq!(log.iter().filter(|line| line.starts_with("faults warn line")).count(), 1000);
        assert!(log.iter().all(|line| line.len() < 10_000 && !line.contains(['\u{1b}', '\n', '\r'])));
        let progress: Vec<_> = log.iter().filter(|line| line.starts_with("faults progress half way")).collect();
        assert!(progress.len() == 1000 && progress.iter().all(|line| line.len() < 250), "{progress:?}");
    };
    escapes => |result, _| assert_eq!(content(result), "red txt");
    escapes_in_error => |result, _| failed(result, ErrorCode::Conflict, "red");
    malformed_details => |result, _| {
        let error = result.expect_err("malformed");
        assert!(error.message.starts_with("tool `malformed-details` failed: the details of its result: malformed JSON"), "{error}");
    };
    array_details => |result, _| {
        assert!(result.expect_err("an array").message.contains("an object or null was expected, not an array"));
    };
    deep_details => |result, _| {
        assert!(result.expect_err("deep").message.contains("recursion limit exceeded"));
    };
    huge_result => |result, _| {
        let text = "tool `huge-result` failed: its result of 9437184 bytes is larger than 8 MiB";
        failed(result, ErrorCode::TooLarge, text);
    };
    enormous_result => |result, _| {
        let text = "tool `enormous-result` failed: it passed more than 16 MiB at once; its log has the details";
        failed(result, ErrorCode::TooLarge, text);
    };
    huge_error => |result, _| {
        let error = result.expect_err("an error");
        assert!(error.message.len() < 9000, "{}", error.message.len());
    };
    pollables => |result, _| {
        let text = "tool `pollables` failed: it opened too many handles; its log has the details";
        failed(result, ErrorCode::Internal, text);
    };
    handles => |result, _| {
        let text = "tool `handles` failed: it opened too many handles; its log has the details";
        failed(result, ErrorCode::Internal, text);
    };
    random => |result, _| assert_eq!(result.expect_err("too much").code, ErrorCode::Internal);
    surroundings => |result, _| {
        assert_eq!(content(result), "0 0 0 false Err(PermissionDenied) Ok(0)");
    };
}

#[tokio::test]
async fn a_call_takes_no_longer_than_its_task_lets_it_whatever_is_asked_for() {
    let task = Task::within(Duration::from_millis(300)).await;
    let permit = task.permit("loop", json!({})).await;
    let result = task.tools.invoke(permit, invocation(Duration::from_secs(5))).await;
    failed(result, ErrorCode::Timeout, "tool `loop` failed: it ran longer than its 300 ms");
}

#[tokio::test]
async fn every_fixture_that_misbehaves_has_a_test() {
    let tested: Vec<_> = TESTED.iter().map(|name| name.trim_start_matches("r#").replace('_', "-")).collect();
    for tool in Task::new().await.tools.list() {
        // what asks for effects is tested beside what it asks for, and so are these
        let elsewhere = tool.plugin != "faults"
            || ["wait-for-cancel", "attach-from-another-plugin", "list-background-from-another-plugin"]
                .contains(&tool.spec.name.as_str());
        assert!(
            elsewhere || tested.contains(&tool.spec.name),
            "the fixture `{}` has no test",
            tool.spec.name
        );
    }
}

#[tokio::test]
async fn calls_that_fail_at_once_leave_the_others_alone() {
    let task = Task::new().await;
    let calls = (0..12).map(|number| {
        let task = &task;
        async move {
            let tool = ["panic", "recurse", "echo", "allocate"][number % 4];
            (tool, task.call(tool, "x").await)
        }
    });
    for (tool, result) in futures_util::future::join_all(calls).await {
        assert_eq!(result.is_ok(), tool == "echo", "{tool}");
    }
    task.assert_alive().await;
}

#[tokio::test]
async fn more_calls_than_places_wait_for_one_another() {
    let task = Task::new().await;
    let calls = (0..200).map(|_| task.call("count", ""));
    for result in futures_util::future::join_all(calls).await {
        assert_eq!(result.expect("answers").content, "1");
    }
}

#[tokio::test]
async fn a_guest_that_loops_does_not_hold_up_the_others() {
    let task = Task::new().await;
    let invocation = invocation(Duration::from_secs(30));
    let cancel = invocation.cancel.clone();
    let permit = task.permit("loop", json!({})).await;
    // on one thread: the second call runs because the first gives way
    let (looped, ()) = tokio::join!(task.tools.invoke(permit, invocation), async {
        tokio::task::yield_now().await;
        task.assert_alive().await;
        cancel.cancel();
    });
    assert_eq!(looped.expect_err("cancelled").code, ErrorCode::Cancelled);
}
