//! Sortie as a user sees it: through the binary.

mod archive;
mod background;
mod clock;
mod containers;
mod demo;
mod door;
mod env;
mod environments;
mod input;
mod killed;
mod machine;
mod managers;
mod mirror;
mod network;
mod plugins;
mod projects;
mod reclaim;
mod remotes;
mod signals;
mod support;
mod wire;
