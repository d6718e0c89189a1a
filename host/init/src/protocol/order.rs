//! What the host tells a running command's keeper.

/// Two bytes on a channel, after the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Send this signal to the command's process group.
    Signal(u8),
    /// End the command and all that it started.
    Kill,
}

impl Order {
    /// Bytes of an order.
    pub const LENGTH: usize = 2;

    /// The order's bytes.
    pub fn encode(self) -> [u8; Self::LENGTH] {
        match self {
            Self::Signal(signal) => [1, signal],
            Self::Kill => [2, 0],
        }
    }

    /// Reads an order; none if it is not one.
    pub fn decode(bytes: [u8; Self::LENGTH]) -> Option<Self> {
        match bytes {
            [1, signal @ 1..=64] => Some(Self::Signal(signal)),
            [2, 0] => Some(Self::Kill),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_survives_the_wire() {
        for order in [Order::Signal(15), Order::Kill] {
            assert_eq!(Order::decode(order.encode()), Some(order));
        }
    }

    #[test]
    fn a_signal_that_does_not_exist_is_not_an_order() {
        assert_eq!(Order::decode([1, 0]), None);
        assert_eq!(Order::decode([1, 65]), None);
    }
}
