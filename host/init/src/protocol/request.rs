//! What the host asks of process 1.

/// The first packet that init sends on the control socket: a letter and the version of this format.
pub const READY: [u8; 2] = [b'R', 2];

/// A packet on the control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Run a command. Descriptors: the channel, then standard input, if there is one, output and error, unless the
    /// [`Spec`](super::Spec) asks for a terminal.
    Exec,
    /// Listen on 127.0.0.1 at this port inside the workspace and pass the listening socket back. Descriptor: the
    /// channel.
    Listen {
        /// The port; 0 lets the kernel choose.
        port: u16,
    },
}

impl Request {
    /// Bytes of a packet.
    pub const LENGTH: usize = 3;

    /// The packet's bytes.
    pub fn encode(self) -> [u8; Self::LENGTH] {
        let (kind, port) = match self {
            Self::Exec => (1, 0),
            Self::Listen { port } => (2, port),
        };
        let [low, high] = u16::to_le_bytes(port);
        [kind, low, high]
    }

    /// Reads a packet; none if it is not one.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        match *packet {
            [1, 0, 0] => Some(Self::Exec),
            [2, low, high] => Some(Self::Listen { port: u16::from_le_bytes([low, high]) }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_wire() {
        for request in [Request::Exec, Request::Listen { port: 3128 }] {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
    }

    #[test]
    fn anything_else_is_not_a_request() {
        for packet in [&b""[..], b"\x01", b"\x01\x00\x01", b"\x03\x00\x00", b"\x01\x00\x00\x00"] {
            assert_eq!(Request::decode(packet), None, "{packet:?}");
        }
    }
}
