//! One command: starts it, tells the host how it ended, and holds all that it starts beneath itself.
//!
//! A keeper is a forked copy of process 1 and lives as long as the channel is open and a process is beneath it.
//! When it ends, whatever is left becomes process 1's child and is killed there (see [`crate::orphans`]), so
//! ending a keeper is all that killing a command takes. The process group is killed first because the kernel
//! does that at one stroke: a fork in the group either is in it or does not happen.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, ioctl_tiocsctty, kill_process_group, set_child_subreaper,
    setsid, wait, waitpid,
};

use crate::descriptors;
use crate::failure::Failure;
use crate::protocol::{Cause, Event, MAX_SPEC, Order, Spec, Status, Step};
use crate::signals;
use crate::terminal::Terminal;

/// What a keeper was forked for.
pub(crate) struct Job {
    /// To and from the host.
    pub(crate) channel: OwnedFd,
    /// Standard input, output and error; empty for a terminal.
    pub(crate) streams: Vec<OwnedFd>,
}

/// Runs the command to its end and leaves the process.
pub(crate) fn run(job: Job) -> ! {
    if let Err((channel, Failure { step, errno })) = Keeper::start(job).map(Keeper::watch) {
        // The host may have let go already: then nobody wants to know.
        let _ = descriptors::send(&channel, &Event::Failed { step, errno }.encode(), &[]);
    }
    std::process::exit(0)
}

struct Keeper {
    channel: OwnedFd,
    deaths: OwnedFd,
    /// The command's own process, until it has ended. It leads its group and session.
    command: Option<Pid>,
    deadline: Option<Instant>,
    /// The first byte of an order whose second is still to come.
    order: Vec<u8>,
}

impl Keeper {
    fn start(Job { channel, streams }: Job) -> Result<Self, (OwnedFd, Failure)> {
        match begin(&channel, streams) {
            Ok((deaths, command, deadline)) => {
                Ok(Self { channel, deaths, command: Some(command), deadline, order: Vec::new() })
            }
            Err(failure) => Err((channel, failure)),
        }
    }

    /// Returns when nothing is left to keep, or the host let go.
    fn watch(mut self) {
        loop {
            let (said, died) = match self.wait() {
                Ok(ready) => ready,
                Err(Errno::INTR) => continue,
                Err(_) => return self.kill(Cause::Killed),
            };
            if died && self.reap().is_none() {
                return;
            }
            if self.command.is_some() && self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return self.kill(Cause::Timeout);
            }
            if said && self.obey().is_none() {
                return self.kill(Cause::Killed);
            }
        }
    }

    fn wait(&self) -> rustix::io::Result<(bool, bool)> {
        let deadline = self.deadline.filter(|_| self.command.is_some());
        // A deadline beyond what the kernel can count is as good as none.
        let timeout = deadline
            .and_then(|deadline| Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok());
        let mut ready = [PollFd::new(&self.channel, PollFlags::IN), PollFd::new(&self.deaths, PollFlags::IN)];
        poll(&mut ready, timeout.as_ref())?;
        Ok((!ready[0].revents().is_empty(), !ready[1].revents().is_empty()))
    }

    /// Takes up all that died; none if nobody is left.
    fn reap(&mut self) -> Option<()> {
        signals::drain(&self.deaths);
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if Some(pid) == self.command => self.report(Cause::Own, status),
                Ok(Some(_)) => {}
                Ok(None) => return Some(()),
                Err(_) => return None,
            }
        }
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
                        (self.command, Signal::from_named_raw(i32::from(number)))
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

    fn kill(mut self, cause: Cause) {
        let Some(command) = self.command else { return };
        let _ = kill_process_group(command, Signal::KILL);
        // The command may have ended by itself a moment ago: its status tells.
        let Ok(Some((_, status))) =
            rustix::io::retry_on_intr(|| waitpid(Some(command), WaitOptions::empty()))
        else {
            return;
        };
        let cause = if status.terminating_signal() == Some(libc::SIGKILL) { cause } else { Cause::Own };
        self.report(cause, status);
    }

    fn report(&mut self, cause: Cause, status: WaitStatus) {
        self.command = None;
        let small = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
        let status = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Status::Code(small(code)),
            (None, signal) => Status::Signal(small(signal.unwrap_or(libc::SIGKILL))),
        };
        let _ = descriptors::send(&self.channel, &Event::Exited { cause, status }.encode(), &[]);
    }
}

fn begin(channel: &OwnedFd, streams: Vec<OwnedFd>) -> Result<(OwnedFd, Pid, Option<Instant>), Failure> {
    set_child_subreaper(Some(getpid())).map_err(Failure::errno_at(Step::Fork))?;
    // Before the command can die, so that its death is not missed.
    let deaths = signals::child_descriptor().map_err(Failure::errno_at(Step::Fork))?;
    let spec = read_spec(channel)?;
    let (mut command, controller) = prepare(&spec, streams)?;
    let child = command.spawn().map_err(Failure::at(Step::Program))?;
    // Our copies of the streams: as long as they are open, the host sees no end of output.
    drop(command);
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child has a process id");
    let controller: Vec<_> = controller.iter().map(AsFd::as_fd).collect();
    let started = Event::Started { pid: pid.as_raw_pid() }.encode();
    // If the host has let go, the watch sees that first thing.
    let _ = descriptors::send(channel, &started, &controller);
    let deadline =
        (spec.timeout > Duration::ZERO).then(|| Instant::now().checked_add(spec.timeout)).flatten();
    Ok((deaths, pid, deadline))
}

fn read_spec(channel: &OwnedFd) -> Result<Spec, Failure> {
    let mut length = [0; 4];
    read_exact(channel, &mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_SPEC {
        return Err(Failure { step: Step::Spec, errno: libc::E2BIG });
    }
    let mut body = vec![0; length];
    read_exact(channel, &mut body)?;
    Spec::decode(&body).ok_or(Failure { step: Step::Spec, errno: libc::EINVAL })
}

fn read_exact(channel: &OwnedFd, mut buffer: &mut [u8]) -> Result<(), Failure> {
    while !buffer.is_empty() {
        match rustix::io::read(channel, &mut *buffer) {
            Ok(0) => return Err(Failure { step: Step::Spec, errno: libc::EPIPE }),
            Ok(count) => buffer = &mut buffer[count..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(Failure::errno_at(Step::Spec)(error)),
        }
    }
    Ok(())
}

/// The command, and the host's end of its terminal if it has one.
fn prepare(spec: &Spec, streams: Vec<OwnedFd>) -> Result<(Command, Option<OwnedFd>), Failure> {
    // Here and not in the child, so that a missing directory and a missing program can be told apart.
    std::env::set_current_dir(&spec.cwd).map_err(Failure::at(Step::Directory))?;
    let (streams, controller) = match spec.terminal {
        None => (streams, None),
        Some(window) => {
            let terminal = Terminal::open(window).map_err(Failure::errno_at(Step::Terminal))?;
            let copy = || terminal.user.try_clone().map_err(Failure::at(Step::Terminal));
            (vec![copy()?, copy()?, copy()?], Some(terminal.controller))
        }
    };
    let [stdin, stdout, stderr] =
        <[OwnedFd; 3]>::try_from(streams).map_err(|_| Failure { step: Step::Spec, errno: libc::EBADF })?;
    let (program, arguments) = spec.argv.split_first().expect("a spec has a program");
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(spec.env.iter().map(|(name, value)| (name, value)));
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    let terminal = controller.is_some();
    let lead = move || -> std::io::Result<()> {
        setsid()?;
        if terminal {
            ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        Ok(())
    };
    #[expect(unsafe_code, reason = "the standard library has no stable way to start a session")]
    // SAFETY: `lead` makes two system calls; it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(lead)
    };
    Ok((command, controller))
}
