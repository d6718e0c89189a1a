//! Sortie as a user sees it: through the binary.

mod archive;
mod background;
mod containers;
mod demo;
mod input;
mod killed;
mod mirror;
mod plugins;
mod projects;
mod signals;
mod support;
mod wire;
