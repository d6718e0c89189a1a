//! Requests to the model.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ActionKind, Effect};
use crate::conversation::Conversation;

/// The model is asked for a reply.
#[derive(Clone, Debug)]
pub struct ModelRequest {
    /// The provider, such as `anthropic`.
    pub provider: String,
    /// The model's name at that provider.
    pub model: String,
    /// Scheme, host and port that the request goes to; `none` for `scripted`.
    pub endpoint: String,
    /// Most tokens of the reply.
    pub max_output_tokens: u32,
    /// What is sent. Policies see its numbers; what it says they have seen
    /// already, as task and tool results.
    pub conversation: Arc<Conversation>,
}

#[derive(Serialize, Deserialize)]
struct ModelRequestDetails {
    provider: String,
    model: String,
    endpoint: String,
    max_output_tokens: u32,
    messages: usize,
    bytes: usize,
}

impl Effect for ModelRequest {
    const KIND: ActionKind = ActionKind::ModelRequest;

    fn target(&self) -> String {
        format!("{}/{}", self.provider, self.model)
    }

    fn details(&self) -> Value {
        json!(ModelRequestDetails {
            provider: self.provider.clone(),
            model: self.model.clone(),
            endpoint: self.endpoint.clone(),
            max_output_tokens: self.max_output_tokens,
            messages: self.conversation.messages.len(),
            bytes: self.conversation.bytes(),
        })
    }

    /// A policy may change the model and the length of the reply. Provider
    /// and endpoint are the operator's: a change of them is an error.
    fn with_details(&self, details: Value) -> Result<Self, serde_json::Error> {
        use serde::de::Error as _;
        let details: ModelRequestDetails = serde_json::from_value(details)?;
        if details.provider != self.provider || details.endpoint != self.endpoint {
            return Err(serde_json::Error::custom("provider and endpoint are fixed"));
        }
        Ok(Self { model: details.model, max_output_tokens: details.max_output_tokens, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_changes_the_model_and_never_where_the_request_goes() {
        let request = ModelRequest {
            provider: "openai".into(),
            model: "large".into(),
            endpoint: "https://a.example:443".into(),
            max_output_tokens: 100,
            conversation: Arc::default(),
        };
        let changed = |key: &str, value: Value| {
            let mut details = request.details();
            details[key] = value;
            request.with_details(details)
        };
        assert_eq!(changed("model", json!("small")).expect("may change").model, "small");
        assert_eq!(changed("max_output_tokens", json!(7)).expect("may change").max_output_tokens, 7);
        assert!(changed("provider", json!("other")).is_err());
        assert!(changed("endpoint", json!("https://b.example:443")).is_err());
    }
}
