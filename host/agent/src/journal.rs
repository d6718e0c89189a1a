//! The journal, as the agent needs it.

use async_trait::async_trait;
use sortie_core::event::Event;

/// The journal could not be written. The task cannot go on: an effect without
/// its intent on disk would be lost by a crash.
#[derive(Debug, thiserror::Error)]
#[error("the journal could not be written: {0}")]
pub struct JournalError(pub String);

/// Where the task's events go, in order.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Adds an event and shows it to whoever watches. It is durable with the
    /// next [`Journal::commit`].
    fn append(&self, event: Event);

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// If the disk does not take it.
    async fn commit(&self) -> Result<(), JournalError>;

    /// Keeps bytes beside the journal and returns their digest.
    ///
    /// # Errors
    /// If the disk does not take them.
    async fn keep(&self, bytes: &[u8]) -> Result<String, JournalError>;

    /// Bytes that were kept; none if there are none of this digest.
    ///
    /// # Errors
    /// If the disk does not give them.
    async fn kept(&self, digest: &str) -> Result<Option<Vec<u8>>, JournalError>;
}
