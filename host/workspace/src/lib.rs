//! Isolated workspaces: the built-in sandbox, containers, the client of init, files beneath the root, the egress proxy.
//!
//! A workspace is where a task's commands run. [`sandbox`] makes one from the kernel's own means, [`container`]
//! has Docker or Podman make one, and both start init in it; [`client`] speaks with init; [`commands`] and
//! [`files`] are the effect ports on top, which take permits and nothing else; [`egress`] is the only way out to a
//! network; [`probe`] says what this machine can enforce, [`disk`] bounds what folders take up. [`archive`] keeps the folders of one that has ended,
//! [`fork`] copies them.
//!
//! ```no_run
//! # async fn example(init: Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
//! use sortie_workspace::client::Stdin;
//! use sortie_workspace::sandbox::{Sandbox, SandboxConfig};
//! use sortie_workspace::probe::command;
//!
//! let config = SandboxConfig::new(init, "/path/to/work".into(), "/path/to/home".into());
//! let sandbox = Sandbox::start(config).await?;
//! let spec = command(&["echo", "hello"], sandbox.environment());
//! let mut running = sandbox.client().spawn(&spec, Stdin::Null, 1 << 20).await?;
//! while let Some(chunk) = running.next(std::time::Duration::MAX).await? {
//!     println!("{chunk:?}");
//! }
//! sandbox.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! It never decides what may happen: that is the gate's part. Nothing here runs a command outside of a sandbox.

pub mod archive;
mod attributes;
pub mod client;
pub mod commands;
pub mod container;
mod copy;
pub mod counters;
pub mod disk;
pub mod egress;
pub mod files;
pub mod fork;
mod isolated;
pub mod needles;
pub mod probe;
pub mod registries;
mod remove;
pub mod sandbox;
pub mod snapshot;
mod spread;
mod traverse;

pub use isolated::Isolated;
pub use remove::remove_tree;
pub use spread::spread;
