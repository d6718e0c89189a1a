//! A command that was started: its output in order, its input, its end.

use std::fmt;
use std::future::pending;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use sortie_init::descriptors;
use sortie_init::protocol::{Cause, Event, Met, Order, Status, Window};
use sortie_policy::ports::{Chunk, CommandLimit, Ended, Exit, LimitReached};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::input::Input;
use super::output::{CHUNK, Output, Read};
use super::queue::{HELD, Queue};
use super::{Client, ClientError, next_event};
use crate::counters::{Counters, Counts};
use crate::disk::DiskReached;

/// How long a command may take to read on without its output being read.
const BLOCKED: Duration = Duration::from_secs(1);

/// Why input could not be written.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It was never there, or is closed, or the command has closed its end.
    #[error("standard input is closed")]
    Closed,
    /// The command will not read on before somebody reads what it wrote.
    #[error("the command waits for its output to be read: {HELD} bytes of it are held back")]
    Blocked,
    /// It has taken none of it for as long as [`Bounds::input`] says.
    #[error("the command does not read its standard input")]
    Unread,
}

/// A running command. Dropping it kills it with all that it started.
///
/// Output is read when it is asked for: a command that writes faster than its reader reads waits in the kernel,
/// so it costs the host the size of a pipe, whatever it writes.
#[derive(Debug)]
pub struct Running {
    client: Client,
    /// None once nobody waits for what the command left behind.
    channel: Option<Arc<AsyncFd<OwnedFd>>>,
    input: Option<Input>,
    /// Standard output and standard error, while somebody may write to them.
    outputs: [Option<Output>; 2],
    /// Which of the two was read last: the other has its turn.
    last: usize,
    ready: Queue,
    /// Bytes of output that may be given out in all, and that still may.
    max_output: u64,
    allowance: u64,
    dropped: u64,
    bounds: Bounds,
    /// When there last was output.
    heard: Instant,
    /// Whether we killed it for its silence.
    silenced: bool,
    /// The limits of the workspace that init saw met.
    met: Met,
    state: State,
    ended: Option<Ended>,
    at_end: Option<AtEnd>,
}

/// Limits that a command's end is to name, besides that of its output.
#[derive(Debug, Default)]
pub struct Bounds {
    /// The time that its [`Spec`](super::Spec) gives it. Init keeps it.
    pub timeout: Option<Duration>,
    /// Time without output until it is killed; none if it may be silent.
    pub idle: Option<Duration>,
    /// Time in which the command takes nothing of what is written until a write fails; none to wait for ever.
    pub input: Option<Duration>,
    /// How often the workspace's own limits were reached, and how often before the command began.
    pub counters: Option<(Arc<Counters>, Counts)>,
    /// How often the workspace's limits of each disk were reached, and how often before the command began.
    pub disks: Vec<(Arc<DiskReached>, u64)>,
}

/// Is called once, with the command's end.
struct AtEnd(Box<dyn FnOnce(&Ended) + Send + Sync>);

impl fmt::Debug for AtEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AtEnd")
    }
}

#[derive(Debug)]
enum State {
    Running,
    /// The command has ended; these bytes were in each pipe at that moment and are still to be read. What comes
    /// after is from processes that it left behind, for which nobody waits.
    Draining(Exit, [u64; 2]),
    /// The exit is in `ready` or was given out.
    Over,
}

enum Happened {
    Output(usize, Read),
    /// How, and the limits of the workspace that init saw met.
    Ended(Exit, Met),
    Gone(ClientError),
}

impl Running {
    pub(super) fn new(
        client: Client,
        channel: Arc<AsyncFd<OwnedFd>>,
        input: Option<Input>,
        outputs: [Option<Output>; 2],
        max_output: u64,
    ) -> Self {
        Self {
            client,
            channel: Some(channel),
            input,
            outputs,
            last: 1,
            ready: Queue::default(),
            max_output,
            allowance: max_output,
            dropped: 0,
            bounds: Bounds::default(),
            heard: Instant::now(),
            silenced: false,
            met: Met::default(),
            state: State::Running,
            ended: None,
            at_end: None,
        }
    }

    /// Sets what the end is to name. To be called at the start.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Has the command's end told, whoever reads it: at once if it has ended, else when it does, and when it is
    /// killed by being dropped.
    pub(crate) fn at_end(&mut self, tell: impl FnOnce(&Ended) + Send + Sync + 'static) {
        match &self.ended {
            Some(ended) => tell(ended),
            None => self.at_end = Some(AtEnd(Box::new(tell))),
        }
    }

    /// The next piece of output, or the exit as the last; none if `wait` passed first or the exit was given out.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`ClientError::Gone`] if the workspace ended before the command did.
    pub async fn next(&mut self, wait: Duration) -> Result<Option<Chunk>, ClientError> {
        let deadline = Instant::now().checked_add(wait);
        loop {
            if let Some(chunk) = self.ready.pop() {
                return Ok(Some(chunk));
            }
            match self.state {
                State::Over => return Ok(None),
                State::Draining(..) => self.drain(),
                State::Running => {
                    let silent = self.silent_until();
                    let happened = tokio::select! {
                        biased;
                        // First: output that is there counts, however late it is read.
                        happened = self.happens() => happened,
                        () = until(silent), if silent.is_some() => {
                            self.silence();
                            continue;
                        }
                        () = until(deadline) => return Ok(None),
                    };
                    self.take_up(happened)?;
                    // A stream that is always ready, and dropped, would keep the clock from being looked at.
                    if self.ready.is_empty() && deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Writes all of `data` to standard input, taking up output meanwhile: a command that echoes what it reads
    /// would otherwise wait for us as we wait for it. Not cancel-safe: a part may have been written.
    ///
    /// # Errors
    /// See [`InputError`].
    pub async fn write(&mut self, mut data: &[u8]) -> Result<(), InputError> {
        let mut taken = Instant::now();
        while !data.is_empty() {
            let unread = self.bounds.input.and_then(|most| taken.checked_add(most));
            let input = self.input.as_ref().ok_or(InputError::Closed)?;
            if !matches!(self.state, State::Running) {
                return Err(InputError::Closed);
            }
            let room = !self.ready.is_full();
            let happened = tokio::select! {
                biased;
                written = input.write(data) => match written {
                    Ok(count) => {
                        (data, taken) = (&data[count..], Instant::now());
                        continue;
                    }
                    Err(_) => { self.input = None; return Err(InputError::Closed) }
                },
                happened = self.happens(), if room => happened,
                // Nobody else can read for us meanwhile; the command may still be reading, though.
                () = tokio::time::sleep(BLOCKED), if !room => return Err(InputError::Blocked),
                () = until(unread), if unread.is_some() => return Err(InputError::Unread),
            };
            if self.take_up(happened).is_err() {
                return Err(InputError::Closed);
            }
        }
        Ok(())
    }

    /// Ends standard input; a terminal gets its end-of-input character.
    ///
    /// # Errors
    /// [`InputError::Closed`] if it was not open.
    pub async fn close_stdin(&mut self) -> Result<(), InputError> {
        let input = self.input.take().ok_or(InputError::Closed)?;
        input.close().await.map_err(|_| InputError::Closed)
    }

    /// Tells the command's terminal how large it is now, and the kernel tells the programs in it.
    ///
    /// # Errors
    /// [`InputError::Closed`] if there is no terminal, or its input is closed.
    pub fn resize(&mut self, window: Window) -> Result<(), InputError> {
        let input = self.input.as_ref().ok_or(InputError::Closed)?;
        input.resize(window).map_err(|_| InputError::Closed)
    }

    /// Kills the command with all that it started. The exit is still to be read.
    pub fn kill(&mut self) {
        self.order(Order::Kill);
    }

    /// Sends a signal to the command's process group.
    pub fn signal(&mut self, signal: u8) {
        self.order(Order::Signal(signal));
    }

    fn order(&self, order: Order) {
        if let Some(channel) = &self.channel {
            // It fails if the keeper is gone, and everything beneath it with it: nothing is left to tell.
            let _ = descriptors::send(channel.get_ref(), &order.encode(), &[]);
        }
    }

    /// Goes on reading with nobody attached, keeping the newest output. When the command has ended, what it
    /// started is killed: nobody else will let go of it. Cancel-safe.
    pub(crate) async fn park(&mut self) {
        loop {
            match self.state {
                State::Over => {
                    (self.channel, self.input, self.outputs) = (None, None, [None, None]);
                    pending().await
                }
                State::Draining(..) => self.drain(),
                State::Running => {
                    let silent = self.silent_until();
                    let happened = tokio::select! {
                        biased;
                        happened = self.happens() => happened,
                        () = until(silent), if silent.is_some() => {
                            self.silence();
                            continue;
                        }
                    };
                    if self.take_up(happened).is_err() {
                        self.end(Exit::Signal(9));
                    }
                }
            }
            self.ready.forget_oldest();
        }
    }

    /// Has the exit read once more, if it was read.
    pub(crate) fn tell_again(&mut self) {
        if let Some(ended) = self.ended.as_ref().filter(|_| self.ready.is_empty()) {
            self.ready.push_end(ended.clone());
        }
    }

    /// When its silence is to end it; none if it may be silent.
    fn silent_until(&self) -> Option<Instant> {
        self.bounds.idle.filter(|_| !self.silenced).and_then(|idle| self.heard.checked_add(idle))
    }

    fn silence(&mut self) {
        self.silenced = true;
        self.kill();
    }

    async fn happens(&self) -> Happened {
        let [first, second] = [1 - self.last, self.last];
        tokio::select! {
            biased;
            // First, or something in the background that writes faster than we read would put the end off for ever.
            event = event_of(self.channel.as_deref()) => self.event(event),
            read = read(self.outputs[first].as_ref()) => Happened::Output(first, read),
            read = read(self.outputs[second].as_ref()) => Happened::Output(second, read),
        }
    }

    fn event(&self, event: Result<Option<(Event, Vec<OwnedFd>)>, ClientError>) -> Happened {
        match event {
            Ok(Some((Event::Exited { cause, status, met }, _))) => {
                let exit = match (cause, status) {
                    (Cause::Timeout, _) => Exit::TimedOut,
                    (Cause::Killed, _) if self.silenced => Exit::TimedOut,
                    (_, Status::Code(code)) => Exit::Code(code),
                    (_, Status::Signal(signal)) => Exit::Signal(signal),
                };
                Happened::Ended(exit, met)
            }
            Ok(None) if self.client.is_gone() => Happened::Gone(ClientError::Gone),
            // Its keeper was killed from within, and everything beneath it is killed for that.
            Ok(None) => Happened::Ended(Exit::Signal(9), Met::default()),
            Ok(Some(_)) => Happened::Gone(super::out_of_turn()),
            Err(error) => Happened::Gone(error),
        }
    }

    fn take_up(&mut self, happened: Happened) -> Result<(), ClientError> {
        match happened {
            Happened::Output(stream, Read::Bytes(bytes)) => {
                self.last = stream;
                self.give(stream, bytes);
            }
            Happened::Output(stream, Read::End) => self.outputs[stream] = None,
            Happened::Output(_, Read::Nothing) => {}
            Happened::Ended(exit, met) => {
                self.met = met;
                let waiting = |output: &Option<Output>| output.as_ref().map_or(0, Output::waiting);
                self.state = State::Draining(exit, [waiting(&self.outputs[0]), waiting(&self.outputs[1])]);
            }
            Happened::Gone(error) => {
                self.state = State::Over;
                self.tell_end(&Ended::of(Exit::Signal(9)));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes one piece of what was there when the command ended, or announces the end.
    fn drain(&mut self) {
        let State::Draining(exit, mut left) = self.state else { return };
        let next = (0..2).find(|stream| left[*stream] > 0 && self.outputs[*stream].is_some());
        let Some(stream) = next else { return self.end(exit) };
        let output = self.outputs[stream].as_ref().expect("it was looked for");
        match output.take(usize::try_from(left[stream]).unwrap_or(CHUNK).min(CHUNK)) {
            Read::Bytes(bytes) => {
                left[stream] = left[stream].saturating_sub(bytes.len() as u64);
                self.give(stream, bytes);
            }
            Read::Nothing | Read::End => left[stream] = 0,
        }
        self.state = State::Draining(exit, left);
    }

    fn end(&mut self, exit: Exit) {
        let ended = Ended { exit, dropped: self.dropped, limits: self.limits(exit) };
        self.tell_end(&ended);
        self.ready.push_end(ended.clone());
        self.ended = Some(ended);
        self.state = State::Over;
    }

    fn tell_end(&mut self, ended: &Ended) {
        if let Some(AtEnd(tell)) = self.at_end.take() {
            tell(ended);
        }
    }

    /// The limits that a command which ended like this ran into.
    fn limits(&self, exit: Exit) -> Vec<LimitReached> {
        let time = if self.silenced {
            self.bounds.idle.map(|idle| (CommandLimit::IdleTimeout, idle))
        } else {
            self.bounds.timeout.map(|timeout| (CommandLimit::Timeout, timeout))
        };
        let time = time.filter(|_| exit == Exit::TimedOut);
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let time = time.map(|(limit, time)| LimitReached { limit, value: milliseconds(time) });
        let output = LimitReached { limit: CommandLimit::Output, value: self.max_output };
        let output = (self.dropped > 0).then_some(output);
        let of_the_workspace = self.bounds.counters.iter().flat_map(|(counters, before)| {
            counters.met_by_init(self.met).chain(counters.reached_since(before))
        });
        let disks = self.bounds.disks.iter().filter_map(|(disk, before)| disk.reached_since(*before));
        time.into_iter().chain(output).chain(of_the_workspace).chain(disks).collect()
    }

    fn give(&mut self, stream: usize, mut bytes: Vec<u8>) {
        self.heard = Instant::now();
        let allowed = usize::try_from(self.allowance).unwrap_or(usize::MAX).min(bytes.len());
        self.allowance -= allowed as u64;
        self.dropped += (bytes.len() - allowed) as u64;
        bytes.truncate(allowed);
        if bytes.is_empty() {
            return;
        }
        self.ready.push(stream, bytes);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // With the channel goes the command.
        self.tell_end(&Ended::of(Exit::Signal(9)));
    }
}

async fn event_of(channel: Option<&AsyncFd<OwnedFd>>) -> Result<Option<(Event, Vec<OwnedFd>)>, ClientError> {
    match channel {
        Some(channel) => next_event(channel).await,
        None => Ok(None),
    }
}

async fn read(output: Option<&Output>) -> Read {
    match output {
        Some(output) => output.read().await,
        None => pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => pending().await,
    }
}
