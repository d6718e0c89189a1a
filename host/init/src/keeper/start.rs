//! Starting one command: its spec, its streams or terminal, its process.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, ioctl_tiocsctty, setsid};

use crate::failure::Failure;
use crate::program;
use crate::protocol::{Event, MAX_SPEC, Spec, Step};
use crate::signals;
use crate::terminal::Terminal;

use super::session;

/// How long a short command takes. It is reported as started and ended with one message, which wakes the host once
/// and not twice, and its keeper stays seated. Output does not wait for it.
const SHORT: Duration = Duration::from_millis(2);

/// A command that was started.
pub(super) struct Begun {
    pub(super) deaths: OwnedFd,
    /// The command's own process, until it has ended. It leads its session and its group, and can leave neither.
    pub(super) command: Option<Pid>,
    pub(super) deadline: Option<Instant>,
    pub(super) start: Start,
}

/// The word that a command has started, and what goes with it.
pub(super) enum Start {
    /// Said at this time, if the end does not come first.
    Unsaid {
        event: [u8; Event::LENGTH],
        terminal: Option<OwnedFd>,
        at: Instant,
    },
    Said,
}

/// Reads the spec and starts its command.
pub(super) fn begin(channel: &OwnedFd, streams: Vec<OwnedFd>) -> Result<Begun, Failure> {
    // Before the command can die, so that its death is not missed.
    let deaths = signals::child_descriptor().map_err(Failure::errno_at(Step::Fork))?;
    let spec = read_spec(channel)?;
    let (pid, terminal) = spawn(&spec, streams)?;
    let now = Instant::now();
    // Whoever asked for a terminal waits for it.
    let at = if terminal.is_some() { now } else { now + SHORT };
    let event = Event::Started { pid: pid.as_raw_pid() }.encode();
    Ok(Begun {
        deaths,
        command: Some(pid),
        deadline: (spec.timeout > Duration::ZERO).then(|| now.checked_add(spec.timeout)).flatten(),
        start: Start::Unsaid { event, terminal, at },
    })
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

/// The command's process, which leads a session, and the host's end of its terminal if it has one. Our copies of the
/// streams are closed by then: as long as they are open, the host sees no end of output.
fn spawn(spec: &Spec, streams: Vec<OwnedFd>) -> Result<(Pid, Option<OwnedFd>), Failure> {
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
    let streams = three(streams)?;
    let word = spec.argv.first().expect("a spec has a program");
    let program = program::find(word, &spec.env).map_err(Failure::at(Step::Program))?;
    let pid = if controller.is_some() {
        at_terminal(&program, spec, streams)
    } else {
        session::spawn(&program, &spec.argv, &spec.env, &streams)
    };
    Ok((pid.map_err(not_started)?, controller))
}

/// Input, output and error. Who is given no input gets process 1's own, which is the workspace's `/dev/null`.
fn three(mut streams: Vec<OwnedFd>) -> Result<[OwnedFd; 3], Failure> {
    if streams.len() == 2 {
        let nothing = rustix::stdio::stdin().try_clone_to_owned();
        streams.insert(0, nothing.map_err(Failure::at(Step::Spec))?);
    }
    <[OwnedFd; 3]>::try_from(streams).map_err(|_| Failure { step: Step::Spec, errno: libc::EBADF })
}

/// The same for a command whose standard input is to be the terminal of its session.
fn at_terminal(program: &Path, spec: &Spec, streams: [OwnedFd; 3]) -> std::io::Result<Pid> {
    let (word, arguments) = spec.argv.split_first().expect("a spec has a program");
    let mut command = Command::new(program);
    command.arg0(word).args(arguments).env_clear().envs(spec.env.iter().map(|(name, value)| (name, value)));
    let [stdin, stdout, stderr] = streams;
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    let lead = || -> std::io::Result<()> {
        setsid()?;
        ioctl_tiocsctty(rustix::stdio::stdin())?;
        Ok(())
    };
    #[expect(unsafe_code, reason = "the standard library has no stable way to start a session")]
    // SAFETY: `lead` makes two system calls; it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(lead)
    };
    let child = command.spawn()?;
    Ok(i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child has a process id"))
}

/// Why there is no command. The kernel says "again" for the number of processes, whether it was the fork or the exec
/// that was one too many.
fn not_started(error: std::io::Error) -> Failure {
    let step = if error.raw_os_error() == Some(libc::EAGAIN) { Step::Fork } else { Step::Program };
    Failure::at(step)(error)
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn a_spec_that_says_it_is_longer_than_any_is_neither_waited_for_nor_given_room() {
        let (host, channel) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .expect("socket pairs can be made");
        let length = u32::try_from(MAX_SPEC + 1).expect("it is small");
        rustix::io::write(&host, &length.to_le_bytes()).expect("there is room");
        // who went on to read would find the end
        drop(host);
        let failure = read_spec(&channel).expect_err("it is too long");
        assert!(matches!(failure, Failure { step: Step::Spec, errno: libc::E2BIG }), "{failure:?}");
    }
}
