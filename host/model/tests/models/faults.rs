//! Servers that fail, stall, overflow or are something else.

use std::time::Duration;

use serde_json::json;
use sortie_core::conversation::{Item, Message, StopReason};
use sortie_model::{Environment, Options, Retries, Timeouts};
use sortie_policy::ports::ModelError;

use crate::server::{End, Response, Server};
use crate::transcripts::{PROVIDERS, calling, failing, saying, silent, unnamed, worked, working};
use crate::world::{World, once, opening, options};

#[tokio::test]
async fn a_busy_server_is_asked_again_when_it_says() {
    for provider in PROVIDERS {
        let busy = Response::status(429, r#"{"error":{"message":"slow down"}}"#).header("retry-after", "0");
        let server = Server::with([busy, Response::stream(working(provider))]).await;
        let world = World::at(&server, provider);
        assert_eq!(world.ask(opening()).await.expect("replies"), worked(provider), "{provider}");
        assert_eq!(world.watcher.retries(), [("status 429: slow down".to_owned(), Duration::ZERO)]);
    }
}

#[tokio::test]
async fn a_server_cannot_ask_for_a_longer_wait_than_the_bound() {
    let bound = Duration::from_millis(2);
    let retries = Retries { longest_retry_after: bound, ..options().retries };
    let busy = Response::status(503, "").header("retry-after", "86400");
    let server = Server::with([busy, Response::stream(saying("openai", "Done."))]).await;
    let world = World::at_with(&server, "openai", Options { retries, ..Options::default() });
    world.ask(opening()).await.expect("replies");
    assert_eq!(world.watcher.retries()[0].1, bound);
}

#[tokio::test]
async fn a_server_that_keeps_failing_exhausts_the_attempts() {
    for provider in PROVIDERS {
        let server = Server::answering(|_, _| Response::status(500, r#"{"error":"out of order"}"#)).await;
        let world = World::at(&server, provider);
        let Err(ModelError::Exhausted { attempts: 3, message, .. }) = world.ask(opening()).await else {
            panic!("is exhausted");
        };
        assert_eq!(message, "status 500: out of order");
        assert_eq!((server.requests().len(), world.watcher.retries().len()), (3, 2));
    }
}

#[tokio::test]
async fn a_server_that_forbids_retries_is_not_asked_again() {
    let server = Server::with([Response::status(500, "no").header("x-should-retry", "false")]).await;
    let error = World::at(&server, "anthropic").ask(opening()).await.expect_err("fails");
    assert!(matches!(error, ModelError::Rejected { status: 500, .. }), "{error}");
}

#[tokio::test]
async fn a_refused_request_is_not_sent_again() {
    for provider in PROVIDERS {
        let body =
            json!({ "error": { "message": "maximum context length is 8192 tokens\u{1b}[2J" } }).to_string();
        let server = Server::with([Response::status(400, &body)]).await;
        let world = World::at(&server, provider);
        let Err(ModelError::Rejected { status: 400, message, .. }) = world.ask(opening()).await else {
            panic!("is rejected");
        };
        assert_eq!(message, "maximum context length is 8192 tokens");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn nobody_at_the_address_exhausts_the_attempts() {
    // bound, so that no other test is given the port, and nobody listens
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("loopback has ports");
    let origin = format!("http://{}", socket.local_addr().expect("it is bound"));
    let environment = Environment { openai_base_url: Some(origin.clone()), ..Environment::default() };
    let world = World::new("openai-chat/x", &environment, once());
    let error = world.ask(opening()).await.expect_err("fails");
    assert!(error.to_string().contains(&format!("{origin} does not answer")), "{error}");
}

#[tokio::test]
async fn malformed_arguments_reach_the_agent_as_they_are_and_the_server_as_an_object() {
    for provider in PROVIDERS {
        let malformed = "{\"command\": \"ls";
        let server = Server::with([
            Response::stream(calling(provider, "shell", malformed)),
            Response::stream(saying(provider, "Oh.")),
        ])
        .await;
        let world = World::at(&server, provider);
        let reply = world.ask(opening()).await.expect("replies");
        let [Item::ToolCall { id, arguments, .. }] = &reply.items[..] else { panic!("one call") };
        assert_eq!(arguments, malformed, "{provider}");
        let mut conversation = opening();
        let result = Message::ToolResult { call_id: id.clone(), content: "not JSON".into(), failed: true };
        conversation.messages.extend([Message::Assistant { items: reply.items.clone() }, result]);
        world.ask(conversation).await.expect("replies");
        assert!(server.requests()[1].body.to_string().contains("malformed_arguments"), "{provider}");
    }
}

#[tokio::test]
async fn an_empty_reply_is_given_as_it_is_and_left_out_of_what_follows() {
    for provider in PROVIDERS {
        let server =
            Server::with([Response::stream(silent(provider)), Response::stream(saying(provider, "Oh."))])
                .await;
        let world = World::at(&server, provider);
        let reply = world.ask(opening()).await.expect("replies");
        assert_eq!((reply.items.len(), reply.stop), (0, StopReason::Ended), "{provider}");
        assert!(reply.usage.input_tokens > 0, "usage is estimated where the server is silent");
        let mut conversation = opening();
        let go_on = Message::User { text: "Go on.".into() };
        conversation.messages.extend([Message::Assistant { items: vec![] }, go_on]);
        world.ask(conversation).await.expect("replies");
        assert!(!server.requests()[1].body.to_string().contains("assistant"), "{provider}");
    }
}

#[tokio::test]
async fn a_silent_stream_is_given_up() {
    for provider in PROVIDERS {
        let timeouts = Timeouts { idle: Duration::from_millis(100), ..Timeouts::default() };
        // more attempts than needed: on a busy machine a whole stream may seem silent too
        let retries = Retries { attempts: 20, ..options().retries };
        let server = Server::answering(move |number, _| {
            let stream = working(provider);
            let stalled = &stream.as_bytes()[..stream.len() / 2];
            if number == 0 { Response::stream(stalled).end(End::Hang) } else { Response::stream(&stream) }
        })
        .await;
        let world = World::at_with(&server, provider, Options { timeouts, retries, ..Options::default() });
        assert_eq!(world.ask(opening()).await.expect("replies"), worked(provider), "{provider}");
        assert!(world.watcher.retries()[0].0.contains("silent"), "{:?}", world.watcher.retries());
    }
}

#[tokio::test]
async fn a_stream_that_drips_for_ever_is_given_up() {
    let timeouts = Timeouts { attempt: Duration::from_millis(60), ..Timeouts::default() };
    let server = Server::with([Response::stream("").end(End::Drip)]).await;
    let world = World::at_with(&server, "openai-chat", Options { timeouts, ..once() });
    let error = world.ask(opening()).await.expect_err("fails");
    assert!(error.to_string().contains("not whole after"), "{error}");
}

#[tokio::test]
async fn a_line_without_end_is_refused() {
    let piece = vec![b'x'; 1 << 20];
    let server = Server::with([Response::stream("").pieces(vec![piece; 20])]).await;
    let error = World::at(&server, "anthropic").ask(opening()).await.expect_err("fails");
    assert!(
        matches!(&error, ModelError::Protocol { message, .. } if message.contains("longer than")),
        "{error}"
    );
}

#[tokio::test]
async fn a_reply_of_too_many_items_is_refused() {
    let call = |index| json!({ "index": index, "id": format!("c{index}"), "function": { "name": "x" } });
    let calls: Vec<_> = (0..2000).map(call).collect();
    let stream = unnamed(&[json!({ "choices": [{ "delta": { "tool_calls": calls } }] })]);
    let server = Server::with([Response::stream(stream)]).await;
    let error = World::at(&server, "openai-chat").ask(opening()).await.expect_err("fails");
    assert!(matches!(error, ModelError::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn an_error_within_a_stream_counts_like_a_status() {
    for provider in PROVIDERS {
        let passing = if provider == "anthropic" { "overloaded_error" } else { "server_error" };
        let server = Server::with([
            Response::stream(failing(provider, passing, "busy")),
            Response::stream(failing(provider, "invalid_request_error", "no such thing")),
        ])
        .await;
        let world = World::at(&server, provider);
        let error = world.ask(opening()).await.expect_err("is rejected in the end");
        assert!(
            matches!(&error, ModelError::Rejected { status: 400, message, .. } if message == "no such thing"),
            "{error}"
        );
        assert_eq!(world.watcher.retries()[0].0, "busy", "{provider}");
    }
}

#[tokio::test]
async fn a_failed_response_says_why() {
    let failed = json!({ "type": "response.failed", "response": { "error": { "code": "invalid_prompt", "message": "m" } } });
    let server = Server::with([Response::stream(format!("data: {failed}\n\n"))]).await;
    let error = World::at(&server, "openai").ask(opening()).await.expect_err("fails");
    assert!(matches!(error, ModelError::Rejected { status: 400, .. }), "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for provider in PROVIDERS {
        let elsewhere = Server::with([Response::stream(saying(provider, "Caught."))]).await;
        let location = format!("{}/v1/other?token=t0k3n", elsewhere.origin);
        let server = Server::with([Response::status(307, "").header("location", &location)]).await;
        let error = World::at(&server, provider).ask(opening()).await.expect_err("fails");
        assert!(matches!(error, ModelError::Rejected { status: 307, .. }), "{error}");
        assert!(
            error.to_string().contains(&elsewhere.origin) && !error.to_string().contains("t0k3n"),
            "{error}"
        );
        assert_eq!(elsewhere.requests().len(), 0);
    }
}

#[tokio::test]
async fn a_page_is_no_stream() {
    let page = |kind: &str, body: &str| Response {
        headers: vec![("content-type", kind.to_owned())],
        ..Response::status(200, body)
    };
    let server = Server::with([
        page("text/html", "<h1>Hello</h1>"),
        page("application/json", r#"{"error":{"message":"no such model","code":404}}"#),
    ])
    .await;
    let world = World::at(&server, "openai-chat");
    let error = world.ask(opening()).await.expect_err("fails");
    assert!(
        matches!(&error, ModelError::Protocol { message, .. } if message.contains("<h1>Hello")),
        "{error}"
    );
    let error = world.ask(opening()).await.expect_err("fails");
    assert!(matches!(error, ModelError::Rejected { status: 404, .. }), "{error}");
}

#[tokio::test]
async fn an_error_of_any_length_costs_a_short_message() {
    let server = Server::with([Response::status(400, "").pieces(vec![vec![b'x'; 1 << 16]; 64])]).await;
    let error = World::at(&server, "openai").ask(opening()).await.expect_err("fails");
    assert!(matches!(&error, ModelError::Rejected { message, .. } if message.len() < 1100), "{error}");
}

#[tokio::test]
async fn a_missing_resource_hints_at_the_base_url() {
    let server = Server::with([Response::status(404, "")]).await;
    let environment = Environment { openai_base_url: Some(server.origin.clone()), ..Environment::default() };
    let error = World::new("openai/x", &environment, once()).ask(opening()).await.expect_err("fails");
    assert!(error.to_string().ends_with("(the base URL usually ends in /v1)"), "{error}");
}
