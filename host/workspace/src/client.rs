//! The host's side of init: starts commands in a workspace and hands them over as [`Running`].
//!
//! A request is one packet on the control socket; everything about one command then goes over a channel of its
//! own, so nothing has to be told apart, a command that is dropped disturbs no other, and no task of the host
//! stands between a command and who waits for it.

mod channels;
mod input;
mod output;
mod queue;
mod running;
mod watch;

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, Shutdown, SocketFlags, SocketType, socketpair};
use sortie_init::descriptors;
use sortie_init::protocol::{Event, Request};
pub use sortie_init::protocol::{Spec, Step, Window};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use channels::Channels;
use input::Input;
use output::Output;
pub use running::{Bounds, InputError, Running};
pub(crate) use watch::watch;

/// Why a request to init was not served.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The workspace has ended.
    #[error("the workspace is gone")]
    Gone,
    /// Arguments and environment are longer than a kernel takes.
    #[error("the command with its environment is longer than {} bytes", sortie_init::protocol::MAX_SPEC)]
    TooLong,
    /// Init tried and failed.
    #[error("{what}: {source}")]
    Refused {
        /// What failed.
        step: Step,
        /// The same in words, with the name of the thing.
        what: String,
        /// Why, as the kernel tells it.
        source: io::Error,
    },
    /// The host could not make pipes or sockets, or init spoke out of turn.
    #[error("cannot speak with the workspace: {0}")]
    Io(#[from] io::Error),
}

impl ClientError {
    /// Whether there was no room for another process.
    fn is_crowded(&self) -> bool {
        matches!(self, Self::Refused { step: Step::Fork, source, .. } if source.kind() == io::ErrorKind::WouldBlock)
    }
}

/// For how long a start is tried again where the workspace has no room for another process: those of a command that was
/// killed count until the last of them is reaped.
const CROWDED: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(20);

/// Where a command's standard input comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdin {
    /// There is none: it reads the end at once.
    #[default]
    Null,
    /// [`Running::write`] feeds it.
    Pipe,
}

/// A connection to the init of one workspace. Clones speak over the same socket.
#[derive(Clone, Debug)]
pub struct Client {
    control: Arc<AsyncFd<OwnedFd>>,
    channels: Arc<Channels>,
}

impl Client {
    /// Takes over the control socket, which must not block. Must be called within a tokio runtime.
    pub(crate) fn new(control: OwnedFd) -> io::Result<Self> {
        let control = Arc::new(watch(control, Interest::READABLE | Interest::WRITABLE)?);
        Ok(Self { control, channels: Arc::default() })
    }

    /// Starts a command. `max_output` bounds the bytes of output that [`Running::next`] gives in all; what is
    /// beyond is read and counted. With a terminal, `stdin` does not matter.
    ///
    /// Where the workspace has no room for another process, waits up to 2 s for some.
    ///
    /// Cancel-safe: a command whose start was given up is killed, if it started at all.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if directory or program cannot be had, the others as they say.
    pub async fn spawn(&self, spec: &Spec, stdin: Stdin, max_output: u64) -> Result<Running, ClientError> {
        let deadline = Instant::now() + CROWDED;
        loop {
            match self.try_spawn(spec, stdin, max_output).await {
                Err(error) if error.is_crowded() && Instant::now() < deadline => {
                    tokio::time::sleep(AGAIN).await
                }
                spawned => return spawned,
            }
        }
    }

    async fn try_spawn(&self, spec: &Spec, stdin: Stdin, max_output: u64) -> Result<Running, ClientError> {
        let frame = spec.encode().ok_or(ClientError::TooLong)?;
        let (channel, theirs) = channel()?;
        let (streams, ours) = if spec.terminal.is_some() { (Vec::new(), None) } else { streams(stdin)? };
        // The spec first: when the keeper wakes up for the packet, it finds it there.
        let sent = send_some(&channel, &frame)?;
        {
            let mut passed = vec![theirs.as_fd()];
            passed.extend(streams.iter().map(OwnedFd::as_fd));
            self.request(Request::Exec, &passed).await?;
        }
        drop((theirs, streams));
        send_rest(&channel, &frame[sent..]).await?;
        let Some((event, descriptors)) = next_event(&channel).await? else {
            return self.killed_at_once(channel, ours, max_output);
        };
        match event {
            Event::Started { .. } => {}
            Event::Failed { step, errno } => return Err(refused(spec, step, errno)),
            _ => return Err(out_of_turn()),
        }
        let (input, outputs) = match (ours, descriptors.into_iter().next()) {
            (Some(ours), None) => ours,
            (None, Some(terminal)) => terminal_streams(terminal)?,
            _ => return Err(out_of_turn()),
        };
        let channel = self.channels.add(channel);
        Ok(Running::new(self.clone(), channel, input, outputs, max_output))
    }

    /// Has all commands that run killed, with what they started. Their ends are still to be read.
    pub(crate) fn kill_all(&self) {
        let count = self.channels.kill();
        tracing::debug!(count, "all commands of a workspace are killed");
    }

    /// The channel ended without a word: with the workspace, or because something inside killed the keeper. The
    /// command may have run by then, and may have been that something.
    fn killed_at_once(
        &self,
        channel: AsyncFd<OwnedFd>,
        ours: Option<Ours>,
        max_output: u64,
    ) -> Result<Running, ClientError> {
        let (input, outputs) = ours.filter(|_| !self.is_gone()).ok_or(ClientError::Gone)?;
        let channel = Arc::new(channel);
        Ok(Running::new(self.clone(), channel, input, outputs, max_output))
    }

    /// Listens on 127.0.0.1 inside the workspace; the socket is the workspace's, the descriptor ours.
    ///
    /// # Errors
    /// As [`Client::spawn`].
    pub async fn listen(&self, port: u16) -> Result<TcpListener, ClientError> {
        let (channel, theirs) = channel()?;
        self.request(Request::Listen { port }, &[theirs.as_fd()]).await?;
        drop(theirs);
        match next_event(&channel).await?.ok_or(ClientError::Gone)? {
            (Event::Listening, descriptors) => {
                descriptors.into_iter().next().map(TcpListener::from).ok_or_else(out_of_turn)
            }
            (Event::Failed { step, errno }, _) => Err(ClientError::Refused {
                step,
                what: format!("cannot listen on port {port} of the workspace"),
                source: io::Error::from_raw_os_error(errno),
            }),
            _ => Err(out_of_turn()),
        }
    }

    /// Whether init has gone.
    pub fn is_gone(&self) -> bool {
        let mut byte = [0];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        !matches!(rustix::net::recv(self.control.get_ref(), &mut byte, flags), Err(Errno::AGAIN))
    }

    /// Tells init to end the workspace, clones of this client or not.
    pub(crate) fn hang_up(&self) {
        // If it is gone already there is nothing to tell.
        let _ = rustix::net::shutdown(self.control.get_ref(), Shutdown::Both);
    }

    /// The next packet of init's; none at the end. For the start only, before there are clones.
    pub(crate) async fn packet(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let receive = |socket: &OwnedFd| descriptors::receive(socket, &mut *buffer).map_err(io::Error::from);
        self.control.async_io(Interest::READABLE, receive).await.map(|(count, _)| count)
    }

    async fn request(&self, request: Request, passed: &[BorrowedFd<'_>]) -> Result<(), ClientError> {
        let packet = request.encode();
        let send = |socket: &OwnedFd| descriptors::send(socket, &packet, passed).map_err(io::Error::from);
        self.control.async_io(Interest::WRITABLE, send).await.map(drop).map_err(broken)
    }
}

type Ours = (Option<Input>, [Option<Output>; 2]);

/// The streams of a command, its ends and ours. Only ours must not block. All of them are made for it: of a file of the
/// host's, whoever is root inside could change the mode and the owner. So nothing to read is init's to give.
fn streams(stdin: Stdin) -> io::Result<(Vec<OwnedFd>, Option<Ours>)> {
    let mut theirs = Vec::new();
    let mut input = None;
    if stdin == Stdin::Pipe {
        let (reader, writer) = io::pipe()?;
        theirs.push(reader.into());
        input = Some(Input::pipe(writer.into())?);
    }
    let (out_reader, out_writer) = io::pipe()?;
    let (err_reader, err_writer) = io::pipe()?;
    theirs.extend([out_writer.into(), err_writer.into()]);
    let outputs = [Some(Output::new(out_reader.into())?), Some(Output::new(err_reader.into())?)];
    Ok((theirs, Some((input, outputs))))
}

fn terminal_streams(terminal: OwnedFd) -> io::Result<Ours> {
    let copy = terminal.try_clone()?;
    Ok((Some(Input::terminal(copy)?), [Some(Output::new(terminal)?), None]))
}

/// A channel: our end, which does not block, and init's, which does.
fn channel() -> io::Result<(AsyncFd<OwnedFd>, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((watch(ours, Interest::READABLE | Interest::WRITABLE)?, theirs))
}

fn send_some(channel: &AsyncFd<OwnedFd>, bytes: &[u8]) -> Result<usize, ClientError> {
    match descriptors::send(channel.get_ref(), bytes, &[]) {
        Ok(count) => Ok(count),
        Err(Errno::AGAIN) => Ok(0),
        Err(error) => Err(broken(error.into())),
    }
}

async fn send_rest(channel: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> Result<(), ClientError> {
    while !bytes.is_empty() {
        let send = |socket: &OwnedFd| descriptors::send(socket, bytes, &[]).map_err(io::Error::from);
        match channel.async_io(Interest::WRITABLE, send).await {
            Ok(count) => bytes = &bytes[count..],
            // Init does not want the rest and says why on the channel.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(broken(error)),
        }
    }
    Ok(())
}

/// The next event of a channel with its descriptors; none when the channel has ended.
async fn next_event(channel: &AsyncFd<OwnedFd>) -> Result<Option<(Event, Vec<OwnedFd>)>, ClientError> {
    let mut buffer = [0; Event::LENGTH];
    let receive = |socket: &OwnedFd| descriptors::receive(socket, &mut buffer).map_err(io::Error::from);
    match channel.async_io(Interest::READABLE, receive).await {
        Ok((0, _)) => Ok(None),
        // A Unix socket does not cut a message of eight bytes that was sent as one.
        Ok((Event::LENGTH, descriptors)) => {
            Event::decode(buffer).map(|event| Some((event, descriptors))).ok_or_else(out_of_turn)
        }
        Ok(_) => Err(out_of_turn()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn refused(spec: &Spec, step: Step, errno: i32) -> ClientError {
    let program = spec.argv.first().map(|program| program.display().to_string()).unwrap_or_default();
    let what = match step {
        Step::Directory => format!("cannot enter the directory `{}`", spec.cwd.display()),
        Step::Program => format!("cannot run `{program}`"),
        Step::Terminal => "cannot make a terminal".to_owned(),
        Step::Fork => "the workspace has reached its limit of processes".to_owned(),
        Step::Spec | Step::Listen => format!("init did not take the command `{program}`"),
    };
    ClientError::Refused { step, what, source: io::Error::from_raw_os_error(errno) }
}

fn broken(error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected => {
            ClientError::Gone
        }
        _ => ClientError::Io(error),
    }
}

fn out_of_turn() -> ClientError {
    ClientError::Io(io::Error::new(io::ErrorKind::InvalidData, "init spoke out of turn"))
}
