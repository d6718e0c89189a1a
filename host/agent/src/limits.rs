//! Budgets of a task.

use std::time::Duration;

/// What a task may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Model replies.
    pub turns: u32,
    /// Tokens sent and received, together.
    pub tokens: u64,
    /// Wall time of the work phase.
    pub time: Duration,
    /// Wall time of one tool call.
    pub call: Duration,
    /// How long a command of set-up may go without output; none for as long
    /// as it runs.
    pub setup_idle: Option<Duration>,
    /// Tokens of one reply.
    pub reply_tokens: u32,
    /// Characters of one tool result that the model sees; the whole is kept.
    pub shown: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            turns: 200,
            tokens: 10_000_000,
            time: Duration::from_secs(2 * 60 * 60),
            call: Duration::from_secs(10 * 60),
            setup_idle: Some(Duration::from_secs(10 * 60)),
            reply_tokens: 16_384,
            shown: crate::DEFAULT_SHOWN,
        }
    }
}
