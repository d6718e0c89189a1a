//! Who takes the next request, as far as process 1 knows.

use std::collections::HashSet;

use crate::seat::{Move, Seat};

/// The keeper that takes the next request, if there is one: it sits at the socket, or was forked for a request and
/// nobody has said otherwise.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    taker: Option<Taker>,
    /// Forked for a request, and not heard of since. Each may be starting what it was forked for, whoever takes the next
    /// request meanwhile: one that had risen sits down again when its command ends.
    silent: HashSet<i32>,
}

#[derive(Clone, Copy, Debug)]
struct Taker {
    pid: i32,
    seated: bool,
}

impl Ready {
    /// Its number.
    pub(crate) fn keeper(&self) -> Option<i32> {
        self.taker.map(|taker| taker.pid)
    }

    /// All that may be starting a command: that one, and those that were not heard of since they were forked.
    pub(crate) fn starting(&self) -> HashSet<i32> {
        self.silent.iter().copied().chain(self.keeper()).collect()
    }

    /// Whether there are such.
    pub(crate) fn is_any_starting(&self) -> bool {
        self.taker.is_some() || !self.silent.is_empty()
    }

    /// Counts on a keeper that was just forked for a request.
    pub(crate) fn forked(&mut self, pid: i32) {
        self.taker = Some(Taker { pid, seated: false });
        self.silent.insert(pid);
    }

    /// Takes up who sat down and who rose.
    ///
    /// A keeper that is killed as it sits down may be reaped before its word is heard. Nobody else would ever free
    /// the seat then, and whoever went on counting on it would leave each further request to nobody.
    pub(crate) fn hear(&mut self, seat: &Seat, keepers: &HashSet<i32>) {
        let mut gone = HashSet::new();
        seat.hear(|pid, what| {
            self.silent.remove(&pid);
            match what {
                Move::Sat if keepers.contains(&pid) => self.taker = Some(Taker { pid, seated: true }),
                Move::Sat => drop(gone.insert(pid)),
                Move::Rose => {
                    gone.remove(&pid);
                    self.taker.take_if(|taker| taker.pid == pid);
                }
            }
        });
        if !gone.is_empty() {
            seat.vacate();
        }
    }

    /// Counts on a keeper no longer that was reaped. It took the seat along, if it sat there.
    pub(crate) fn reaped(&mut self, pid: i32, seat: &Seat) {
        self.silent.remove(&pid);
        if self.taker.take_if(|taker| taker.pid == pid).is_some_and(|taker| taker.seated) {
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
        assert!(ready.starting().is_empty());
    }

    #[test]
    fn who_was_forked_may_be_starting_a_command_until_it_is_heard_of_or_reaped_whoever_sits_down_meanwhile() {
        let (seat, mut ready) = (seat(), Ready::default());
        let silent = own() + 1;
        ready.forked(silent);
        assert!(seat.take());
        ready.hear(&seat, &HashSet::from([own(), silent]));
        assert_eq!((ready.keeper(), ready.starting()), (Some(own()), HashSet::from([own(), silent])));
        seat.rise(true);
        ready.hear(&seat, &HashSet::from([own(), silent]));
        assert_eq!((ready.keeper(), ready.starting()), (None, HashSet::from([silent])));
        ready.reaped(silent, &seat);
        assert!(ready.starting().is_empty());

        ready.forked(own());
        assert!(seat.take());
        ready.hear(&seat, &HashSet::from([own()]));
        assert_eq!(ready.starting(), HashSet::from([own()]), "it sits");
        seat.rise(true);
        ready.hear(&seat, &HashSet::from([own()]));
        assert!(ready.starting().is_empty());
    }
}
