//! A pseudo-terminal for one command.

use std::os::fd::OwnedFd;

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::protocol::Window;

/// The two ends of a terminal.
pub(crate) struct Terminal {
    /// Goes to the host.
    pub(crate) controller: OwnedFd,
    /// Becomes the command's three streams.
    pub(crate) user: OwnedFd,
}

impl Terminal {
    /// Makes one in the workspace's own `devpts`.
    pub(crate) fn open(window: Window) -> rustix::io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let controller = openpt(flags)?;
        unlockpt(&controller)?;
        // By descriptor: no path that could name another terminal.
        let user = ioctl_tiocgptpeer(&controller, flags)?;
        let size = Winsize { ws_row: window.rows, ws_col: window.columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&user, size)?;
        Ok(Self { controller, user })
    }
}
