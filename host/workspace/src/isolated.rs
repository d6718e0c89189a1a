//! What all kinds of workspaces have in common.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::client::Client;
use crate::container::{Container, ContainerError};
use crate::counters::Counters;
use crate::disk::DiskReached;
use crate::sandbox::{Enforced, Sandbox};

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

    /// The host's number of a process that all of the workspace hang on.
    fn process(&self) -> Option<i32>;

    /// How often commands reached the limits of the disk beside work tree and home; none where they cannot write there.
    fn disk(&self) -> Option<Arc<DiskReached>> {
        None
    }

    /// Keeps the root file system as an image of this name, of at most so many bytes, and says its id; none where
    /// commands cannot change it.
    ///
    /// # Errors
    /// If the engine fails, or it is too large.
    async fn commit(&self, name: &str, most: u64) -> Result<Option<String>, ContainerError>;

    /// Files of the root file system that commands have changed and that hold one of these.
    ///
    /// # Errors
    /// If they cannot be read.
    async fn search_root(&self, needles: &[Vec<u8>]) -> Result<Vec<String>, ContainerError>;

    /// Ends every process inside and waits until they are gone. A second call has nothing to do.
    ///
    /// # Errors
    /// If they may be there still, or work tree and home are those of their root: nobody is to touch them then.
    async fn stop(&self) -> Result<(), ContainerError>;
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

    fn process(&self) -> Option<i32> {
        self.process()
    }

    async fn commit(&self, _: &str, _: u64) -> Result<Option<String>, ContainerError> {
        Ok(None)
    }

    async fn search_root(&self, _: &[Vec<u8>]) -> Result<Vec<String>, ContainerError> {
        Ok(Vec::new())
    }

    async fn stop(&self) -> Result<(), ContainerError> {
        self.stop().await;
        Ok(())
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

    fn enforced(&self) -> Enforced {
        self.enforced()
    }

    fn counters(&self) -> Option<Arc<Counters>> {
        self.counters()
    }

    fn process(&self) -> Option<i32> {
        Some(self.process())
    }

    fn disk(&self) -> Option<Arc<DiskReached>> {
        self.disk()
    }

    async fn commit(&self, name: &str, most: u64) -> Result<Option<String>, ContainerError> {
        self.commit(name, most).await.map(Some)
    }

    async fn search_root(&self, needles: &[Vec<u8>]) -> Result<Vec<String>, ContainerError> {
        self.search_root(needles).await
    }

    async fn stop(&self) -> Result<(), ContainerError> {
        self.finish().await
    }
}
