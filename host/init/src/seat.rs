//! The one seat at the control socket.
//!
//! A keeper that has nothing to do takes the seat and waits for the next request, so that commands one after the
//! other are served by the same keeper without a fork in between. There is one seat: a keeper that finds it taken
//! ends. A keeper stays seated while its command is a short one; a request that comes meanwhile waits for as
//! long as that. When the command takes longer, the keeper rises, and process 1 forks another for the next
//! request.
//!
//! The seat is a byte in a pipe, which exactly one process can read. What moves is told through another pipe,
//! *before* the byte goes back: so process 1 hears of who rose before it hears of who sat down next.
//! If a keeper is killed with the byte in its hand and before it said so, the seat is lost: then each command
//! costs a fork more, and nothing else changes.

use std::os::fd::OwnedFd;

use rustix::io::Result;
use rustix::pipe::{PipeFlags, pipe_with};

/// Both pipes; a forked keeper has the same.
#[derive(Debug)]
pub(crate) struct Seat {
    free: [OwnedFd; 2],
    news: [OwnedFd; 2],
}

/// What a keeper did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    Sat,
    Rose,
}

impl Seat {
    /// A free seat.
    pub(crate) fn new() -> Result<Self> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map(<[OwnedFd; 2]>::from);
        let seat = Self { free: pipe()?, news: pipe()? };
        seat.vacate();
        Ok(seat)
    }

    /// Takes the seat, if it is free, and says so.
    pub(crate) fn take(&self) -> bool {
        let taken = rustix::io::read(&self.free[0], &mut [0]).is_ok_and(|count| count == 1);
        if taken {
            self.tell(Move::Sat);
        }
        taken
    }

    /// Says that this keeper has risen, and frees the seat if it was `seated` and not merely forked.
    pub(crate) fn rise(&self, seated: bool) {
        self.tell(Move::Rose);
        if seated {
            self.vacate();
        }
    }

    /// Frees the seat.
    pub(crate) fn vacate(&self) {
        // It holds one byte at most, so there is room.
        let _ = rustix::io::write(&self.free[1], b"s");
    }

    /// Where process 1 waits for news.
    pub(crate) fn news(&self) -> &OwnedFd {
        &self.news[0]
    }

    /// Takes up all news.
    pub(crate) fn hear(&self, mut each: impl FnMut(i32, Move)) {
        let mut record = [0; 4];
        // Four bytes are written and read at one stroke.
        while rustix::io::read(&self.news[0], &mut record).is_ok_and(|count| count == record.len()) {
            let number = i32::from_le_bytes(record);
            each(number.abs(), if number > 0 { Move::Sat } else { Move::Rose });
        }
    }

    fn tell(&self, what: Move) {
        let pid = rustix::process::getpid().as_raw_pid();
        let number = if what == Move::Sat { pid } else { -pid };
        // The pipe holds thousands, and process 1 empties it as they come.
        let _ = rustix::io::write(&self.news[1], &number.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sits_and_the_next_when_that_one_rose() {
        let seat = Seat::new().expect("pipes can be made");
        assert!(seat.take());
        assert!(!seat.take());
        seat.rise(true);
        assert!(seat.take());
        let mut moves = Vec::new();
        seat.hear(|pid, what| moves.push((pid, what)));
        let own = rustix::process::getpid().as_raw_pid();
        assert_eq!(moves, [(own, Move::Sat), (own, Move::Rose), (own, Move::Sat)]);
    }

    #[test]
    fn who_only_stood_by_frees_no_seat() {
        let seat = Seat::new().expect("pipes can be made");
        assert!(seat.take());
        seat.rise(false);
        assert!(!seat.take());
    }
}
