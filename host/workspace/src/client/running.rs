//! A command that was started: its output in order, its input, its end.

use std::collections::VecDeque;
use std::future::pending;
use std::os::fd::OwnedFd;
use std::time::Duration;

use sortie_init::descriptors;
use sortie_init::protocol::{Cause, Event, Order, Status};
use sortie_policy::ports::{Chunk, Ended, Exit};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::input::Input;
use super::output::{CHUNK, Output, Read};
use super::{Client, ClientError, next_event};

/// Output held back while input is being written, and while nobody is attached, in bytes.
const HELD: usize = 1 << 20;

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
}

/// A running command. Dropping it kills it with all that it started.
///
/// Output is read when it is asked for: a command that writes faster than its reader reads waits in the kernel,
/// so it costs the host the size of a pipe, whatever it writes.
#[derive(Debug)]
pub struct Running {
    client: Client,
    channel: AsyncFd<OwnedFd>,
    input: Option<Input>,
    /// Standard output and standard error, while somebody may write to them.
    outputs: [Option<Output>; 2],
    /// Which of the two was read last: the other has its turn.
    last: usize,
    /// Read but not yet given out.
    ready: VecDeque<Chunk>,
    held: usize,
    /// Bytes of output that may still be given out.
    allowance: u64,
    dropped: u64,
    state: State,
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
    Ended(Exit),
    Gone(ClientError),
}

impl Running {
    pub(super) fn new(
        client: Client,
        channel: AsyncFd<OwnedFd>,
        input: Option<Input>,
        outputs: [Option<Output>; 2],
        max_output: u64,
    ) -> Self {
        Self {
            client,
            channel,
            input,
            outputs,
            last: 1,
            ready: VecDeque::new(),
            held: 0,
            allowance: max_output,
            dropped: 0,
            state: State::Running,
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
            if let Some(mut chunk) = self.ready.pop_front() {
                self.held -= weight(&chunk);
                if let Chunk::Exit(ended) = &mut chunk {
                    ended.dropped = self.dropped;
                }
                return Ok(Some(chunk));
            }
            match self.state {
                State::Over => return Ok(None),
                State::Draining(..) => self.drain(),
                State::Running => {
                    let happened = tokio::select! {
                        biased;
                        happened = self.happens() => happened,
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
        while !data.is_empty() {
            let input = self.input.as_ref().ok_or(InputError::Closed)?;
            if !matches!(self.state, State::Running) {
                return Err(InputError::Closed);
            }
            let room = self.held < HELD;
            let happened = tokio::select! {
                biased;
                written = input.write(data) => match written {
                    Ok(count) => { data = &data[count..]; continue }
                    Err(_) => { self.input = None; return Err(InputError::Closed) }
                },
                happened = self.happens(), if room => happened,
                // Nobody else can read for us meanwhile; the command may still be reading, though.
                () = tokio::time::sleep(BLOCKED), if !room => return Err(InputError::Blocked),
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

    /// Kills the command with all that it started. The exit is still to be read.
    pub fn kill(&mut self) {
        self.order(Order::Kill);
    }

    /// Sends a signal to the command's process group.
    pub fn signal(&mut self, signal: u8) {
        self.order(Order::Signal(signal));
    }

    fn order(&self, order: Order) {
        // It fails if the keeper is gone, and everything beneath it with it: nothing is left to tell.
        let _ = descriptors::send(self.channel.get_ref(), &order.encode(), &[]);
    }

    /// Goes on reading with nobody attached, keeping the newest output. Cancel-safe.
    pub(crate) async fn park(&mut self) {
        loop {
            match self.state {
                State::Over => pending().await,
                State::Draining(..) => self.drain(),
                State::Running => {
                    let happened = self.happens().await;
                    if self.take_up(happened).is_err() {
                        self.end(Exit::Signal(9));
                    }
                }
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        while self.held > HELD {
            let Some(chunk) = self.ready.pop_front() else { return };
            self.held -= weight(&chunk);
            self.dropped += weight(&chunk) as u64;
        }
    }

    async fn happens(&self) -> Happened {
        let [first, second] = [1 - self.last, self.last];
        tokio::select! {
            biased;
            // First, or something in the background that writes faster than we read would put the end off for ever.
            event = next_event(&self.channel) => self.event(event),
            read = read(self.outputs[first].as_ref()) => Happened::Output(first, read),
            read = read(self.outputs[second].as_ref()) => Happened::Output(second, read),
        }
    }

    fn event(&self, event: Result<Option<(Event, Vec<OwnedFd>)>, ClientError>) -> Happened {
        match event {
            Ok(Some((Event::Exited { cause: Cause::Timeout, .. }, _))) => Happened::Ended(Exit::TimedOut),
            Ok(Some((Event::Exited { status: Status::Code(code), .. }, _))) => {
                Happened::Ended(Exit::Code(code))
            }
            Ok(Some((Event::Exited { status: Status::Signal(signal), .. }, _))) => {
                Happened::Ended(Exit::Signal(signal))
            }
            Ok(None) if self.client.is_gone() => Happened::Gone(ClientError::Gone),
            // Its keeper was killed from within, and everything beneath it is killed for that.
            Ok(None) => Happened::Ended(Exit::Signal(9)),
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
            Happened::Ended(exit) => {
                let waiting = |output: &Option<Output>| output.as_ref().map_or(0, Output::waiting);
                self.state = State::Draining(exit, [waiting(&self.outputs[0]), waiting(&self.outputs[1])]);
            }
            Happened::Gone(error) => {
                self.state = State::Over;
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
        self.ready.push_back(Chunk::Exit(Ended { exit, dropped: 0 }));
        self.state = State::Over;
    }

    fn give(&mut self, stream: usize, mut bytes: Vec<u8>) {
        let allowed = usize::try_from(self.allowance).unwrap_or(usize::MAX).min(bytes.len());
        self.allowance -= allowed as u64;
        self.dropped += (bytes.len() - allowed) as u64;
        bytes.truncate(allowed);
        if bytes.is_empty() {
            return;
        }
        self.held += bytes.len();
        self.ready.push_back(if stream == 0 { Chunk::Stdout(bytes) } else { Chunk::Stderr(bytes) });
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

fn weight(chunk: &Chunk) -> usize {
    match chunk {
        Chunk::Stdout(bytes) | Chunk::Stderr(bytes) => bytes.len(),
        Chunk::Exit(_) => 0,
    }
}
