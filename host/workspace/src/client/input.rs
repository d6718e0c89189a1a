//! Standard input of a command.

use std::io;
use std::os::fd::OwnedFd;

use rustix::termios::{Winsize, tcsetwinsize};
use sortie_init::protocol::Window;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::watch::watch;

/// What a terminal takes for the end of input at the start of a line.
const END_OF_TRANSMISSION: u8 = 4;

/// The writing end of a pipe, or a terminal.
#[derive(Debug)]
pub(super) struct Input {
    stream: AsyncFd<OwnedFd>,
    terminal: bool,
}

impl Input {
    pub(super) fn pipe(stream: OwnedFd) -> io::Result<Self> {
        Self::new(stream, false)
    }

    pub(super) fn terminal(stream: OwnedFd) -> io::Result<Self> {
        Self::new(stream, true)
    }

    fn new(stream: OwnedFd, terminal: bool) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&stream, true)?;
        Ok(Self { stream: watch(stream, Interest::WRITABLE)?, terminal })
    }

    /// Writes a part and returns how much. Cancel-safe: nothing was written if it did not return.
    pub(super) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let write = |stream: &OwnedFd| {
            rustix::io::retry_on_intr(|| rustix::io::write(stream, bytes)).map_err(io::Error::from)
        };
        self.stream.async_io(Interest::WRITABLE, write).await
    }

    /// Tells a terminal its size; anything else is none.
    pub(super) fn resize(&self, Window { rows, columns }: Window) -> io::Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(self.stream.get_ref(), size)?)
    }

    /// Ends the input. A terminal stays open for output, so it gets the character instead.
    pub(super) async fn close(self) -> io::Result<()> {
        if self.terminal {
            self.write(&[END_OF_TRANSMISSION]).await?;
        }
        Ok(())
    }
}
