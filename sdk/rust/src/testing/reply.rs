//! What a pretended command does.

use std::collections::VecDeque;

use crate::Error;
use crate::exec::{Chunk, Ended, Exit};

/// What a pretended command does: its output, piece by piece, and its end.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) chunks: VecDeque<Chunk>,
    pub(super) end: Option<Ended>,
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
        let end = Ended { exit: Exit::Code(0), dropped: 0 };
        Self { chunks: VecDeque::new(), end: Some(end), error: None }
    }

    /// A command that does not start.
    pub fn fails(error: Error) -> Self {
        Self { error: Some(error), ..Self::new() }
    }

    /// Adds standard output.
    #[must_use]
    pub fn stdout(mut self, data: impl AsRef<[u8]>) -> Self {
        self.chunks.push_back(Chunk::Stdout(data.as_ref().to_vec()));
        self
    }

    /// Adds standard error.
    #[must_use]
    pub fn stderr(mut self, data: impl AsRef<[u8]>) -> Self {
        self.chunks.push_back(Chunk::Stderr(data.as_ref().to_vec()));
        self
    }

    /// Sets how it ends.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.end = Some(Ended { exit, dropped: self.end.map_or(0, |end| end.dropped) });
        self
    }

    /// Sets how many bytes of output the host dropped.
    #[must_use]
    pub fn dropped(mut self, bytes: u64) -> Self {
        let exit = self.end.map_or(Exit::Code(0), |end| end.exit);
        self.end = Some(Ended { exit, dropped: bytes });
        self
    }

    /// A command that runs until it is killed.
    #[must_use]
    pub fn never_ends(mut self) -> Self {
        self.end = None;
        self
    }
}
