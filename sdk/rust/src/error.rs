//! Failures, of the host and of plugins.

use crate::bindings::host::sortie::host::types;

/// What kind of failure it is. Closed: code may match on it.
pub use crate::bindings::host::sortie::host::types::ErrorCode;

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure: of a host call, or of a tool towards its host.
///
/// The message is for the model and the user: it says what failed and what
/// would help, in one or two sentences.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind of failure this is.
    pub code: ErrorCode,
    /// What failed and what would help.
    pub message: String,
    /// For [`ErrorCode::Denied`]: the rule that denied, as `policy/rule`.
    pub rule: Option<String>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $code:ident),* $(,)?) => {
        $($(#[$doc])*
        pub fn $name(message: impl Into<String>) -> Self {
            Self { code: ErrorCode::$code, message: message.into(), rule: None }
        })*
    };
}

impl Error {
    constructors! {
        /// A policy, a grant or a rule does not permit this.
        denied => Denied,
        /// An argument is malformed or out of its bounds.
        invalid => Invalid,
        /// What was named does not exist.
        not_found => NotFound,
        /// What was found is not what was expected.
        conflict => Conflict,
        /// An input or a result exceeds its bound.
        too_large => TooLarge,
        /// The time given for this ran out.
        timeout => Timeout,
        /// The task was cancelled.
        cancelled => Cancelled,
        /// Something needed for this is not there now.
        unavailable => Unavailable,
        /// A fault of the plugin itself.
        internal => Internal,
    }

    /// The same failure, with what was being done in front of its message.
    #[must_use]
    pub fn context(mut self, doing: impl std::fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }
}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Self {
        Self { code: error.code, message: error.message, rule: error.rule }
    }
}

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        Self { code: error.code, message: error.message, rule: error.rule }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<std::fmt::Error> for Error {
    fn from(error: std::fmt::Error) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<std::str::Utf8Error> for Error {
    fn from(error: std::str::Utf8Error) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<std::string::FromUtf8Error> for Error {
    fn from(error: std::string::FromUtf8Error) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<std::num::ParseIntError> for Error {
    fn from(error: std::num::ParseIntError) -> Self {
        Self::invalid(error.to_string())
    }
}
