//! How calls fail, and what is said of it: few words for the model, the rest
//! for the log.

use std::fmt::{self, Write as _};

use sortie_core::text::{clip, one_line, strip_escapes};
use sortie_policy::Refusal;
use sortie_policy::ports::{ErrorCode, PortError};
use wasmtime::Trap;
use wasmtime::component::ResourceTableError;
use wasmtime_wasi::I32Exit;

use crate::bindings::host::types;
use crate::limits::{LimitReached, MESSAGE};

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("it ran longer than its {0} ms")]
    Time(u128),
    #[error("the task was cancelled")]
    Cancelled,
    #[error("{0}")]
    Limit(LimitReached),
    #[error("it panicked or aborted")]
    Panicked,
    #[error("it recursed too deeply")]
    Stack,
    #[error("it accessed memory out of bounds, or recursed too deeply")]
    Memory,
    #[error("it trapped: {0}")]
    Trapped(String),
    #[error("it exited with status {0} instead of answering")]
    Exited(i32),
    #[error("it passed more than 16 MiB at once")]
    Passed,
    #[error("it opened too many handles")]
    Handles,
    #[error("the host is out of instances")]
    Crowded,
    #[error("it answered what the interface does not know: {0}")]
    Malformed(String),
}

impl Failure {
    /// What an error of wasmtime means.
    pub(crate) fn of(error: &wasmtime::Error) -> Self {
        if let Some(limit) = error.downcast_ref::<LimitReached>() {
            return Self::Limit(*limit);
        }
        if let Some(exit) = error.downcast_ref::<I32Exit>() {
            return Self::Exited(exit.0);
        }
        if error.downcast_ref::<wasmtime::PoolConcurrencyLimitError>().is_some() {
            return Self::Crowded;
        }
        if matches!(error.downcast_ref::<ResourceTableError>(), Some(ResourceTableError::Full)) {
            return Self::Handles;
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::UnreachableCodeReached) => Self::Panicked,
            Some(Trap::StackOverflow) => Self::Stack,
            Some(Trap::MemoryOutOfBounds) => Self::Memory,
            Some(trap) => Self::Trapped(trap.to_string().trim_start_matches("wasm trap: ").to_owned()),
            None => Self::of_text(&error.root_cause().to_string()),
        }
    }

    /// wasmtime has no types for these.
    fn of_text(text: &str) -> Self {
        if text.contains("fuel allocated for hostcalls") {
            Self::Passed
        } else if text.contains("handle limit exceeded") {
            Self::Handles
        } else {
            Self::Malformed(one_line(text, 300))
        }
    }

    /// The code under which a port reports it.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Time(_) => ErrorCode::Timeout,
            Self::Cancelled => ErrorCode::Cancelled,
            Self::Crowded => ErrorCode::Unavailable,
            Self::Passed => ErrorCode::TooLarge,
            _ => ErrorCode::Internal,
        }
    }
}

/// Why a host function gave no result: an error for the guest to handle, or
/// the end of its call.
#[derive(Debug)]
pub(crate) enum HostError {
    Port(PortError),
    Trap(wasmtime::Error),
}

impl From<PortError> for HostError {
    fn from(error: PortError) -> Self {
        Self::Port(error)
    }
}

impl From<Refusal> for HostError {
    fn from(refusal: Refusal) -> Self {
        Self::Port(refusal.into())
    }
}

impl From<ResourceTableError> for HostError {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

/// An error for the guest.
pub(crate) fn to_guest(error: PortError) -> types::Error {
    let code = match error.code {
        ErrorCode::Denied => types::ErrorCode::Denied,
        ErrorCode::Invalid => types::ErrorCode::Invalid,
        ErrorCode::NotFound => types::ErrorCode::NotFound,
        ErrorCode::Conflict => types::ErrorCode::Conflict,
        ErrorCode::TooLarge => types::ErrorCode::TooLarge,
        ErrorCode::Timeout => types::ErrorCode::Timeout,
        ErrorCode::Cancelled => types::ErrorCode::Cancelled,
        ErrorCode::Unavailable => types::ErrorCode::Unavailable,
        ErrorCode::Internal => types::ErrorCode::Internal,
    };
    types::Error { code, message: words(&error.message), rule: error.rule.map(|rule| one_line(&rule, 200)) }
}

/// An error from the guest.
pub(crate) fn from_guest(error: types::Error) -> PortError {
    let code = match error.code {
        types::ErrorCode::Denied => ErrorCode::Denied,
        types::ErrorCode::Invalid => ErrorCode::Invalid,
        types::ErrorCode::NotFound => ErrorCode::NotFound,
        types::ErrorCode::Conflict => ErrorCode::Conflict,
        types::ErrorCode::TooLarge => ErrorCode::TooLarge,
        types::ErrorCode::Timeout => ErrorCode::Timeout,
        types::ErrorCode::Cancelled => ErrorCode::Cancelled,
        types::ErrorCode::Unavailable => ErrorCode::Unavailable,
        types::ErrorCode::Internal => ErrorCode::Internal,
    };
    PortError { code, message: words(&error.message), rule: error.rule.map(|rule| one_line(&rule, 200)) }
}

/// Bytes of an error with its backtrace.
const EXPLAINED: usize = 64 << 10;

/// The error in full, for the plugin's author. Cut: the names in a backtrace
/// are the guest's, and as long as it likes.
pub(crate) fn explain(error: &wasmtime::Error) -> String {
    struct Bounded(String);
    impl fmt::Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let fits = text.floor_char_boundary(EXPLAINED - self.0.len());
            self.0.push_str(&text[..fits]);
            if fits == text.len() { Ok(()) } else { Err(fmt::Error) }
        }
    }
    let mut text = Bounded(String::new());
    // an error says that the bound was reached
    let _ = write!(text, "{error:?}");
    text.0
}

/// A message, bounded and safe to print.
pub(crate) fn words(text: &str) -> String {
    strip_escapes(clip(text, MESSAGE).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_explained_up_to_a_bound() {
        assert!(explain(&wasmtime::Error::msg("short")).contains("short"));
        let long = wasmtime::Error::msg("é".repeat(EXPLAINED)).context("outer");
        let text = explain(&long);
        assert!(
            text.contains("outer") && (EXPLAINED - 1..=EXPLAINED).contains(&text.len()),
            "{}",
            text.len()
        );
    }
}
