//! The sandbox as commands and the host see it. Run as root, everything is run once more as a plain user.

#![expect(
    clippy::disallowed_methods,
    reason = "the tests make the gate, play the outside, and probe the inside"
)]

mod attacks;
mod background;
mod clock;
mod commands;
mod containers;
mod disk;
mod escape;
mod folders;
mod images;
mod keepers;
mod kills;
mod limits;
mod network;
mod plain_user;
mod ports;
mod probes;
mod quotas;
#[path = "../shared/registry.rs"]
mod registry;
#[path = "../shared/running.rs"]
mod running;
mod state;
mod storms;
mod support;
