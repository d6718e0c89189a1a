//! What a pretended command does.

use std::collections::VecDeque;

use crate::Error;
use crate::exec::{Chunk, Ended, Exit, Limit};

/// What a pretended command does: its output, piece by piece, and its end.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Output; none where a wait passes without any.
    pub(super) chunks: VecDeque<Option<Chunk>>,
    pub(super) end: Option<Ended>,
    /// Whether the end was read.
    pub(super) read: bool,
    pub(super) stubborn: bool,
    pub(super) error: Option<Error>,
}

impl Default for Reply {
    fn default() -> Self {
        Self::new()
    }
}

impl Reply {
    /// A command that says nothing and ends with status 0.
    pub fn new() -> Self {
        Self {
            chunks: VecDeque::new(),
            end: Some(ended(Exit::Code(0))),
            read: false,
            stubborn: false,
            error: None,
        }
    }

    /// A command that does not start.
    pub fn fails(error: Error) -> Self {
        Self { error: Some(error), ..Self::new() }
    }

    /// Adds standard output.
    #[must_use]
    pub fn stdout(mut self, data: impl AsRef<[u8]>) -> Self {
        self.chunks.push_back(Some(Chunk::Stdout(data.as_ref().to_vec())));
        self
    }

    /// Adds standard error.
    #[must_use]
    pub fn stderr(mut self, data: impl AsRef<[u8]>) -> Self {
        self.chunks.push_back(Some(Chunk::Stderr(data.as_ref().to_vec())));
        self
    }

    /// Sets how it ends.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.end = Some(Ended { exit, ..self.end.unwrap_or(ended(exit)) });
        self
    }

    /// Sets how many bytes of output the host dropped.
    #[must_use]
    pub fn dropped(mut self, bytes: u64) -> Self {
        self.end = Some(Ended { dropped: bytes, ..self.end.unwrap_or(ended(Exit::Code(0))) });
        self
    }

    /// Adds a limit that the end names.
    #[must_use]
    pub fn limit(mut self, name: &str, value: u64) -> Self {
        let end = self.end.get_or_insert(ended(Exit::Code(0)));
        end.limits.push(Limit { name: name.into(), value });
        self
    }

    /// Lets one wait pass without output.
    #[must_use]
    pub fn pause(mut self) -> Self {
        self.chunks.push_back(None);
        self
    }

    /// Leaves out bytes that nobody read in time.
    #[must_use]
    pub fn skipped(mut self, bytes: u64) -> Self {
        self.chunks.push_back(Some(Chunk::Skipped(bytes)));
        self
    }

    /// Makes it go on when it is asked to end; only a kill ends it.
    #[must_use]
    pub fn stubborn(mut self) -> Self {
        self.stubborn = true;
        self
    }

    /// A command that runs until it is killed, or asked to end.
    #[must_use]
    pub fn never_ends(mut self) -> Self {
        self.end = None;
        self
    }
}

pub(super) fn ended(exit: Exit) -> Ended {
    Ended { exit, dropped: 0, limits: Vec::new() }
}
