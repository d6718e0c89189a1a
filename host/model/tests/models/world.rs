//! A gate that allows, an observer that remembers, a model to ask.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use sortie_core::action::ModelRequest;
use sortie_core::conversation::{Conversation, Message, Reply, ToolSpec};
use sortie_core::{Actor, Secret};
use sortie_model::{Environment, ModelSpec, Options, Retries, connect};
use sortie_policy::ports::{Model, ModelError, ReplyObserver};
use sortie_policy::{Defaults, Gate, Link, Permit};

use crate::server::Server;

/// The key that requests carry, and that no message may hold.
pub(crate) const KEY: &str = "sk-test-4f1e0c9a7b35";

/// A gate that allows requests to this provider.
pub(crate) fn gate(provider: &str, links: Vec<Link>) -> Gate {
    sortie_testing::gate(links, Defaults { provider: provider.into(), ..sortie_testing::defaults() })
}

/// Remembers what it was told.
#[derive(Debug, Default)]
pub(crate) struct Watcher {
    pub(crate) text: Mutex<String>,
    pub(crate) retries: Mutex<Vec<(String, Duration)>>,
}

impl Watcher {
    pub(crate) fn text(&self) -> String {
        self.text.lock().expect("is not poisoned").clone()
    }

    pub(crate) fn retries(&self) -> Vec<(String, Duration)> {
        self.retries.lock().expect("is not poisoned").clone()
    }
}

impl ReplyObserver for Watcher {
    fn delta(&self, text: &str) {
        self.text.lock().expect("is not poisoned").push_str(text);
    }

    fn retry(&self, reason: &str, wait: Duration) {
        self.text.lock().expect("is not poisoned").clear();
        self.retries.lock().expect("is not poisoned").push((reason.to_owned(), wait));
    }
}

/// A model and the gate whose permits it takes.
pub(crate) struct World {
    pub(crate) gate: Gate,
    pub(crate) model: Arc<dyn Model>,
    pub(crate) watcher: Watcher,
}

impl World {
    pub(crate) fn new(spec: &str, environment: &Environment, options: Options) -> Self {
        Self::with_policies(spec, environment, options, vec![])
    }

    pub(crate) fn with_policies(
        spec: &str,
        environment: &Environment,
        options: Options,
        links: Vec<Link>,
    ) -> Self {
        let spec = ModelSpec::parse(spec).expect("is a spec");
        let gate = gate(spec.provider().name(), links);
        let model = connect(&spec, environment, options, gate.seal()).expect("connects");
        Self { gate, model, watcher: Watcher::default() }
    }

    /// The model of a provider at a server.
    pub(crate) fn at(server: &Server, provider: &str) -> Self {
        Self::at_with(server, provider, options())
    }

    pub(crate) fn at_with(server: &Server, provider: &str, options: Options) -> Self {
        Self::new(&format!("{provider}/test-model"), &environment(server), options)
    }

    pub(crate) async fn permit(&self, conversation: Conversation) -> Permit<ModelRequest> {
        let request = ModelRequest {
            provider: self.model.provider().into(),
            model: self.model.name().into(),
            endpoint: self.model.endpoint().into(),
            max_output_tokens: 1000,
            conversation: Arc::new(conversation),
        };
        self.gate.permit(&Actor::Agent, request).await.expect("is allowed")
    }

    pub(crate) async fn ask(&self, conversation: Conversation) -> Result<Reply, ModelError> {
        self.model.respond(self.permit(conversation).await, &self.watcher).await
    }
}

/// Both vendors' variables for one server.
pub(crate) fn environment(server: &Server) -> Environment {
    Environment {
        openai_api_key: Some(Secret::new(KEY)),
        openai_base_url: Some(format!("{}/v1", server.origin)),
        anthropic_api_key: Some(Secret::new(KEY)),
        anthropic_base_url: Some(server.origin.clone()),
        key_over_http: false,
    }
}

/// Three attempts, without waits to speak of.
pub(crate) fn options() -> Options {
    let retries = Retries { attempts: 3, first_wait: Duration::from_millis(1), ..Retries::default() };
    Options { retries, ..Options::default() }
}

/// One attempt.
pub(crate) fn once() -> Options {
    Options { retries: Retries { attempts: 1, ..Retries::default() }, ..Options::default() }
}

/// A conversation that begins.
pub(crate) fn opening() -> Conversation {
    let schema = json!({ "type": "object", "properties": { "command": { "type": "string" } } });
    Conversation {
        system: "You mend programs.".into(),
        messages: vec![Message::User { text: "Mend it.".into() }],
        tools: vec![
            ToolSpec {
                name: "look".into(),
                description: "Looks.".into(),
                input_schema: json!({ "type": "object" }),
            },
            ToolSpec { name: "shell".into(), description: "Runs.".into(), input_schema: schema },
        ],
    }
}

/// Subscribes a policy to model requests.
pub(crate) fn link(evaluator: Arc<dyn sortie_policy::Evaluator>) -> Link {
    Link {
        id: "test".into(),
        layer: sortie_policy::Layer::Organisation,
        priority: 0,
        subscribes: BTreeSet::from([sortie_core::ActionKind::ModelRequest]),
        mutates: true,
        evaluator,
    }
}
