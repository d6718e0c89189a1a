//! Models.

use async_trait::async_trait;
use sortie_core::action::ModelRequest;
use sortie_core::conversation::Reply;

use crate::Permit;

/// One model at one provider.
#[async_trait]
pub trait Model: Send + Sync {
    /// The provider, such as `anthropic`.
    fn provider(&self) -> &str;

    /// The model's name there.
    fn name(&self) -> &str;

    /// Scheme, host and port that requests go to; `none` if there are none.
    fn endpoint(&self) -> &str;

    /// Asks for a reply and waits until it is whole. Transient failures are
    /// retried within. Cancel-safe: dropping the future ends the request.
    ///
    /// # Errors
    /// See [`ModelError`].
    async fn respond(
        &self,
        permit: Permit<ModelRequest>,
        observer: &dyn ReplyObserver,
    ) -> Result<Reply, ModelError>;
}

/// Who watches a reply arrive.
pub trait ReplyObserver: Send + Sync {
    /// A new piece of text for people. After a retry the text starts again.
    fn delta(&self, text: &str);

    /// The request failed and will be made again.
    fn retry(&self, reason: &str, wait: std::time::Duration);
}

/// Why there is no reply. Messages never hold a key.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The provider does not accept the key.
    #[error("{provider} does not accept the key: {message}")]
    Unauthorised {
        /// The provider.
        provider: String,
        /// What it says.
        message: String,
    },
    /// The provider refuses the request; sending it again would not help.
    #[error("{provider} refused the request with status {status}: {message}")]
    Rejected {
        /// The provider.
        provider: String,
        /// The HTTP status.
        status: u16,
        /// What it says.
        message: String,
    },
    /// It kept failing.
    #[error("{provider} failed {attempts} times, last: {message}")]
    Exhausted {
        /// The provider.
        provider: String,
        /// How often it was tried.
        attempts: u32,
        /// The last failure.
        message: String,
    },
    /// What it answers is not of its protocol.
    #[error("{provider} answered what its protocol does not know: {message}")]
    Protocol {
        /// The provider.
        provider: String,
        /// What was wrong.
        message: String,
    },
    /// The permit is of another gate, or for another model.
    #[error("the permit is not for this model: {0}")]
    Permit(String),
}
