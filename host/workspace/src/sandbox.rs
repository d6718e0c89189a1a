//! The built-in sandbox: a workspace from the kernel's own means, without a daemon and without root.
//!
//! Our own binary runs itself again as a helper with one thread, which makes the namespaces, assembles a new
//! root from an allow-list of the host's directories, gives up every privilege, and becomes init:
//!
//! ```text
//! host            helper                     inside
//! ────            ──────                     ──────
//! Sandbox::start  reads the plan
//!                 as root: takes the bind sources, becomes an unprivileged user
//!                 unshares, forks ─────────▶ process 1: mounts, pivots, limits
//!                 waits for it               no capabilities, Landlock, seccomp
//!                                            becomes init, which says that it is ready
//! ```
//!
//! The helper lives as long as init and carries its end to the host. The control socket ties the two ends: when
//! the host lets go of it, for whatever reason, init ends, and the kernel ends the namespace with it.
//!
//! What a command can reach inside: the work tree at `/workspace`, its home at `/home/agent`, `/tmp`, the
//! host's system directories read-only, and no network but its own loopback. What stands against a way out is
//! doubled wherever the kernel lets us: namespaces and seccomp for system calls, mounts and Landlock for files.

mod cgroup;
mod confine;
mod environment;
mod error;
mod helper;
mod identity;
mod landlock;
mod layout;
mod life;
mod limits;
mod mounts;
mod plan;
mod seccomp;
mod seeds;
mod start;
mod system;
mod toolchains;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::client::Client;
use crate::counters::Counters;

pub use cgroup::Cgroups;
pub(crate) use cgroup::counters_of;
pub(crate) use environment::base_variables;
pub use environment::{HOME, WORKSPACE};
pub use error::SandboxError;
pub use helper::helper_main_if_requested;
pub use identity::{BOX_ID, Owner};
pub use limits::{Accepted, Enforced, Keeper, Limits, Reduced};
pub(crate) use seccomp::filter_file;
pub(crate) use system::{groups, users};
pub use toolchains::Toolchains;

use life::Life;

/// What a sandbox is made from.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// The program that calls [`helper_main_if_requested`] first thing. Usually the running one.
    pub helper: PathBuf,
    /// The bytes of `sortie-init`.
    pub init: Cow<'static, [u8]>,
    /// The work tree, read and written at [`WORKSPACE`]. Must belong to [`Owner::current`].
    pub work_tree: PathBuf,
    /// The commands' home, read and written at [`HOME`]. Must belong to [`Owner::current`].
    pub home: PathBuf,
    /// Paths in the work tree that commands can neither read nor replace.
    ///
    /// Only what exists at the start can be hidden: what is made later was made by the commands, who know it
    /// already. [`Sandbox::unprotected`] names the paths that were not there. A mask hides the work tree's file,
    /// not the copies that a repository's history may hold.
    pub masks: Vec<PathBuf>,
    /// Paths in the work tree that commands can read but not change.
    ///
    /// As with masks only what exists can be protected, and a folder above can still be renamed: what is
    /// delivered has to be checked against the same rules.
    pub read_only: Vec<PathBuf>,
    /// Folders of the host that this sandbox must not see, though they lie in the system directories that every
    /// sandbox sees or in a toolchain: the state of Sortie itself, say.
    pub hidden: Vec<PathBuf>,
    /// The user's toolchains.
    pub toolchains: Toolchains,
    /// Certificate authorities to trust inside, as PEM; none for what the system directories hold.
    pub certificates: Option<PathBuf>,
    /// What the commands may use up.
    pub limits: Limits,
}

impl SandboxConfig {
    /// A sandbox of this program with the limits' defaults and no toolchains.
    pub fn new(init: impl Into<Cow<'static, [u8]>>, work_tree: PathBuf, home: PathBuf) -> Self {
        Self {
            helper: PathBuf::from("/proc/self/exe"),
            init: init.into(),
            work_tree,
            home,
            masks: Vec::new(),
            read_only: Vec::new(),
            hidden: Vec::new(),
            toolchains: Toolchains::default(),
            certificates: None,
            limits: Limits::default(),
        }
    }
}

/// Ends and removes what sandboxes of hosts that were killed left on this machine, and returns how many cgroups
/// that were. Their processes, namespaces and mounts end by themselves, when their control sockets close.
///
/// Looks into at most `most` cgroups of each hierarchy, those that a host in this process's own would have made first:
/// a machine may have thousands, and each takes some 20 µs.
pub fn sweep(most: usize) -> usize {
    cgroup::sweep(most)
}

/// A running sandbox. Dropping it ends it in the background; [`Sandbox::stop`] also waits.
#[derive(Debug)]
pub struct Sandbox {
    client: Client,
    life: Mutex<Option<Life>>,
    enforced: Enforced,
    counters: Arc<Counters>,
    unprotected: Vec<PathBuf>,
    environment: Vec<(String, String)>,
}

impl Sandbox {
    /// Starts a sandbox; it is ready for commands when this returns. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Which step failed, why, and what would help. There is no weaker sandbox to fall back to.
    pub async fn start(config: SandboxConfig) -> Result<Self, SandboxError> {
        start::start(config).await
    }

    /// Starts commands inside.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What the commands' environment holds: paths, home, toolchains, certificates. Names occur once.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// Who keeps which limit on this machine.
    pub fn enforced(&self) -> Enforced {
        self.enforced
    }

    /// How often the commands reached the limits of this sandbox.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// The number of the helper, which all of the sandbox hang on; none once it was stopped.
    pub fn process(&self) -> Option<i32> {
        self.life.lock().expect("nobody panics while holding it").as_ref().map(Life::process)
    }

    /// Masks and read-only paths that did not exist at the start, or that a link leads outside of the work tree.
    pub fn unprotected(&self) -> &[PathBuf] {
        &self.unprotected
    }

    /// Ends every process inside and waits until they are gone, and the limits' cgroups with them. A second
    /// call has nothing to do.
    pub async fn stop(&self) {
        self.client.hang_up();
        let life = self.life.lock().expect("nobody panics while holding it").take();
        if let Some(life) = life {
            // It ends in time whatever happens, and a panic in it has been reported already.
            let _ = tokio::task::spawn_blocking(move || life.end()).await;
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.client.hang_up();
        let life = self.life.get_mut().expect("nobody panics while holding it").take();
        if let Some(life) = life {
            std::thread::spawn(move || life.end());
        }
    }
}
