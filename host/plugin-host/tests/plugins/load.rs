//! What is refused at load, and in which words.

use serde_json::json;
use sortie_plugin_host::{PluginHost, PluginSpec, Toolbox};
use sortie_policy::ports::Tools as _;

use crate::components::{self, dummy, host, spec};
use crate::task::{GRANTS, Log, Task};

const EVERYTHING: &str =
    "exec = [\"*\"]\nfiles = { read = [\"**\"], write = [\"**\"] }\ngit = true\nhttp = [\"https://*\"]";

async fn refusal(host: &PluginHost, spec: PluginSpec) -> String {
    host.load(spec).await.err().map(|error| error.to_string()).unwrap_or_default()
}

fn tool_that_imports(import: &str) -> Vec<u8> {
    dummy(&format!("world dummy {{ import {import}; export sortie:tool/tool@0.1.0; }}"))
}

fn policy_that_imports(import: &str) -> Vec<u8> {
    dummy(&format!("world dummy {{ import {import}; export sortie:policy/policy@0.1.0; }}"))
}

#[tokio::test]
async fn each_interface_is_refused_without_its_grant_and_loads_with_it() {
    let host = host(&Log::default());
    for (import, line) in [
        ("sortie:host/exec@0.1.0", r#"`grants = { exec = ["sh *"] }`"#),
        ("sortie:host/files@0.1.0", r#"`grants = { files = { read = ["**"], write = ["**"] } }`"#),
        ("sortie:host/git@0.1.0", "`grants = { git = true }`"),
        ("wasi:http/outgoing-handler@0.2.12", r#"`grants = { http = ["https://*"] }`"#),
    ] {
        let bytes = tool_that_imports(import);
        let refused = refusal(&host, spec("p", bytes.clone(), "")).await;
        assert!(refused.contains(import) && refused.contains(line), "{import}: {refused}");
        // past its imports it fails, because there is nothing behind its exports
        let granted = refusal(&host, spec("p", bytes, EVERYTHING)).await;
        assert!(granted.contains("`describe` failed: it panicked"), "{import}: {granted}");
    }
}

#[tokio::test]
async fn interfaces_that_this_host_does_not_have_are_refused_by_name() {
    let host = host(&Log::default());
    for import in ["sortie:host/secrets@0.1.0", "sortie:host/kv@0.1.0", "wasi:http/incoming-handler@0.2.12"] {
        let refused = refusal(&host, spec("p", tool_that_imports(import), EVERYTHING)).await;
        assert!(refused.contains("does not have") && refused.contains(import), "{refused}");
    }
    let other =
        dummy("interface odd { f: func(); } world dummy { import odd; export sortie:tool/tool@0.1.0; }");
    let refused = refusal(&host, spec("p", other, EVERYTHING)).await;
    assert!(refused.contains("test:dummy/odd"), "{refused}");
}

#[tokio::test]
async fn a_policy_that_imports_an_effect_is_refused_whatever_it_is_granted() {
    let host = host(&Log::default());
    for import in [
        "sortie:host/exec@0.1.0",
        "sortie:host/files@0.1.0",
        "sortie:host/git@0.1.0",
        "sortie:host/control@0.1.0",
        "wasi:http/outgoing-handler@0.2.12",
    ] {
        let refused = refusal(&host, spec("p", policy_that_imports(import), EVERYTHING)).await;
        assert!(refused.contains("without effects") && refused.contains(import), "{refused}");
    }
}

#[tokio::test]
async fn a_component_that_is_no_plugin_is_told_so() {
    let host = host(&Log::default());
    let none = dummy("world dummy { import sortie:host/config@0.1.0; }");
    assert!(refusal(&host, spec("p", none, "")).await.contains("exports neither"));
    let both = dummy("world dummy { export sortie:tool/tool@0.1.0; export sortie:policy/policy@0.1.0; }");
    assert!(refusal(&host, spec("p", both, "")).await.contains("exports both"));
    let error =
        host.load_policy(spec("p", components::tool(), GRANTS)).await.err().expect("a tool is no policy");
    assert_eq!(error.to_string(), "plugin `p` from p.wasm: it is a tool, not a policy");
}

#[tokio::test]
async fn what_is_no_component_gets_one_clear_line() {
    let host = host(&Log::default());
    let mut corrupt = components::tool();
    let middle = corrupt.len() / 2;
    corrupt.drain(middle..middle + 100);
    for (bytes, expected) in [
        (b"\0asm\x01\0\0\0".to_vec(), "it is a core module, not a component"),
        (b"(component)".to_vec(), "it is no WebAssembly component"),
        (b"\x7fELF....".to_vec(), "it is machine code"),
        (Vec::new(), "it is empty"),
        (b"\0asm\x0d\0\x01\0".to_vec(), "exports neither"),
        (corrupt, "it does not compile"),
        (vec![0; (64 << 20) + 1], "are more than 64 MiB"),
    ] {
        let refused = refusal(&host, spec("p", bytes, "")).await;
        assert!(refused.contains(expected) && !refused.contains('\n'), "{expected}: {refused}");
    }
}

#[tokio::test]
async fn only_the_bytes_that_were_agreed_to_are_loaded() {
    let host = host(&Log::default());
    let mut pinned = spec("p", components::tool(), GRANTS);
    pinned.digest = Some("00".repeat(32));
    let refused = refusal(&host, pinned.clone()).await;
    assert!(refused.contains("was agreed to"), "{refused}");
    let loaded = host.load_tool(spec("p", components::tool(), GRANTS)).await.expect("loads");
    pinned.digest = Some(loaded.digest().to_string().to_uppercase());
    assert_eq!(refusal(&host, pinned).await, "");
}

#[tokio::test]
async fn settings_are_shown_to_the_plugin_which_may_refuse_them() {
    let host = host(&Log::default());
    for bytes in [components::tool(), components::policy()] {
        let mut refused = spec("p", bytes, GRANTS);
        refused.settings = json!({ "a": "refused" });
        let text = refusal(&host, refused).await;
        assert!(text.contains("does not accept its settings: ") && !text.contains('\u{1b}'), "{text}");
    }
    let mut spec = spec("p", components::tool(), GRANTS);
    spec.settings = json!([]);
    assert!(refusal(&host, spec).await.contains("not an object"));
}

#[tokio::test]
async fn a_plugin_that_misbehaves_when_asked_what_it_offers_is_not_loaded() {
    let log = Log::default();
    let limits =
        sortie_plugin_host::Limits { load_time: std::time::Duration::from_millis(300), ..Default::default() };
    let hurried = components::host_with(&log, limits);
    let host = host(&log);
    for (settings, expected) in [
        (json!({ "describe": "loop" }), "it ran longer than its 300 ms"),
        (json!({ "describe": "panic" }), "`describe` failed: it panicked"),
        (json!({ "describe": "none" }), "there are 0 of them"),
        (json!({ "describe": "name" }), "`Not A Name` is no name"),
        (json!({ "describe": "twice" }), "`one` is there twice"),
        (json!({ "schema": "malformed" }), "the schema of `echo`: malformed JSON"),
        (json!({ "schema": "recursive" }), "refers to itself"),
    ] {
        // what ends by itself may take its time
        let host = if expected.contains("300 ms") { &hurried } else { &host };
        let mut spec = spec("p", components::tool(), GRANTS);
        spec.settings = settings;
        let refused = refusal(host, spec).await;
        assert!(refused.contains(expected), "{expected}: {refused}");
    }
    assert!(log.take().iter().any(|line| line.contains("describe panicked")));
}

#[tokio::test]
async fn there_is_no_workspace_while_a_plugin_is_loaded() {
    let mut spec = spec("p", components::tool(), GRANTS);
    spec.settings = json!({ "describe": "spawn" });
    let tool = host(&Log::default()).load_tool(spec).await.expect("loads");
    assert_eq!(tool.tools().next().expect("a tool").spec.name, "unavailable");
}

#[tokio::test]
async fn tools_are_described_in_safe_words_and_listed_by_name() {
    let task = Task::new().await;
    let tools = task.tools.list();
    assert!(tools.is_sorted_by_key(|tool| tool.spec.name.clone()));
    let echo = tools.iter().find(|tool| tool.spec.name == "echo").expect("echo");
    assert_eq!(echo.spec.description, "Does what its name says.");
    assert_eq!(echo.plugin, "faults");
    assert!(echo.effects.executes && echo.effects.idempotent && !echo.effects.network);
}

#[tokio::test]
async fn two_plugins_cannot_offer_one_name() {
    let log = Log::default();
    let host = host(&log);
    let first = host.load_tool(spec("one", components::tool(), GRANTS)).await.expect("loads");
    let second = host.load_tool(spec("two", components::tool(), GRANTS)).await.expect("loads");
    let task = Task::of(vec![first.clone()], log);
    let context = sortie_plugin_host::TaskContext {
        gate: task.gate.clone(),
        commands: task.world.clone(),
        files: task.world.clone(),
        repository: task.world.clone(),
        http: task.world.clone(),
        log: task.log.shared(),
        progress: std::sync::Arc::new(task.log.clone()),
        max_call: std::time::Duration::from_secs(1),
    };
    let error = Toolbox::new(vec![first, second], context).err().expect("both offer all");
    assert_eq!(error.to_string(), "the tool `echo` is offered by plugin `one` and by plugin `two`");
}

#[tokio::test]
async fn an_id_is_a_plain_name() {
    let host = host(&Log::default());
    for id in ["", "a b", "../x", ".x", "X", &"x".repeat(65)] {
        assert!(refusal(&host, spec(id, components::policy(), "")).await.contains("an id is"), "{id}");
    }
}
