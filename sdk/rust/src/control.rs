//! The state of the call that is running.

use std::time::Duration;

use crate::{Error, Result, backend};

/// Whether the task was cancelled. A tool that works long returns soon after
/// this turns true.
pub fn cancelled() -> bool {
    backend::control::cancelled()
}

/// How long until the host stops this call.
pub fn remaining() -> Duration {
    Duration::from_millis(backend::control::remaining_ms())
}

/// Ends work with `?` once the task was cancelled.
///
/// # Errors
/// [`Cancelled`](crate::ErrorCode::Cancelled) if it was.
pub fn check() -> Result<()> {
    if cancelled() { Err(Error::cancelled("the task was cancelled")) } else { Ok(()) }
}
