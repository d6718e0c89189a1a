//! Files and egress, through their ports and a real gate.

#![expect(
    clippy::disallowed_methods,
    reason = "the tests are both ends: they make the gate, and play the outside"
)]

mod file_changes;
mod file_escapes;
mod file_surveys;
mod git;
mod hosts;
mod meter;
mod proxy;
mod proxy_bounds;
mod reach;
mod servers;
mod support;
mod tool_http;
mod uploads;
