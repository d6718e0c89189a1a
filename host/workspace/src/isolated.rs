//! What all kinds of workspaces have in common.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::client::Client;
use crate::container::Container;
use crate::counters::Counters;
use crate::sandbox::{Enforced, Keeper, Sandbox};

/// A running workspace of any kind. Dropping it ends it in the background.
#[async_trait]
pub trait Isolated: Send + Sync {
    /// Starts commands inside.
    fn client(&self) -> &Client;

    /// What the commands' environment holds. Names occur once.
    fn environment(&self) -> &[(String, String)];

    /// Masks and read-only paths that could not be put on, because nothing was there or a link was.
    fn unprotected(&self) -> &[PathBuf];

    /// Who keeps which limit.
    fn enforced(&self) -> Enforced;

    /// How often the commands reached the limits of this workspace; none if nobody counts.
    fn counters(&self) -> Option<Arc<Counters>>;

    /// Ends every process inside and waits until they are gone. A second call has nothing to do.
    async fn stop(&self);
}

#[async_trait]
impl Isolated for Sandbox {
    fn client(&self) -> &Client {
        self.client()
    }

    fn environment(&self) -> &[(String, String)] {
        self.environment()
    }

    fn unprotected(&self) -> &[PathBuf] {
        self.unprotected()
    }

    fn enforced(&self) -> Enforced {
        self.enforced()
    }

    fn counters(&self) -> Option<Arc<Counters>> {
        Some(self.counters())
    }

    async fn stop(&self) {
        self.stop().await;
    }
}

#[async_trait]
impl Isolated for Container {
    fn client(&self) -> &Client {
        self.client()
    }

    fn environment(&self) -> &[(String, String)] {
        self.environment()
    }

    fn unprotected(&self) -> &[PathBuf] {
        self.unprotected()
    }

    /// All by cgroups: an engine that cannot is refused at the start.
    fn enforced(&self) -> Enforced {
        Enforced { memory: Keeper::Cgroup, processes: Keeper::Cgroup, cpus: true, landlock: None }
    }

    fn counters(&self) -> Option<Arc<Counters>> {
        self.counters()
    }

    async fn stop(&self) {
        self.stop().await;
    }
}
