//! Which snapshots of set-ups stay.

use std::path::Path;
use std::time::SystemTime;

use sortie_workspace::container::Engine;
use sortie_workspace::snapshot::{SnapshotRules, Snapshots};

/// Removes snapshots that the rules do not keep any longer, with their images.
/// Returns how many there were.
pub(crate) async fn enforce(home: &Path, rules: SnapshotRules) -> usize {
    let snapshots = Snapshots::new(home, None);
    let mut removed = 0;
    for one in snapshots.superfluous(rules, SystemTime::now()) {
        if !snapshots.remove(&one.key) {
            continue;
        }
        removed += 1;
        if let Some(image) = &one.about.image
            && let Err(error) = remove_image(image).await
        {
            // `sortie gc` finds it: no snapshot has its key any more
            tracing::warn!(error, image, "the image of a snapshot is not removed");
        }
    }
    removed
}

/// Removes an image, by name or id, if there is one.
pub(crate) async fn remove_image(image: &str) -> Result<(), String> {
    let engine = Engine::connect().await.map_err(|error| error.to_string())?;
    engine.remove_image(image).await.map_err(|error| error.to_string())
}
