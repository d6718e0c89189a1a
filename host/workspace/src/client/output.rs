//! One output stream of a command, read without ever blocking.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::watch::watch;

/// The most bytes that one read gives.
pub(super) const CHUNK: usize = 64 << 10;

/// The reading end of a pipe, or a terminal.
#[derive(Debug)]
pub(super) struct Output {
    stream: AsyncFd<OwnedFd>,
}

/// What a read found.
pub(super) enum Read {
    /// These bytes, at least one.
    Bytes(Vec<u8>),
    /// Nothing at the moment.
    Nothing,
    /// Nobody holds the other end any more.
    End,
}

impl Output {
    pub(super) fn new(stream: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&stream, true)?;
        Ok(Self { stream: watch(stream, Interest::READABLE)? })
    }

    /// Waits until there are bytes or the end. Cancel-safe: bytes are taken and returned at one stroke.
    pub(super) async fn read(&self) -> Read {
        loop {
            let Ok(mut ready) = self.stream.readable().await else { return Read::End };
            match self.take(CHUNK) {
                Read::Nothing => ready.clear_ready(),
                read => return read,
            }
        }
    }

    /// Takes what is there now, `limit` bytes at most.
    pub(super) fn take(&self, limit: usize) -> Read {
        let mut buffer = Vec::with_capacity(limit.min(CHUNK));
        let result = rustix::io::retry_on_intr(|| {
            rustix::io::read(self.stream.get_ref(), rustix::buffer::spare_capacity(&mut buffer))
        });
        match result {
            Ok(0) => Read::End,
            Ok(_) => {
                // A few bytes must not keep room for many while they wait in a queue.
                buffer.shrink_to_fit();
                Read::Bytes(buffer)
            }
            Err(Errno::AGAIN) => Read::Nothing,
            // A terminal whose other end is closed answers EIO.
            Err(_) => Read::End,
        }
    }

    /// How many bytes are there now.
    pub(super) fn waiting(&self) -> u64 {
        rustix::io::ioctl_fionread(self.stream.get_ref()).unwrap_or(0)
    }
}
