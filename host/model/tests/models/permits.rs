//! A model does what the permit says and nothing else.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use sortie_core::action::ModelRequest;
use sortie_core::{Actor, Decision, Verdict};
use sortie_model::Options;
use sortie_policy::ports::{Model, ModelError};
use sortie_policy::{Evaluator, Fault, PolicyEvent};

use crate::server::{Response, Server};
use crate::transcripts::{PROVIDERS, saying};
use crate::world::{World, environment, gate, link, opening, options};

async fn refused(world: &World, gate: &sortie_policy::Gate, request: ModelRequest) {
    let permit = gate.permit(&Actor::Agent, request).await.expect("is allowed");
    let error = world.model.respond(permit, &world.watcher).await.expect_err("is refused");
    assert!(matches!(error, ModelError::Permit(_)), "{error}");
}

fn request(model: &dyn Model) -> ModelRequest {
    ModelRequest {
        provider: model.provider().into(),
        model: model.name().into(),
        endpoint: model.endpoint().into(),
        max_output_tokens: 1000,
        conversation: Arc::new(opening()),
    }
}

#[tokio::test]
async fn a_permit_for_anything_else_sends_nothing() {
    for provider in PROVIDERS {
        let server = Server::with([]).await;
        let world = World::at(&server, provider);
        let own = || request(world.model.as_ref());
        refused(&world, &gate(provider, vec![]), own()).await;
        refused(&world, &world.gate, ModelRequest { endpoint: "https://example.org".into(), ..own() }).await;
        assert_eq!(server.requests().len(), 0, "{provider}");
    }
    // nor does one of its own gate for another provider, which a policy allows
    let server = Server::with([]).await;
    let links = vec![sortie_testing::allowing()];
    let world = World::with_policies("openai/test-model", &environment(&server), options(), links);
    let own = request(world.model.as_ref());
    refused(&world, &world.gate, ModelRequest { provider: "openai-chat".into(), ..own }).await;
    assert_eq!(server.requests().len(), 0);
}

struct Cheaper;

#[async_trait]
impl Evaluator for Cheaper {
    async fn evaluate(&self, event: &PolicyEvent) -> Result<Verdict, Fault> {
        let mut details = event.action.details.clone();
        if details["model"] == "cheap-model" {
            return Ok(Verdict::of(Decision::Abstain));
        }
        details["model"] = json!("cheap-model");
        details["max_output_tokens"] = json!(10);
        Ok(Verdict::of(Decision::Transform(details)))
    }
}

#[tokio::test]
async fn what_a_policy_made_of_the_request_is_what_is_sent() {
    for provider in PROVIDERS {
        let server = Server::with([Response::stream(saying(provider, "Done."))]).await;
        let spec = format!("{provider}/dear-model");
        let world =
            World::with_policies(&spec, &environment(&server), options(), vec![link(Arc::new(Cheaper))]);
        world.ask(opening()).await.expect("replies");
        let body = &server.requests()[0].body;
        assert_eq!(body["model"], "cheap-model", "{provider}");
        let bounds =
            ["max_output_tokens", "max_tokens"].map(|key| body.get(key).and_then(serde_json::Value::as_u64));
        assert!(bounds.contains(&Some(10)), "{provider}: {body}");
    }
}

#[tokio::test]
async fn the_bound_of_the_options_lowers_the_request() {
    let server = Server::with([Response::stream(saying("anthropic", "Done."))]).await;
    let world = World::at_with(&server, "anthropic", Options { max_output_tokens: Some(64), ..options() });
    world.ask(opening()).await.expect("replies");
    assert_eq!(server.requests()[0].body["max_tokens"], 64);
}
