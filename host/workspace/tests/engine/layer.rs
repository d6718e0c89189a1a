//! What a set-up writes into its container beside its folders has a bound, where the host can see it.

use std::sync::{Arc, Mutex};

use sortie_policy::ports::{CommandLimit, Exit, LimitReached};
use sortie_workspace::disk::{DiskLimits, DiskWatch};

use crate::support::{Place, eventually, image, sh, start, succeeds};

#[tokio::test]
async fn a_set_up_cannot_fill_the_engines_disk() {
    let Some(image) = image() else { return };
    let place = Place::new("layer");
    let work = start(place.config(&image)).await;
    assert_eq!(work.layer().await, None, "the agent writes nothing there");
    work.stop().await;
    let set_up = start(place.set_up(&image)).await;
    // a plain user may not look into the folders of root's engine
    let Some(layer) = set_up.layer().await else { return };
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let limits = DiskLimits { bytes: 32 << 20, free: 0 };
    let _watch = DiskWatch::start(
        set_up.client().clone(),
        vec![layer],
        Some(set_up.process()),
        limits,
        Box::new(move |reached| tell.lock().expect("nobody panics").push(reached)),
    )
    .unwrap_or_else(|error| panic!("it can be watched: {error}"));
    let filled = sh(&set_up, "head -c 300M /dev/zero > /var/full; sleep 1000").await;
    assert_eq!(filled.exit, Exit::Signal(9), "{filled:?}");
    let reached = LimitReached { limit: CommandLimit::Disk, value: 32 << 20 };
    // that is told after the kill, which the command does not wait for
    eventually("it is told", async || told.lock().expect("nobody panics").contains(&reached)).await;
    succeeds(&set_up, "rm /var/full").await;
    set_up.finish().await.expect("it ends");
}
