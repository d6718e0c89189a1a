//! What a container writes to the engine's disk beside the folders that it was given: its root file system, and the
//! volumes that its image declares.
//!
//! No engine bounds that on every machine. So it is looked at as the workspace's own folders are ([`crate::disk`]): the
//! free space four times a second, and what was written when so much of it went that the limit could be near. Where
//! this process may look into the engine's folders, it counts the blocks there. Elsewhere the engine is asked, which
//! adds up sizes and leaves volumes out: these have the bound of free space alone.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::InspectContainerOptions;
use sortie_policy::ports::LimitReached;

use super::engine::Engine;
use crate::disk::{DiskError, DiskLimits, DiskWatch, EVERY, Guard, Space, Usage, Want};

/// An engine goes through a container's files in one answer.
const TIMEOUT: Duration = Duration::from_secs(600);

/// The watch over one container.
#[derive(Debug)]
pub(super) struct Written {
    guard: Guard,
    began: Instant,
}

impl Written {
    pub(super) fn new(engine: &Engine, limits: DiskLimits) -> Self {
        Self { guard: Guard::new(limits, engine.space()), began: Instant::now() }
    }

    /// Ends when what runs in the container is to be ended, and says for which limit.
    pub(super) async fn reached(&mut self, engine: &Engine, id: &str) -> LimitReached {
        loop {
            tokio::time::sleep(EVERY).await;
            if let Some(reached) = self.look(engine, id).await {
                return reached;
            }
        }
    }

    /// Whether nothing may run until there is less.
    pub(super) fn gave_up(&self) -> bool {
        self.guard.gave_up()
    }

    /// Looks once.
    pub(super) async fn look(&mut self, engine: &Engine, id: &str) -> Option<LimitReached> {
        let space = engine.space();
        let mut want = self.guard.look(self.began.elapsed(), space);
        if want == Want::Count {
            let began = Instant::now();
            // an engine that does not answer is asked again with the next look; it could not end anything either
            let used = count(engine, id).await?;
            want = self.guard.counted(self.began.elapsed(), began.elapsed(), space, used);
        }
        match want {
            Want::End(reached) => Some(reached),
            _ => None,
        }
    }
}

/// Bytes that a container has written; none if the engine does not say.
async fn count(engine: &Engine, id: &str) -> Option<u64> {
    let inspected = engine.api.inspect_container(id, None).await.ok()?;
    // what lies in it may be closed to anybody but root, and to a user's own engine
    let layer = layer(&inspected).filter(|_| rustix::process::geteuid().is_root());
    let asked = match layer {
        Some(_) => 0,
        None => size(engine, id).await?,
    };
    let folders: Vec<_> = volumes(&inspected).chain(layer).collect();
    let counted = tokio::task::spawn_blocking(move || {
        let to_the_end = AtomicBool::new(false);
        let mut usage = Usage::new(&to_the_end);
        folders.iter().for_each(|folder| usage.add_folder(folder));
        usage.bytes()
    });
    Some(counted.await.ok()?.saturating_add(asked))
}

/// What the engine says of the root file system alone.
async fn size(engine: &Engine, id: &str) -> Option<u64> {
    let api = engine.api.clone().with_timeout(TIMEOUT);
    let options = InspectContainerOptions { size: true };
    let size = api.inspect_container(id, Some(options)).await.ok()?.size_rw;
    // none is what an engine says of nothing
    Some(u64::try_from(size.unwrap_or_default()).unwrap_or_default())
}

/// The folder of the host in which changes of the root file system lie. None if the engine does not say, or this process
/// may not look into it.
fn layer(inspected: &ContainerInspectResponse) -> Option<PathBuf> {
    let folder = PathBuf::from(inspected.graph_driver.as_ref()?.data.get("UpperDir")?);
    std::fs::read_dir(&folder).is_ok().then_some(folder)
}

fn volumes(inspected: &ContainerInspectResponse) -> impl Iterator<Item = PathBuf> {
    let mounts = inspected.mounts.iter().flatten();
    let volumes = mounts.filter(|mount| mount.typ.as_deref() == Some("volume"));
    volumes.filter_map(|volume| volume.source.as_deref().map(PathBuf::from))
}

impl Engine {
    /// Whether there is room for what a container writes.
    pub(super) fn check_room(&self, limits: DiskLimits) -> Result<(), DiskError> {
        match self.root.as_deref().filter(|root| Space::of(root).is_ok()) {
            Some(root) => DiskWatch::check(root, limits),
            None => Ok(()),
        }
    }

    /// What is free where it keeps containers. Where nobody can tell, there is no end of it.
    pub(super) fn space(&self) -> Space {
        let space = self.root.as_deref().and_then(|root| Space::of(root).ok());
        space.unwrap_or(Space { bytes: u64::MAX, files: None, all_files: 0 })
    }
}
