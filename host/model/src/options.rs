//! How a model is asked.

use std::str::FromStr;
use std::time::Duration;

/// How a model is asked.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How much the model should reason. None leaves it to the provider.
    pub reasoning_effort: Option<ReasoningEffort>,
    /// Most tokens of a reply. A request that asks for more is lowered to it.
    pub max_output_tokens: Option<u32>,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// When to try again.
    pub retries: Retries,
}

/// How much a model should reason. Not every model takes every level; the
/// provider then refuses the request and says which it takes.
///
/// `openai` and `openai-chat` are sent the name as it is. `anthropic` is sent
/// `output_config.effort` with adaptive thinking, `minimal` as `low`, and
/// `none` as thinking switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the levels, by their names in the wire APIs")]
pub enum ReasoningEffort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

impl ReasoningEffort {
    /// All levels, from the least to the most.
    pub const ALL: [Self; 7] =
        [Self::None, Self::Minimal, Self::Low, Self::Medium, Self::High, Self::XHigh, Self::Max];

    /// The level's name, as in settings and in the wire APIs.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }
}

/// A text names no level of effort.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no reasoning effort named `{0}`: there are none, minimal, low, medium, high, xhigh and max")]
pub struct UnknownEffort(String);

impl FromStr for ReasoningEffort {
    type Err = UnknownEffort;

    fn from_str(text: &str) -> Result<Self, UnknownEffort> {
        Self::ALL
            .into_iter()
            .find(|level| level.name() == text)
            .ok_or_else(|| UnknownEffort(sortie_core::text::one_line(text, 40)))
    }
}

/// How long to wait for a server. Each ends an attempt, which is then made again.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// For the connection; 20 seconds.
    pub connect: Duration,
    /// From there to the head of the response; 10 minutes, because servers
    /// with one small GPU read a long conversation before they answer.
    pub head: Duration,
    /// Between two pieces of the stream; 5 minutes, because models that
    /// reason are silent for long.
    pub idle: Duration,
    /// For the whole attempt; an hour. It ends streams that never end but
    /// are never idle either.
    pub attempt: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            head: Duration::from_secs(600),
            idle: Duration::from_secs(300),
            attempt: Duration::from_secs(3600),
        }
    }
}

/// When and how often to try again: after 408, 409, 429 and 5xx, failed
/// connections, and streams that break.
///
/// The wait doubles from `first_wait` to `longest_wait`, less up to half of
/// it by chance, so that many tasks do not come back at once. `retry-after-ms`
/// and `Retry-After` (seconds or a date) replace it.
#[derive(Clone, Debug)]
pub struct Retries {
    /// Attempts in all; 6. 0 counts as 1.
    pub attempts: u32,
    /// Wait before the second attempt; 0.5 seconds.
    pub first_wait: Duration,
    /// Longest wait of our own choice; 30 seconds.
    pub longest_wait: Duration,
    /// Longest wait that a server may ask for; 5 minutes. What it asks for
    /// beyond is lowered to it.
    pub longest_retry_after: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(30),
            longest_retry_after: Duration::from_secs(300),
        }
    }
}
