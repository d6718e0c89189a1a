//! Process 1: forks keepers, reaps, and ends everything with the host.
//!
//! A keeper waits on the control socket itself, so a request wakes nobody but the one who serves it, and no fork
//! but the command's own is between the two. See [`crate::seat`] for who waits there. Process 1 listens to the
//! socket only while nobody sits at it: then a request makes it fork a keeper, or refuse if it cannot.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, kill_process, set_dumpable_behavior, wait,
};

use crate::descriptors;
use crate::failure::Failure;
use crate::keeper;
use crate::orphans::{self, Orphans};
use crate::protocol::{READY, Request, Step};
use crate::ready::Ready;
use crate::seat::Seat;
use crate::signals;
use crate::stuck;
use crate::watchdog::Watchdog;

/// Commands at a time, those included whose main process has ended but whose children run on.
const MAX_KEEPERS: usize = 2048;

/// Children that are reaped before the control socket gets its turn: whoever makes them may make them as fast.
const REAPED_AT_ONCE: usize = 1024;

/// Raised for commands, so that a workspace out of memory loses a command and not its process 1.
const COMMAND_OOM_SCORE: &[u8] = b"500";

struct Init {
    control: OwnedFd,
    children: OwnedFd,
    seat: Seat,
    keepers: HashSet<i32>,
    ready: Ready,
    /// Whether more children may be there to be reaped than were.
    reaping: bool,
    orphans: Orphans,
    /// Whether another look for orphans is due.
    sweeping: bool,
    watchdog: Option<Watchdog>,
    stuck: stuck::Watch,
    /// Our own `oom_score_adj`, which a fork inherits.
    oom_score: Option<File>,
}

/// Who a process is after a fork.
enum Role {
    Init,
    Keeper,
}

/// What woke process 1 up.
struct Woken {
    ended: bool,
    asked: bool,
    died: bool,
    told: bool,
}

/// Serves until the control socket hangs up; then the process ends, and the workspace with it.
pub(crate) fn serve(memory: Option<u64>) -> io::Result<Infallible> {
    let mut init = Init::start(memory)?;
    loop {
        if let Role::Keeper = init.turn()? {
            // What belongs to process 1 alone must not stay open in a keeper.
            let Init { control, seat, children, oom_score, watchdog, .. } = init;
            drop((children, oom_score));
            keeper::serve(control, seat, watchdog.map(|watchdog| watchdog.tally()));
        }
    }
}

impl Init {
    fn start(memory: Option<u64>) -> io::Result<Self> {
        // Opened first: once we are not dumpable, our files in /proc belong to root.
        let oom_score = File::options().write(true).open("/proc/self/oom_score_adj").ok();
        // No process of the same user may trace us or open our memory, descriptors and root.
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        signals::block_child_signal()?;
        let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        descriptors::send(&control, &READY, &[])?;
        Ok(Self {
            control,
            children: signals::child_descriptor()?,
            seat: Seat::new()?,
            keepers: HashSet::new(),
            ready: Ready::default(),
            reaping: false,
            orphans: Orphans::default(),
            sweeping: false,
            watchdog: memory.map(Watchdog::new).transpose()?,
            stuck: stuck::Watch::new(),
            oom_score,
        })
    }

    /// Waits for one thing and does it. Returns twice when it forks.
    fn turn(&mut self) -> io::Result<Role> {
        let woken = self.wait()?;
        if woken.ended {
            end();
        }
        if woken.told {
            self.ready.hear(&self.seat, &self.keepers);
        }
        if woken.died {
            self.reap();
        }
        if self.sweeping {
            self.sweeping = self.orphans.sweep(&self.keepers);
        }
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.look();
        }
        let asked = || self.ready.keeper().filter(|_| is_asked(&self.control));
        for keeper in self.stuck.look(|| self.ready.starting(), asked).into_iter().filter_map(Pid::from_raw) {
            // As with one that was killed from within: the seat is freed when it is reaped, what is beneath it ends.
            let _ = kill_process(keeper, Signal::KILL);
        }
        // Somebody may have sat down in the same moment.
        if woken.asked && self.ready.keeper().is_none() { self.answer() } else { Ok(Role::Init) }
    }

    fn wait(&self) -> io::Result<Woken> {
        let reap = self.reaping.then_some(Duration::ZERO);
        let sweep = self.sweeping.then(|| self.orphans.due());
        let watch = self.watchdog.as_ref().map(Watchdog::due);
        let stuck = self.ready.is_any_starting().then(|| self.stuck.due());
        let timeout: Option<Duration> = [reap, sweep, watch, stuck].into_iter().flatten().min();
        let timeout = timeout.map(|timeout| Timespec::try_from(timeout).expect("it is seconds at most"));
        // With a keeper at the socket, only its end concerns us, which is always reported.
        let control = if self.ready.keeper().is_some() { PollFlags::empty() } else { PollFlags::IN };
        let mut ready = [
            PollFd::new(&self.control, control),
            PollFd::new(&self.children, PollFlags::IN),
            PollFd::new(self.seat.news(), PollFlags::IN),
        ];
        match poll(&mut ready, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [control, children, news] = ready.map(|ready| ready.revents());
        Ok(Woken {
            ended: control.intersects(PollFlags::HUP | PollFlags::ERR),
            asked: control.contains(PollFlags::IN),
            died: self.reaping || !children.is_empty(),
            told: !news.is_empty(),
        })
    }

    fn reap(&mut self) {
        signals::take_one(&self.children);
        self.reaping = false;
        for _ in 0..REAPED_AT_ONCE {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((pid, status))) if status.stopped() => {
                    // A keeper that was stopped from within neither keeps the time nor obeys, and the seat may be
                    // its: as with one that was killed, what is beneath it ends.
                    let _ = kill_process(pid, Signal::KILL);
                }
                Ok(Some((pid, _))) => {
                    let pid = pid.as_raw_pid();
                    self.keepers.remove(&pid);
                    self.ready.reaped(pid, &self.seat);
                    self.sweeping = true;
                }
                // Some are left, or nobody is.
                Ok(None) | Err(_) => return,
            }
        }
        self.reaping = true;
    }

    /// A request has come and nobody sits there to take it.
    fn answer(&mut self) -> io::Result<Role> {
        let failure = match self.fork() {
            Ok(role) => return Ok(role),
            Err(failure) => failure,
        };
        let mut packet = [0; Request::LENGTH];
        // Without waiting: a keeper that has just sat down may have taken it, and who else would reap and watch?
        match descriptors::receive_now(&self.control, &mut packet, false) {
            Err(Errno::AGAIN) => Ok(Role::Init),
            Ok((0, _)) => end(),
            Ok((_, descriptors)) => {
                if let Some(channel) = descriptors.first() {
                    failure.report(channel);
                }
                Ok(Role::Init)
            }
            // More than a request holds: the host's mistake, which costs it this request.
            Err(Errno::MSGSIZE) => Ok(Role::Init),
            Err(error) => Err(error.into()),
        }
    }

    fn fork(&mut self) -> Result<Role, Failure> {
        if self.keepers.len() >= MAX_KEEPERS {
            return Err(Failure { step: Step::Fork, errno: libc::EAGAIN });
        }
        self.score(COMMAND_OOM_SCORE);
        #[expect(unsafe_code, reason = "the standard library forks only to exec")]
        // SAFETY: this process has one thread, so the child is a whole copy with no lock held by another.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            return Ok(Role::Keeper);
        }
        let error = io::Error::last_os_error();
        self.score(b"0");
        if pid < 0 {
            return Err(Failure::at(Step::Fork)(error));
        }
        self.keepers.insert(pid);
        self.ready.forked(pid);
        Ok(Role::Init)
    }

    fn score(&mut self, score: &[u8]) {
        if let Some(file) = &mut self.oom_score {
            // A help to the kernel's choice, not a guard: a kernel that refuses it changes nothing else.
            let _ = file.write(score);
        }
    }
}

/// Whether a request waits to be taken.
fn is_asked(control: &OwnedFd) -> bool {
    let mut ready = [PollFd::new(control, PollFlags::IN)];
    poll(&mut ready, Some(&Timespec::default())).is_ok_and(|count| count > 0)
}

/// The host is gone: all ends. The kernel kills the rest of the namespace as process 1 leaves.
fn end() -> ! {
    orphans::kill_everything();
    std::process::exit(0)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;
    use crate::protocol::Event;

    fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).expect("socket pairs can be made")
    }

    /// With as many keepers as there may be, and the host's end of its socket.
    fn full() -> (Init, OwnedFd) {
        let (host, control) = pair(SocketType::SEQPACKET);
        let init = Init {
            control,
            children: signals::child_descriptor().expect("descriptors are left"),
            seat: Seat::new().expect("pipes can be made"),
            keepers: (2..).take(MAX_KEEPERS).collect(),
            ready: Ready::default(),
            reaping: false,
            orphans: Orphans::default(),
            sweeping: false,
            watchdog: None,
            stuck: stuck::Watch::new(),
            oom_score: None,
        };
        (init, host)
    }

    /// Has it answer, and ends what it may have forked.
    fn answer(init: &mut Init) {
        if let Role::Keeper = init.answer().expect("the host is there") {
            #[expect(unsafe_code, reason = "a fork of a program with threads can do no more than leave")]
            // SAFETY: it returns to nobody.
            unsafe {
                libc::_exit(0)
            };
        }
    }

    #[test]
    fn one_command_too_many_is_refused() {
        let (mut init, host) = full();
        let (channel, theirs) = pair(SocketType::STREAM);
        descriptors::send(&host, &Request::Exec.encode(), &[theirs.as_fd()]).expect("there is room");
        answer(&mut init);
        let mut event = [0; Event::LENGTH];
        let heard = descriptors::receive_now(&channel, &mut event, false);
        assert!(heard.is_ok(), "{heard:?}");
        let expected = Event::Failed { step: Step::Fork, errno: libc::EAGAIN };
        assert_eq!(Event::decode(event), Some(expected));
    }

    #[test]
    fn a_request_that_somebody_else_has_taken_is_not_waited_for() {
        let (mut init, host) = full();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            answer(&mut init);
            tell.send(()).expect("somebody listens");
        });
        told.recv_timeout(Duration::from_secs(300)).expect("it goes on");
        drop(host);
    }
}
