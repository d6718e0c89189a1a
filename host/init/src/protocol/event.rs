//! What init reports about one request.

/// The step at which a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// The spec was malformed or too long.
    Spec = 1,
    /// The working directory could not be entered.
    Directory = 2,
    /// The program could not be started.
    Program = 3,
    /// No terminal could be made.
    Terminal = 4,
    /// No process could be made for it: the workspace is at its limit.
    Fork = 5,
    /// The port could not be listened on.
    Listen = 6,
}

impl Step {
    const ALL: [Self; 6] =
        [Self::Spec, Self::Directory, Self::Program, Self::Terminal, Self::Fork, Self::Listen];
}

/// Who ended a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// The command itself, or a signal from within the workspace.
    Own = 0,
    /// Its time was up.
    Timeout = 1,
    /// The host gave [`Order::Kill`](super::Order::Kill).
    Killed = 2,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It exited with this code, 0 to 255.
    Code(u8),
    /// This signal ended it.
    Signal(u8),
}

/// The limits of the whole workspace that process 1 looks after where no cgroup does, and whether they were met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// It killed something for the workspace's memory.
    pub memory: bool,
    /// There was no room for a process more. A moment in which nobody looked is not known of.
    pub processes: bool,
}

/// Eight bytes on a channel, from init to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The command runs. With a terminal, its controlling end is attached as a descriptor.
    Started {
        /// Its process id inside the workspace.
        pid: i32,
    },
    /// The request could not be served; nothing follows.
    Failed {
        /// What failed.
        step: Step,
        /// The kernel's error number.
        errno: i32,
    },
    /// The command ended. What it left running goes on until the channel hangs up.
    Exited {
        /// Who ended it.
        cause: Cause,
        /// How.
        status: Status,
        /// The limits of the workspace that were met meanwhile, by this command or another.
        met: Met,
    },
    /// The listening socket is attached as a descriptor.
    Listening,
}

impl Event {
    /// Bytes of an event.
    pub const LENGTH: usize = 8;

    /// The event's bytes.
    pub fn encode(self) -> [u8; Self::LENGTH] {
        let (kind, detail, how, more, value) = match self {
            Self::Started { pid } => (1, 0, 0, 0, pid),
            Self::Failed { step, errno } => (2, step as u8, 0, 0, errno),
            Self::Exited { cause, status, met } => {
                let (how, value) = match status {
                    Status::Code(code) => (0, code),
                    Status::Signal(signal) => (1, signal),
                };
                (3, cause as u8, how, u8::from(met.memory) | u8::from(met.processes) << 1, value.into())
            }
            Self::Listening => (4, 0, 0, 0, 0),
        };
        let [a, b, c, d] = i32::to_le_bytes(value);
        [kind, detail, how, more, a, b, c, d]
    }

    /// Reads an event; none if it is not one.
    pub fn decode(bytes: [u8; Self::LENGTH]) -> Option<Self> {
        let [kind, detail, how, more @ 0..=3, a, b, c, d] = bytes else { return None };
        let value = i32::from_le_bytes([a, b, c, d]);
        match kind {
            1 | 2 | 4 if more != 0 => None,
            1 => Some(Self::Started { pid: value }),
            2 => {
                let step = Step::ALL.into_iter().find(|step| *step as u8 == detail)?;
                Some(Self::Failed { step, errno: value })
            }
            3 => {
                let cause = [Cause::Own, Cause::Timeout, Cause::Killed].into_iter().nth(detail.into())?;
                let value = u8::try_from(value).ok()?;
                let status = if how == 0 { Status::Code(value) } else { Status::Signal(value) };
                let met = Met { memory: more & 1 != 0, processes: more & 2 != 0 };
                Some(Self::Exited { cause, status, met })
            }
            4 => Some(Self::Listening),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_survives_the_wire() {
        let mut events = vec![Event::Started { pid: 77 }, Event::Listening];
        events.extend(Step::ALL.map(|step| Event::Failed { step, errno: 2 }));
        for cause in [Cause::Own, Cause::Timeout, Cause::Killed] {
            for (memory, processes) in [(false, false), (false, true), (true, false), (true, true)] {
                let met = Met { memory, processes };
                events.push(Event::Exited { cause, status: Status::Code(255), met });
                events.push(Event::Exited { cause, status: Status::Signal(9), met });
            }
        }
        for event in events {
            assert_eq!(Event::decode(event.encode()), Some(event));
        }
    }

    #[test]
    fn anything_else_is_not_an_event() {
        for bytes in [
            [0; 8],
            [2, 9, 0, 0, 0, 0, 0, 0],
            [3, 7, 0, 0, 0, 0, 0, 0],
            [3, 0, 0, 0, 0, 1, 0, 0],
            [3, 0, 0, 4, 0, 0, 0, 0],
            [4, 0, 0, 1, 0, 0, 0, 0],
        ] {
            assert_eq!(Event::decode(bytes), None, "{bytes:?}");
        }
    }
}
