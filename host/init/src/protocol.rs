//! The wire format between the host and init: three small messages, each bounded, none trusted to be whole.
//!
//! - [`Request`]: a packet on the control socket (`SOCK_SEQPACKET`, so that it arrives whole or not at all, and a
//!   sender that is cancelled can not leave half of one behind). Its first descriptor is the request's channel.
//! - [`Spec`]: what to run: one length-prefixed frame, the first thing on a channel. Then [`Order`]s.
//! - [`Event`]: what init answers on the channel, eight bytes each.

mod event;
mod order;
mod request;
mod spec;

pub use event::{Cause, Event, Met, Status, Step};
pub use order::Order;
pub use request::{READY, Request};
pub use spec::{MAX_SPEC, Spec, Window};
