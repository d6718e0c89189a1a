//! Sortie as a user sees it: through the binary.

mod containers;
mod demo;
mod input;
mod plugins;
mod projects;
mod signals;
mod support;
mod wire;
