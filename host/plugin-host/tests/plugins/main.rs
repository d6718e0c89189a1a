//! Plugins as a host meets them: loaded, denied, misbehaving.

mod components;
mod effects;
mod load;
mod misbehaviour;
mod policies;
mod ports;
mod task;
