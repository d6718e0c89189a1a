//! What a command printed and how it ended.

use crate::text::clean;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By itself, with this status.
    Code(u8),
    /// By this signal.
    Signal(u8),
    /// It was killed when its time ran out.
    TimedOut,
}

/// A command that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Standard output, cleaned.
    pub(crate) stdout: String,
    /// Standard error, cleaned.
    pub(crate) stderr: String,
    /// Both, in the order of arrival.
    pub(crate) both: String,
    /// How it ended.
    pub(crate) ending: Ending,
    /// Bytes that were dropped at the end, beyond the bound.
    pub(crate) dropped: u64,
    /// Limits that were reached meanwhile, with their values; that of the output is in `dropped`.
    pub(crate) limits: Vec<String>,
}

impl Run {
    /// From the pieces of output as they came: whether from standard error, and the bytes.
    pub(crate) fn new(pieces: &[(bool, Vec<u8>)], ending: Ending, dropped: u64) -> Self {
        let join = |wanted: &dyn Fn(bool) -> bool| {
            let chosen = pieces.iter().filter(|(is_stderr, _)| wanted(*is_stderr));
            clean(&chosen.flat_map(|(_, bytes)| bytes.iter().copied()).collect::<Vec<_>>())
        };
        Self {
            stdout: join(&|is_stderr| !is_stderr),
            stderr: join(&|is_stderr| is_stderr),
            both: join(&|_| true),
            ending,
            dropped,
            limits: Vec::new(),
        }
    }

    /// Whether it ended with status 0.
    pub(crate) fn succeeded(&self) -> bool {
        self.ending == Ending::Code(0)
    }
}

#[cfg(test)]
pub(crate) fn finished(stdout: &str, stderr: &str, code: u8) -> Run {
    Run::new(&[(false, stdout.into()), (true, stderr.into())], Ending::Code(code), 0)
}
