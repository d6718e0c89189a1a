//! Process 1: takes requests, forks a keeper for each command, reaps, and ends everything with the host.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{DumpableBehavior, WaitOptions, set_dumpable_behavior, wait};

use crate::descriptors;
use crate::failure::Failure;
use crate::keeper::{self, Job};
use crate::memory::Watchdog;
use crate::orphans::{self, Orphans};
use crate::protocol::{Event, READY, Request, Step};
use crate::signals;

/// Commands at a time, those included whose main process has ended but whose children run on.
const MAX_KEEPERS: usize = 512;

/// Raised for commands, so that a workspace out of memory loses a command and not its process 1.
const COMMAND_OOM_SCORE: &[u8] = b"500";

struct Init {
    control: OwnedFd,
    children: OwnedFd,
    keepers: HashSet<i32>,
    orphans: Orphans,
    /// Whether another look for orphans is due.
    sweeping: bool,
    watchdog: Option<Watchdog>,
    /// Our own `oom_score_adj`, which a fork inherits.
    oom_score: Option<File>,
}

/// Serves until the control socket hangs up; then the process ends, and the workspace with it.
pub(crate) fn serve(memory: Option<u64>) -> io::Result<Infallible> {
    let mut init = Init::start(memory)?;
    loop {
        if let Some(job) = init.turn()? {
            // We are the keeper now. What belongs to process 1 must not stay open here.
            drop(init);
            keeper::run(job);
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
            keepers: HashSet::new(),
            orphans: Orphans::default(),
            sweeping: false,
            watchdog: memory.map(Watchdog::new),
            oom_score,
        })
    }

    /// Waits for one thing and does it. A job comes back in the process that was forked for it, only there.
    fn turn(&mut self) -> io::Result<Option<Job>> {
        let (asked, died) = self.wait()?;
        if died {
            self.reap();
        }
        if self.sweeping {
            self.sweeping = self.orphans.sweep(&self.keepers);
        }
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.look();
        }
        if asked { self.answer() } else { Ok(None) }
    }

    fn wait(&self) -> io::Result<(bool, bool)> {
        let sweep = self.sweeping.then_some(orphans::AGAIN);
        let watch = self.watchdog.as_ref().map(Watchdog::due);
        let timeout: Option<Duration> = [sweep, watch].into_iter().flatten().min();
        let timeout = timeout.map(|timeout| Timespec::try_from(timeout).expect("it is seconds at most"));
        let mut ready =
            [PollFd::new(&self.control, PollFlags::IN), PollFd::new(&self.children, PollFlags::IN)];
        match poll(&mut ready, timeout.as_ref()) {
            Ok(_) => Ok((!ready[0].revents().is_empty(), !ready[1].revents().is_empty())),
            Err(rustix::io::Errno::INTR) => Ok((false, false)),
            Err(error) => Err(error.into()),
        }
    }

    fn reap(&mut self) {
        signals::drain(&self.children);
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, _))) => {
                    self.keepers.remove(&pid.as_raw_pid());
                    self.sweeping = true;
                }
                Ok(None) => return,
                // Nobody is left at all: the usual end of a command that ran alone. Nothing to look for.
                Err(_) => {
                    self.sweeping = false;
                    return;
                }
            }
        }
    }

    fn answer(&mut self) -> io::Result<Option<Job>> {
        let mut packet = [0; Request::LENGTH];
        match descriptors::receive(&self.control, &mut packet) {
            Ok((0, _)) => end(),
            Ok((length, descriptors)) => {
                let mut descriptors = descriptors.into_iter();
                let (Some(request), Some(channel)) = (Request::decode(&packet[..length]), descriptors.next())
                else {
                    return Ok(None);
                };
                Ok(self.act(request, channel, descriptors.collect()))
            }
            // More than a request holds: the host's mistake, which costs it this request.
            Err(rustix::io::Errno::MSGSIZE) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn act(&mut self, request: Request, channel: OwnedFd, streams: Vec<OwnedFd>) -> Option<Job> {
        let outcome = match request {
            Request::Exec => self.fork(),
            Request::Listen { port } => listen(&channel, port).map(|()| false),
        };
        match outcome {
            Ok(true) => return Some(Job { channel, streams }),
            Ok(false) => {}
            Err(Failure { step, errno }) => {
                // The host may have let go already: then nobody wants to know.
                let _ = descriptors::send(&channel, &Event::Failed { step, errno }.encode(), &[]);
            }
        }
        None
    }

    /// Forks a keeper; true in the keeper.
    fn fork(&mut self) -> Result<bool, Failure> {
        if self.keepers.len() >= MAX_KEEPERS {
            return Err(Failure { step: Step::Fork, errno: libc::EAGAIN });
        }
        self.score(COMMAND_OOM_SCORE);
        #[expect(unsafe_code, reason = "the standard library forks only to exec")]
        // SAFETY: this process has one thread, so the child is a whole copy with no lock held by another.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        self.score(b"0");
        if pid < 0 {
            return Err(Failure::at(Step::Fork)(error));
        }
        self.keepers.insert(pid);
        Ok(false)
    }

    fn score(&mut self, score: &[u8]) {
        if let Some(file) = &mut self.oom_score {
            // A help to the kernel's choice, not a guard: a kernel that refuses it changes nothing else.
            let _ = file.write(score);
        }
    }
}

fn listen(channel: &OwnedFd, port: u16) -> Result<(), Failure> {
    let listener = TcpListener::bind(("127.0.0.1", port)).map_err(Failure::at(Step::Listen))?;
    let event = Event::Listening.encode();
    descriptors::send(channel, &event, &[listener.as_fd()]).map_err(Failure::errno_at(Step::Listen))?;
    Ok(())
}

/// The host is gone: all ends. The kernel kills the rest of the namespace as process 1 leaves.
fn end() -> ! {
    orphans::kill_everything();
    std::process::exit(0)
}
