//! Why a request could not be served: the step and the kernel's error number.

use std::os::fd::OwnedFd;

use crate::descriptors;
use crate::protocol::{Event, Step};

/// A step that failed; it travels to the host as [`crate::protocol::Event::Failed`].
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) errno: i32,
}

impl Failure {
    pub(crate) fn at(step: Step) -> impl FnOnce(std::io::Error) -> Self {
        // The standard library refuses arguments with a NUL byte before the kernel sees them: no number then.
        move |error| Self { step, errno: error.raw_os_error().unwrap_or(libc::EINVAL) }
    }

    /// Tells the host. It may have let go of the channel already: then nobody wants to know.
    pub(crate) fn report(&self, channel: &OwnedFd) {
        let Self { step, errno } = *self;
        let _ = descriptors::send(channel, &Event::Failed { step, errno }.encode(), &[]);
    }

    pub(crate) fn errno_at(step: Step) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self { step, errno: errno.raw_os_error() }
    }
}
