//! The providers against real servers on loopback, and scripts.

mod conversation;
mod cuts;
mod faults;
mod keys;
mod permits;
mod quirks;
mod scripted;
mod server;
mod transcripts;
mod world;
