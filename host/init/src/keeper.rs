//! One command at a time: starts it, tells the host how it ended, and holds all that it starts beneath itself.
//!
//! A keeper is a forked copy of process 1. It serves commands one after the other as long as each leaves nothing
//! behind. When it ends instead, whatever is left becomes process 1's child and is killed there (see
//! [`crate::orphans`]), so ending a keeper is all that killing a command takes. The process group is killed first
//! because the kernel does that at one stroke: a fork in the group either is in it or does not happen.

mod session;
mod start;

use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process_group, set_child_subreaper, wait, waitpid,
};

use crate::descriptors;
use crate::failure::Failure;
use crate::protocol::{Cause, Event, Met, Order, Request, Status, Step};
use crate::seat::Seat;
use crate::signals;
use crate::watchdog::{Counts, Tally};

use start::{Begun, Start, begin};

/// How long a command that was killed may take to die. Whoever traces it can keep it for as long as it likes, and so can
/// a disk that hangs: then its end is told, and process 1 sees to it.
const DYING: Duration = Duration::from_secs(2);

const KILLED: Status = Status::Signal(libc::SIGKILL as u8);

/// Children that are reaped before time and orders are looked at: whoever makes them may make them as fast.
const REAPED_AT_ONCE: usize = 1024;

/// Serves requests for as long as there is nothing left to hold and the seat is free; then leaves the process.
pub(crate) fn serve(control: OwnedFd, seat: Seat, tally: Option<Tally>) -> ! {
    if set_child_subreaper(Some(getpid())).is_ok() {
        // Forked because a request was there. Whoever sat down meanwhile may have taken it.
        let mut place = Place { seat: &seat, seated: false };
        let mut next = request(&control, false);
        loop {
            match next {
                Ok(Some((channel, streams))) => {
                    if let Left::Something = run(channel, streams, &mut place, tally) {
                        break;
                    }
                }
                Ok(None) => {}
                Err(Errno::AGAIN) if !place.seated => {}
                Err(_) => break,
            }
            if !place.sit() {
                break;
            }
            next = request(&control, true);
        }
        place.rise();
    }
    std::process::exit(0)
}

/// This keeper's place at the control socket. Until it rises, process 1 counts on it for the next request.
struct Place<'a> {
    seat: &'a Seat,
    seated: bool,
}

impl Place<'_> {
    fn sit(&mut self) -> bool {
        self.seated = self.seated || self.seat.take();
        self.seated
    }

    /// Lets another keeper take the next request.
    fn rise(&mut self) {
        self.seat.rise(self.seated);
        self.seated = false;
    }
}

type Job = (OwnedFd, Vec<OwnedFd>);

/// The next request for a command: its channel and streams. None if it was a request of another kind, which has
/// been served, or none at all. `AGAIN` if there is none and it is not to `wait`; `PIPE` at the end.
fn request(control: &OwnedFd, wait: bool) -> rustix::io::Result<Option<Job>> {
    let mut packet = [0; Request::LENGTH];
    let (length, descriptors) = match descriptors::receive_now(control, &mut packet, wait) {
        Ok((0, _)) => return Err(Errno::PIPE),
        // More than a request holds: the host's mistake, which costs it this request.
        Err(Errno::MSGSIZE) => return Ok(None),
        received => received?,
    };
    let mut descriptors = descriptors.into_iter();
    match (Request::decode(&packet[..length]), descriptors.next()) {
        (Some(Request::Exec), Some(channel)) => return Ok(Some((channel, descriptors.collect()))),
        (Some(Request::Listen { port }), Some(channel)) => {
            if let Err(failure) = listen(&channel, port) {
                failure.report(&channel);
            }
        }
        _ => {}
    }
    Ok(None)
}

/// Whether processes are left that only the end of their keeper ends.
enum Left {
    Nothing,
    Something,
}

fn run(channel: OwnedFd, streams: Vec<OwnedFd>, place: &mut Place<'_>, tally: Option<Tally>) -> Left {
    let tally = tally.map(|tally| (tally, tally.now()));
    match begin(&channel, streams) {
        Ok(begun) => Keeper { channel, begun, place, order: Vec::new(), reaping: false, tally }.watch(),
        Err(failure) => {
            failure.report(&channel);
            Left::Nothing
        }
    }
}

fn listen(channel: &OwnedFd, port: u16) -> Result<(), Failure> {
    let listener = TcpListener::bind(("127.0.0.1", port)).map_err(Failure::at(Step::Listen))?;
    let event = Event::Listening.encode();
    descriptors::send(channel, &event, &[listener.as_fd()]).map_err(Failure::errno_at(Step::Listen))?;
    Ok(())
}

struct Keeper<'a, 'seat> {
    channel: OwnedFd,
    begun: Begun,
    place: &'a mut Place<'seat>,
    /// The first byte of an order whose second is still to come.
    order: Vec<u8>,
    /// Whether more children may be there to be reaped than were.
    reaping: bool,
    /// Where process 1 counts how often limits are met, and what stood there when the command began.
    tally: Option<(Tally, Counts)>,
}

impl Keeper<'_, '_> {
    /// Returns when nothing is left to keep, or the host let go.
    fn watch(mut self) -> Left {
        loop {
            let (said, died) = match self.wait() {
                Ok(ready) => ready,
                Err(Errno::INTR) => continue,
                Err(_) => return self.kill(Cause::Killed),
            };
            if died {
                if self.reap().is_none() {
                    return Left::Nothing;
                }
                if self.begun.command.is_none() {
                    // What it left may run for long, and no request should wait for that.
                    self.say_started();
                }
            }
            let now = Instant::now();
            if matches!(self.begun.start, Start::Unsaid { at, .. } if at <= now) {
                self.say_started();
            }
            if self.begun.command.is_some() && self.begun.deadline.is_some_and(|deadline| deadline <= now) {
                return self.kill(Cause::Timeout);
            }
            if said && self.obey().is_none() {
                return self.kill(Cause::Killed);
            }
        }
    }

    fn wait(&self) -> rustix::io::Result<(bool, bool)> {
        let deadline = self.begun.deadline.filter(|_| self.begun.command.is_some());
        let say = if let Start::Unsaid { at, .. } = self.begun.start { Some(at) } else { None };
        let now = self.reaping.then(Instant::now);
        let next = [deadline, say, now].into_iter().flatten().min();
        // A time beyond what the kernel can count is as good as none.
        let timeout =
            next.and_then(|next| Timespec::try_from(next.saturating_duration_since(Instant::now())).ok());
        let mut ready =
            [PollFd::new(&self.channel, PollFlags::IN), PollFd::new(&self.begun.deaths, PollFlags::IN)];
        poll(&mut ready, timeout.as_ref())?;
        Ok((!ready[0].revents().is_empty(), self.reaping || !ready[1].revents().is_empty()))
    }

    /// Takes up those that died; none if nobody is left.
    fn reap(&mut self) -> Option<()> {
        signals::take_one(&self.begun.deaths);
        self.reaping = false;
        for _ in 0..REAPED_AT_ONCE {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if Some(pid) == self.begun.command
                        && let Some(status) = end(status)
                    {
                        self.report(Cause::Own, status);
                    }
                }
                Ok(None) => return Some(()),
                Err(_) => return None,
            }
        }
        self.reaping = true;
        Some(())
    }

    /// Does what the host ordered; none if everything is to end.
    fn obey(&mut self) -> Option<()> {
        let mut bytes = [0; 64];
        let count = match rustix::io::read(&self.channel, &mut bytes) {
            Ok(0) => return None,
            Ok(count) => count,
            Err(Errno::INTR | Errno::AGAIN) => return Some(()),
            Err(_) => return None,
        };
        self.order.extend(&bytes[..count]);
        let (orders, rest) = self.order.as_chunks::<{ Order::LENGTH }>();
        for order in orders {
            match Order::decode(*order)? {
                Order::Kill => return None,
                Order::Signal(number) => {
                    if let (Some(command), Some(signal)) =
                        (self.begun.command, Signal::from_named_raw(i32::from(number)))
                    {
                        // It may be ending just now.
                        let _ = kill_process_group(command, signal);
                    }
                }
            }
        }
        self.order = rest.to_vec();
        Some(())
    }

    fn kill(mut self, cause: Cause) -> Left {
        let Some(command) = self.begun.command else { return Left::Something };
        let _ = kill_process_group(command, Signal::KILL);
        // The command may have ended by itself a moment ago: its status tells.
        let status = self.death(command).unwrap_or(KILLED);
        let cause = if status == KILLED { cause } else { Cause::Own };
        self.report(cause, status);
        Left::Something
    }

    /// Waits for the end of a command that was killed, and says how it ended; none if it does not.
    fn death(&self, command: Pid) -> Option<Status> {
        let deadline = Instant::now() + DYING;
        loop {
            signals::take_one(&self.begun.deaths);
            match waitpid(Some(command), WaitOptions::NOHANG) {
                Ok(Some((_, status))) => {
                    if let Some(status) = end(status) {
                        return Some(status);
                    }
                }
                Ok(None) | Err(Errno::INTR) => {}
                Err(_) => return None,
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            let timeout = Timespec::try_from(left).expect("it is seconds at most");
            let mut ready = [PollFd::new(&self.begun.deaths, PollFlags::IN)];
            // Whatever it says, the next look tells.
            let _ = poll(&mut ready, Some(&timeout));
        }
    }

    fn report(&mut self, cause: Cause, status: Status) {
        self.begun.command = None;
        let exited = Event::Exited { cause, status, met: self.met(status) }.encode();
        if let Start::Unsaid { event, terminal: None, .. } = &self.begun.start {
            // Both at one stroke: one wake-up of the host.
            self.send(&[event.as_slice(), &exited].concat(), None);
            self.begun.start = Start::Said;
        } else {
            self.say_started();
            self.send(&exited, None);
        }
    }

    /// The limits that were met while a command ran which ended like this.
    fn met(&self, status: Status) -> Met {
        let Some((tally, before)) = self.tally else { return Met::default() };
        if status != Status::Code(0) {
            // A shell may end at once when it cannot fork, and what it started before is there to be seen.
            tally.look_after_reaping();
        }
        tally.met_since(before)
    }

    /// Tells the host, unless it knows, and lets another keeper take the next request.
    fn say_started(&mut self) {
        if let Start::Unsaid { event, terminal, .. } = std::mem::replace(&mut self.begun.start, Start::Said) {
            self.send(&event, terminal.as_ref());
        }
        self.place.rise();
    }

    fn send(&self, bytes: &[u8], descriptor: Option<&OwnedFd>) {
        let descriptors: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
        // If the host has let go, the watch sees that next.
        let _ = descriptors::send(&self.channel, bytes, &descriptors);
    }
}

/// How a process ended; none if it was only stopped. A command can ask its parent to trace it, which is its keeper, and
/// each of its signals is told to whoever traces it.
fn end(status: WaitStatus) -> Option<Status> {
    let small = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    let code = status.exit_status().map(|code| Status::Code(small(code)));
    code.or_else(|| status.terminating_signal().map(|signal| Status::Signal(small(signal))))
}
