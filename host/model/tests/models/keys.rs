//! Keys: where they go, and that they show nowhere.

use serde_json::json;
use sortie_core::Secret;
use sortie_model::{ConnectError, Environment, ModelSpec, Options, connect};
use sortie_policy::ports::ModelError;

use crate::server::{Response, Server};
use crate::transcripts::{PROVIDERS, failing, saying};
use crate::world::{KEY, World, gate, opening, options};

#[tokio::test]
async fn a_server_that_repeats_the_key_does_not_get_it_into_a_message() {
    for provider in PROVIDERS {
        for status in [401, 403, 400, 500] {
            let server = Server::answering(move |_, request| {
                let body = json!({ "error": { "message": format!("wrong key in {}", request.head) } });
                Response::status(status, &body.to_string())
            })
            .await;
            let world = World::at(&server, provider);
            let error = world.ask(opening()).await.expect_err("fails");
            assert_eq!(
                matches!(error, ModelError::Unauthorised { .. }),
                matches!(status, 401 | 403),
                "{error:?}"
            );
            let shown = format!("{error} {error:?} {:?}", world.watcher.retries());
            assert!(shown.contains("****") && !shown.contains(KEY), "{provider} {status}: {shown}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_repeats_the_key_does_not_get_it_into_a_message() {
    for provider in PROVIDERS {
        let message = format!("busy with {KEY}");
        let server =
            Server::answering(move |_, _| Response::stream(failing(provider, "server_error", &message)))
                .await;
        let world = World::at(&server, provider);
        let error = world.ask(opening()).await.expect_err("fails");
        let shown = format!("{error:?} {:?}", world.watcher.retries());
        assert!(shown.contains("****") && !shown.contains(KEY), "{provider}: {shown}");
    }
}

#[tokio::test]
async fn no_cut_of_a_page_leaves_a_part_of_the_key() {
    for padding in [190, 990] {
        let page = format!("{}{KEY}", "x".repeat(padding));
        let html =
            Response { headers: vec![("content-type", "text/html".into())], ..Response::status(200, &page) };
        let server = Server::with([html]).await;
        let error = World::at(&server, "openai").ask(opening()).await.expect_err("fails").to_string();
        assert!(!error.contains(&KEY[..4]), "{error}");
    }
}

fn refusal(spec: &str, environment: &Environment) -> ConnectError {
    let spec = ModelSpec::parse(spec).expect("is a spec");
    let seal = gate(spec.provider().name(), vec![]).seal();
    connect(&spec, environment, Options::default(), seal).err().expect("is refused")
}

#[test]
fn a_missing_key_is_named() {
    for (spec, variable) in [
        ("openai/x", "OPENAI_API_KEY"),
        ("openai-chat/x", "OPENAI_API_KEY"),
        ("anthropic/x", "ANTHROPIC_API_KEY"),
    ] {
        let error = refusal(spec, &Environment::default());
        assert!(matches!(error, ConnectError::MissingKey { .. }), "{error}");
        assert!(error.to_string().contains(variable), "{error}");
    }
}

#[tokio::test]
async fn another_server_may_do_without_a_key() {
    for provider in PROVIDERS {
        let server = Server::with([Response::stream(saying(provider, "Done."))]).await;
        let environment = Environment {
            openai_base_url: Some(format!("{}/v1", server.origin)),
            anthropic_base_url: Some(server.origin.clone()),
            ..Environment::default()
        };
        World::new(&format!("{provider}/x"), &environment, options()).ask(opening()).await.expect("replies");
        let request = &server.requests()[0];
        assert_eq!(
            (request.header("authorization"), request.header("x-api-key")),
            (None, None),
            "{provider}"
        );
    }
}

#[tokio::test]
async fn a_server_that_wants_a_key_after_all_is_told_from_one_that_wants_another() {
    let server = Server::with([Response::status(401, r#"{"error":"unauthorised"}"#)]).await;
    let environment =
        Environment { anthropic_base_url: Some(server.origin.clone()), ..Environment::default() };
    let error = World::new("anthropic/x", &environment, options()).ask(opening()).await.expect_err("fails");
    assert!(error.to_string().ends_with("unauthorised (no key was sent: none is set)"), "{error}");
}

#[test]
fn a_key_leaves_in_clear_text_only_where_it_may() {
    let environment = |key_over_http| Environment {
        openai_api_key: Some(Secret::new(KEY)),
        openai_base_url: Some("http://models.example.org/v1".into()),
        key_over_http,
        ..Environment::default()
    };
    let error = refusal("openai-chat/x", &environment(false));
    assert!(matches!(error, ConnectError::KeyOverHttp { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains(KEY));
    World::new("openai-chat/x", &environment(true), Options::default());
    let keyless = Environment { openai_api_key: None, ..environment(false) };
    World::new("openai-chat/x", &keyless, Options::default());
}

#[test]
fn what_cannot_be_a_key_or_a_base_url_is_refused() {
    let environment =
        Environment { openai_api_key: Some(Secret::new("sk-1\nx: y")), ..Environment::default() };
    let error = refusal("openai/x", &environment);
    assert!(matches!(error, ConnectError::Key("OPENAI_API_KEY")), "{error}");
    let environment = Environment {
        anthropic_base_url: Some("https://user:pa55@example.org".into()),
        ..Environment::default()
    };
    let error = refusal("anthropic/x", &environment);
    assert!(matches!(error, ConnectError::BaseUrl { variable: "ANTHROPIC_BASE_URL", .. }), "{error}");
    assert!(!error.to_string().contains("pa55"), "{error}");
}

#[test]
fn a_script_that_is_not_there_is_named() {
    let error = refusal("scripted:no/such/file.json", &Environment::default()).to_string();
    assert!(error.starts_with("the script no/such/file.json cannot be used"), "{error}");
}
