//! Which snapshots of set-ups stay.

use std::path::Path;
use std::time::SystemTime;

use sortie_workspace::container::Engine;
use sortie_workspace::snapshot::{SnapshotRules, Snapshots};

/// Removes snapshots that the rules do not keep any longer, with their images.
/// Returns how many there were.
pub(crate) async fn enforce(home: &Path, rules: SnapshotRules) -> usize {
    let snapshots = Snapshots::new(home, None);
    let mut images = Vec::new();
    let mut removed = 0;
    for one in snapshots.superfluous(rules, SystemTime::now()) {
        if snapshots.remove(&one.key) {
            removed += 1;
            images.extend(one.about.image);
        }
    }
    // `sortie gc` finds those that stay: no snapshot has their keys any more
    if !images.is_empty() {
        match Engine::connect().await {
            Ok(engine) => remove_images(&engine, &images).await,
            Err(error) => tracing::warn!(%error, "images of snapshots are not removed"),
        }
    }
    removed
}

async fn remove_images(engine: &Engine, images: &[String]) {
    for image in images {
        if let Err(error) = engine.remove_image(image).await {
            tracing::warn!(%error, image, "the image of a snapshot is not removed");
        }
    }
}
