//! Effects of tools: grants, then the gate, then the port.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use sortie_core::{ActionKind, Decision, Verdict};
use sortie_policy::ports::{ErrorCode, PortError, Tools as _};
use sortie_policy::{Evaluator, Fault, Link, PolicyEvent};

use crate::task::{Task, invocation, link};

fn assert_not_granted(error: &PortError, key: &str) {
    assert_eq!(error.code, ErrorCode::Denied, "{error}");
    assert_eq!(error.rule.as_deref(), Some(format!("grant/{key}").as_str()), "{error}");
    assert!(error.message.contains("the grants of plugin `fixture`"), "{error}");
}

/// The line of settings that a denial names.
fn line(error: &PortError) -> &str {
    let line = error.message.split('`').find(|part| part.starts_with("grants = "));
    line.unwrap_or_else(|| panic!("no line in: {error}"))
}

#[tokio::test]
async fn a_call_is_an_effect_of_its_plugin_and_decided_on() {
    let task = Task::new().await;
    assert_eq!(task.content("run", "true a b").await, "true a b Exit::Code(0)");
    assert_eq!(task.world.take_done(), ["exec true a b"]);
    assert_eq!(task.decisions.take(), ["agent tool-call run allow", "tool:fixture exec true a b allow"]);
    assert_eq!(task.world.running.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn arguments_outside_of_the_grants_are_denied_before_anyone_is_asked() {
    let task = Task::new().await;
    for (tool, text, key) in [
        ("run", "false", "exec"),
        ("run", "/bin/true", "exec"),
        ("run", "sh -c true", "exec"),
        ("read", "secret/key", "files.read"),
        ("read", "./src/../x", ""),
        ("write", "src/a.rs", "files.write"),
        ("edit", "src/a.rs", "files.write"),
        ("remove", "src/a.rs", "files.write"),
        ("fetch", "GET https://other.org/", "http"),
        ("fetch", "GET http://a.example/", "http"),
        ("fetch", "POST https://a.example/", "http"),
    ] {
        let error = task.error(tool, text).await;
        if key.is_empty() {
            assert_eq!(error.code, ErrorCode::Invalid, "{error}");
        } else {
            assert_not_granted(&error, key);
        }
        assert_eq!(task.world.take_done(), [""; 0], "{tool} {text}");
        let decisions = task.decisions.take();
        assert_eq!(decisions.len(), 1, "the gate saw more than the tool call: {decisions:?}");
    }
}

#[tokio::test]
async fn the_line_that_a_denial_names_is_what_the_plugin_lacks() {
    let task = Task::new().await;
    let denied = [
        ("run", "false --help"),
        ("read", "secret/key"),
        ("write", "src/a.rs"),
        ("fetch", "POST https://a.example:443/"),
    ];
    for (tool, text) in denied {
        let error = task.error(tool, text).await;
        let grants = toml::from_str::<Plugin>(line(&error)).expect("a line of settings").grants;
        let granted = Task::granted(grants).await;
        assert!(granted.call(tool, text).await.is_ok(), "{tool}: {error}");
        assert_eq!(granted.content("run", "true").await, "true Exit::Code(0)", "{tool}: {error}");
        for (other, text) in denied.into_iter().filter(|(other, _)| *other != tool) {
            assert_eq!(granted.error(other, text).await.code, ErrorCode::Denied, "{tool}: {error}");
        }
    }
}

#[derive(serde::Deserialize)]
struct Plugin {
    grants: sortie_plugin_host::Grants,
}

/// Changes what some actions are.
struct Rewrites;

#[async_trait::async_trait]
impl Evaluator for Rewrites {
    async fn evaluate(&self, event: &PolicyEvent) -> Result<Verdict, Fault> {
        let mut details = event.action.details.clone();
        match event.action.kind {
            ActionKind::Exec => details["argv"] = json!(["true", "changed"]),
            ActionKind::HttpRequest => details["url"] = json!("https://b.example/"),
            ActionKind::FileRead => {
                details["paths"].as_array_mut().expect("paths").retain(|path| path != "src/b.rs");
            }
            ActionKind::ToolCall if event.action.target == "echo" => {
                details["arguments"] = json!({ "text": 1 })
            }
            _ => {}
        }
        Ok(Verdict::of(Decision::Transform(details)))
    }
}

#[tokio::test]
async fn what_a_policy_made_of_an_action_is_what_happens() {
    let link = Link { mutates: true, ..link("rewrites", &ActionKind::ALL, Arc::new(Rewrites)) };
    let task = Task::governed(link).await;
    assert_eq!(task.content("run", "true a").await, "true changed Exit::Code(0)");
    assert_eq!(task.content("fetch", "GET https://a.example/").await, "200 hello from b.example");
    assert_eq!(task.content("glob", "**").await, r#"["src/a.rs", "src/c.rs", "src/d.rs"] false"#);
    // arguments that a policy put in are checked like the model's own
    let error = task.error("echo", "a").await;
    assert!(error.code == ErrorCode::Invalid && error.message.contains("/text"), "{error}");
}

#[tokio::test]
async fn reading_the_change_and_committing_it_are_granted_apart() {
    let reader = Task::with(
        r#"
        exec = ["x"]
        files = { read = ["x"] }
        git = { read = true }
        http = ["https://x"]
    "#,
    );
    let reader = reader.await;
    assert_eq!(reader.content("status", "").await, "sortie/x src/a.rssecret/key");
    assert_not_granted(&reader.error("commit", "message").await, "git.commit");
    let committer = Task::with(
        r#"
        exec = ["x"]
        files = { read = ["x"] }
        git = { commit = true }
        http = ["https://x"]
    "#,
    );
    let committer = committer.await;
    for tool in ["status", "diff", "history", "show"] {
        assert_not_granted(&committer.error(tool, "HEAD").await, "git.read");
    }
    assert_eq!(committer.content("commit", "message").await, "message 2");
    assert_eq!(committer.world.take_done(), ["commit sortie/x"]);
}

#[tokio::test]
async fn what_a_policy_refuses_comes_back_with_policy_and_rule() {
    let task = Task::new().await;
    for (tool, text) in [
        ("run", "true forbidden"),
        ("read", "src/forbidden"),
        ("write", "src/out/forbidden"),
        ("search", "forbidden"),
        ("show", "forbidden"),
        ("fetch", "GET https://forbidden.example/"),
    ] {
        let error = task.error(tool, text).await;
        assert_eq!(
            (error.code, error.rule.as_deref()),
            (ErrorCode::Denied, Some("names/by-name")),
            "{tool}: {error}"
        );
        assert!(error.message.contains("the test says so"), "{tool}: {error}");
        assert_eq!(task.world.take_done(), [""; 0], "{tool}");
    }
}

#[tokio::test]
async fn files_are_read_and_changed_within_the_grants() {
    let task = Task::new().await;
    assert_eq!(task.content("read", "./src//a.rs").await, "content of src/a.rs of 19");
    assert_eq!(task.content("write", "src/out/x").await, "2");
    assert_eq!(task.content("edit", "src/out/x").await, "2");
    assert_eq!(task.content("remove", "src/out/x").await, "removed");
    let done = ["file-read src/a.rs", "file-write src/out/x", "file-write src/out/x", "file-write src/out/x"];
    assert_eq!(task.world.take_done(), done);
    assert_eq!(task.error("read", "src/none").await.code, ErrorCode::NotFound);
    assert_eq!(task.error("write-much", "src/out/x").await.code, ErrorCode::TooLarge);
}

#[tokio::test]
async fn listings_leave_out_what_is_not_granted_and_keep_to_their_bound() {
    let task = Task::new().await;
    assert_eq!(task.content("glob", "**").await, r#"["src/a.rs", "src/b.rs", "src/c.rs"] true"#);
    assert_eq!(task.content("search", "content").await, "src/a.rs:1 src/b.rs:1 src/c.rs:1 src/d.rs:1 ");
    assert_eq!(task.world.take_done(), ["file-read glob **", "file-read search content"]);
}

#[tokio::test]
async fn a_diff_is_of_the_paths_asked_for_and_cut_between_characters() {
    let task = Task::new().await;
    let diff = task.content("diff", "src").await;
    assert!(diff.starts_with("diff of src/a.rsé"), "{diff}");
    assert!((99..=100).contains(&diff.len()));
    assert_eq!(task.content("show", "HEAD").await, "commit of src/a.rs");
    assert_eq!(task.content("history", "").await, "the message");
}

#[tokio::test]
async fn a_request_is_sent_as_it_was_permitted() {
    let task = Task::new().await;
    assert_eq!(task.content("fetch", "GET https://A.example:443/x/../y?z").await, "200 hello from a.example");
    assert_eq!(task.world.take_done(), ["http-request https://a.example/y?z"]);
    let error = task.error("fetch", "GET http://unreachable.example/").await;
    assert!(error.message.contains("nothing resolves this name"), "{error}");
    for method in ["CONNECT", "TRACE", "get"] {
        let error = task.error("fetch", &format!("{method} https://a.example/")).await;
        assert!(error.message.contains("is not one that tools can use"), "{error}");
    }
    assert!(task.error("fetch", "GET https://me:word@a.example/").await.message.contains("credentials"));
}

#[tokio::test]
async fn an_address_that_a_tools_request_may_not_have_is_recorded() {
    let task = Task::new().await;
    task.decisions.take();
    task.error("fetch", "GET https://private.example/").await;
    let recorded = task.decisions.take();
    let refusal = "http-request https://private.example/ refused by egress";
    assert_eq!(recorded.iter().filter(|line| *line == refusal).count(), 1, "{recorded:?}");
}

#[tokio::test]
async fn the_bounds_of_a_command_hold() {
    let task = Task::new().await;
    let codes = task.content("run-bounds", "").await;
    // four of arguments, three of variables, one of input
    let expected = ["Invalid", "Invalid", "Invalid", "TooLarge", "Invalid", "Invalid", "Invalid", "TooLarge"];
    let expected = expected.map(|code| format!("Some(ErrorCode::{code})"));
    assert_eq!(codes, format!("[{}]", expected.join(", ")));
}

#[tokio::test]
async fn a_call_holds_32_commands_at_most_and_its_end_kills_them() {
    let task = Task::new().await;
    assert_eq!(task.content("hold", "").await, "32 then ErrorCode::Unavailable");
    assert_eq!(task.world.running.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_detached_command_is_taken_up_by_its_own_plugin_alone() {
    let task = Task::new().await;
    let id = task.content("detach", "true x").await;
    assert_eq!(id, "p1");
    let read = "(5 skipped)Exit::TimedOut idle_timeout_ms = 7";
    assert_eq!(task.content("attach", &id).await, read);
    assert_eq!(task.error("attach", "p2").await.code, ErrorCode::NotFound);
    let error = task.error("attach-from-another-plugin", &id).await;
    assert_eq!((error.code, task.world.running.load(Ordering::SeqCst)), (ErrorCode::NotFound, 0), "{error}");
    assert_eq!(task.error("detach-twice", "true y").await.code, ErrorCode::Invalid);
}

#[tokio::test]
async fn a_command_that_did_not_ask_for_the_background_is_not_detached() {
    let task = Task::new().await;
    assert_eq!(task.error("detach-foreground", "sleep 9").await.code, ErrorCode::Invalid);
    assert_eq!(task.content("list-background", "").await, "");
    assert_eq!(task.world.running.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_plugin_lists_its_own_background_commands_with_age_and_end() {
    let task = Task::new().await;
    task.content("detach", "true x").await;
    task.content("detach", "sleep 9").await;
    let list = task.content("list-background", "").await;
    assert_eq!(list, "p1 true x 2000 Some(Exit::Code(0));p2 sleep 9 2000 None;");
    assert_eq!(task.content("list-background-from-another-plugin", "").await, "0");
}

/// Remembers what commands asked for.
#[derive(Default)]
struct Sees(std::sync::Mutex<Vec<String>>);

#[async_trait::async_trait]
impl Evaluator for Sees {
    async fn evaluate(&self, event: &PolicyEvent) -> Result<Verdict, Fault> {
        let details = &event.action.details;
        let of = |key: &str| details[key].to_string();
        self.0.lock().expect("lock").push(format!("{} {}", of("background"), of("max_output")));
        assert_eq!(details["timeout_ms"].is_null(), details["background"] == true);
        Ok(Verdict::of(Decision::Abstain))
    }
}

#[tokio::test]
async fn policies_see_that_a_command_is_for_the_background_and_that_it_has_no_time_limit() {
    let sees = Arc::new(Sees::default());
    let task = Task::governed(link("sees", &[ActionKind::Exec], sees.clone())).await;
    task.content("detach", "sleep 9").await;
    task.content("run", "true").await;
    assert_eq!(*sees.0.lock().expect("lock"), ["true null", "false 8388608"]);
}

#[tokio::test]
async fn a_task_has_256_commands_in_the_background_at_most_and_those_that_ended_make_room() {
    let task = Task::new().await;
    assert_eq!(task.content("detach-many", "true").await, "all");
    assert_eq!(task.content("detach-many", "sleep").await, "256 then ErrorCode::Unavailable");
    // whoever has a place keeps it
    assert_eq!(task.content("detach-again", "p1001").await, "p1001");
}

#[tokio::test]
async fn a_call_holds_16_connections_at_most_and_gives_them_back() {
    let task = Task::new().await;
    let held = task.content("hoard", "GET https://a.example/").await;
    assert_eq!(held, "16 then ErrorCode::ConnectionLimitReached");
    assert_eq!(task.content("fetch-many", "GET https://a.example/").await, "all");
}

#[tokio::test]
async fn a_cancelled_task_ends_what_its_tools_wait_for() {
    let task = Task::new().await;
    let invocation = invocation(Duration::from_secs(60));
    let cancel = invocation.cancel.clone();
    let permit = task.permit("wait", json!({ "text": "sleep 9" })).await;
    let call = task.tools.invoke(permit, invocation);
    let (result, ()) = tokio::join!(call, async {
        while task.world.running.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    });
    let error = result.expect_err("cancelled");
    // the tool's own answer: it was told so, and not stopped
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::Cancelled, "the task was cancelled"));
    assert_eq!(task.world.running.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_cancelled_tool_may_tidy_up() {
    let task = Task::new().await;
    let invocation = invocation(Duration::from_secs(60));
    invocation.cancel.cancel();
    let permit = task.permit("wait-for-cancel", json!({})).await;
    let output = task.tools.invoke(permit, invocation).await.expect("answers in time");
    assert_eq!(output.content, "tidied up with time left");
}

#[tokio::test]
async fn arguments_are_checked_before_anyone_sees_them() {
    let task = Task::new().await;
    let code = |tool: &str, arguments: &str| {
        task.tools.check(tool, arguments).map(|_| ()).map_err(|error| error.code)
    };
    assert_eq!(code("echo", r#"{"text":"a"}"#), Ok(()));
    assert_eq!(code("echo", ""), Ok(()));
    assert_eq!(code("echo", r#"{"text":1}"#), Err(ErrorCode::Invalid));
    assert_eq!(code("echo", "{"), Err(ErrorCode::Invalid));
    assert_eq!(code("echo", "[]"), Err(ErrorCode::Invalid));
    assert_eq!(code("echo", &"[".repeat(100_000)), Err(ErrorCode::Invalid));
    assert_eq!(code("nothing", "{}"), Err(ErrorCode::NotFound));
}

#[tokio::test]
async fn a_permit_of_another_gate_or_another_plugin_runs_nothing() {
    let (task, other) = (Task::new().await, Task::new().await);
    let foreign = other.permit("echo", json!({})).await;
    let error = task.tools.invoke(foreign, invocation(Duration::from_secs(60))).await.expect_err("foreign");
    assert_eq!(error.code, ErrorCode::Denied);
    let mut call = task.tools.check("echo", "{}").expect("good arguments");
    call.plugin = "another".into();
    let permit = task.gate.permit(&sortie_core::Actor::Agent, call).await.expect("permitted");
    let error =
        task.tools.invoke(permit, invocation(Duration::from_secs(60))).await.expect_err("another plugin's");
    assert_eq!(error.code, ErrorCode::Invalid);
}
