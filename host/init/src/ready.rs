//! Who takes the next request, as far as process 1 knows.

use std::collections::HashSet;

use crate::seat::{Move, Seat};

/// The keeper that takes the next request, if there is one: it sits at the socket, or was forked for a request and
/// has not said otherwise.
#[derive(Debug, Default)]
pub(crate) struct Ready(Option<Taker>);

#[derive(Clone, Copy, Debug)]
struct Taker {
    pid: i32,
    seated: bool,
}

impl Ready {
    /// Its number.
    pub(crate) fn keeper(&self) -> Option<i32> {
        self.0.map(|taker| taker.pid)
    }

    /// Counts on a keeper that was just forked for a request.
    pub(crate) fn forked(&mut self, pid: i32) {
        self.0 = Some(Taker { pid, seated: false });
    }

    /// Takes up who sat down and who rose.
    ///
    /// A keeper that is killed as it sits down may be reaped before its word is heard. Nobody else would ever free
    /// the seat then, and whoever went on counting on it would leave each further request to nobody.
    pub(crate) fn hear(&mut self, seat: &Seat, keepers: &HashSet<i32>) {
        let mut gone = HashSet::new();
        seat.hear(|pid, what| match what {
            Move::Sat if keepers.contains(&pid) => self.0 = Some(Taker { pid, seated: true }),
            Move::Sat => drop(gone.insert(pid)),
            Move::Rose => {
                gone.remove(&pid);
                self.0.take_if(|taker| taker.pid == pid);
            }
        });
        if !gone.is_empty() {
            seat.vacate();
        }
    }

    /// Counts on a keeper no longer that was reaped. It took the seat along, if it sat there.
    pub(crate) fn reaped(&mut self, pid: i32, seat: &Seat) {
        if self.0.take_if(|taker| taker.pid == pid).is_some_and(|taker| taker.seated) {
            seat.vacate();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> i32 {
        rustix::process::getpid().as_raw_pid()
    }

    fn seat() -> Seat {
        Seat::new().expect("pipes can be made")
    }

    #[test]
    fn a_keeper_that_sat_and_was_reaped_leaves_the_seat_free() {
        let (seat, mut ready) = (seat(), Ready::default());
        assert!(seat.take());
        ready.hear(&seat, &HashSet::from([own()]));
        assert_eq!(ready.keeper(), Some(own()));
        ready.reaped(own(), &seat);
        assert_eq!(ready.keeper(), None);
        assert!(seat.take() && !seat.take());
    }

    #[test]
    fn a_keeper_that_is_gone_before_its_word_is_heard_is_not_counted_on_and_leaves_the_seat_free() {
        let (seat, mut ready) = (seat(), Ready::default());
        assert!(seat.take());
        ready.reaped(own(), &seat);
        ready.hear(&seat, &HashSet::new());
        assert_eq!(ready.keeper(), None);
        assert!(seat.take() && !seat.take());
    }

    #[test]
    fn a_keeper_that_rose_before_it_was_gone_has_freed_the_seat_itself() {
        let (seat, mut ready) = (seat(), Ready::default());
        assert!(seat.take());
        seat.rise(true);
        ready.hear(&seat, &HashSet::new());
        assert_eq!(ready.keeper(), None);
        assert!(seat.take() && !seat.take());
    }

    #[test]
    fn who_was_forked_is_counted_on_until_it_rises() {
        let (seat, mut ready) = (seat(), Ready::default());
        ready.forked(own());
        assert_eq!(ready.keeper(), Some(own()));
        seat.rise(false);
        ready.hear(&seat, &HashSet::from([own()]));
        assert_eq!(ready.keeper(), None);
    }
}
