//! The machine's clock: certificates, tokens and ages of what is kept depend on it.

use std::io;
use std::time::{Duration, SystemTime};

/// What is known of the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    /// What it shows.
    pub now: SystemTime,
    /// Whether the kernel is told by somebody that it is right; none if the kernel does not say.
    pub synchronised: Option<bool>,
    /// How far it may be off, if it is synchronised.
    pub error: Option<Duration>,
}

impl Clock {
    /// As the kernel tells it. Changes nothing.
    pub fn read() -> Self {
        let kernel = kernel().ok();
        let synchronised = kernel.as_ref().map(|kernel| kernel.status & libc::STA_UNSYNC == 0);
        let error = kernel.and_then(|kernel| u64::try_from(kernel.maxerror).ok()).map(Duration::from_micros);
        Self { now: SystemTime::now(), synchronised, error: error.filter(|_| synchronised == Some(true)) }
    }
}

fn kernel() -> io::Result<libc::timex> {
    #[expect(unsafe_code, reason = "rustix does not read the kernel's state of the clock")]
    // SAFETY: `timex` is plain data for which zeroes are valid; no mode is set, so the kernel writes to it and changes
    // nothing else.
    let (state, kernel) = unsafe {
        let mut kernel: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut kernel), kernel)
    };
    if state < 0 { Err(io::Error::last_os_error()) } else { Ok(kernel) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_nobody_synchronises_promises_nothing() {
        let clock = Clock::read();
        assert_eq!(clock.error.is_some(), clock.synchronised == Some(true));
    }
}
