//! Sortie as a user sees it: through the binary.

mod archive;
mod background;
mod containers;
mod demo;
mod env;
mod environments;
mod input;
mod killed;
mod machine;
mod mirror;
mod plugins;
mod projects;
mod signals;
mod support;
mod wire;
