//! People who are asked.

use async_trait::async_trait;
use sortie_core::action::Action;

/// What a person is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The action, as it would happen.
    pub action: Action,
    /// SHA-256 of the action's kind, target and details: the answer is for it alone.
    pub digest: String,
    /// The policy that asks.
    pub policy: String,
    /// Its rule, if it named one.
    pub rule: Option<String>,
    /// Why it asks.
    pub reason: String,
}

/// What the person answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It may happen, this once.
    Approved,
    /// It may not; the text says why, or what would allow it.
    Denied(String),
}

/// Somebody who can be asked.
#[async_trait]
pub trait Approver: Send + Sync {
    /// Asks, and waits for the answer. Whoever cannot get one denies.
    async fn ask(&self, question: Question) -> Answer;
}

/// Nobody is there to be asked: everything is denied at once.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

#[async_trait]
impl Approver for Nobody {
    async fn ask(&self, _: Question) -> Answer {
        Answer::Denied("nobody is there to approve it: run the task on a terminal".into())
    }
}
