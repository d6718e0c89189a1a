//! The channels of the commands that run, so that all of them can be ended at once.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, Weak};

use sortie_init::descriptors;
use sortie_init::protocol::Order;
use tokio::io::unix::AsyncFd;

/// One for each command that somebody holds.
#[derive(Debug, Default)]
pub(super) struct Channels(Mutex<Vec<Weak<AsyncFd<OwnedFd>>>>);

impl Channels {
    /// Remembers a channel for as long as somebody holds it.
    pub(super) fn add(&self, channel: AsyncFd<OwnedFd>) -> Arc<AsyncFd<OwnedFd>> {
        let channel = Arc::new(channel);
        let mut channels = self.0.lock().expect("nobody panics while holding it");
        if channels.len() == channels.capacity() {
            channels.retain(|channel| channel.strong_count() > 0);
        }
        channels.push(Arc::downgrade(&channel));
        channel
    }

    /// Has all commands killed with what they started; returns how many there were.
    pub(super) fn kill(&self) -> usize {
        let channels: Vec<_> = {
            let mut channels = self.0.lock().expect("nobody panics while holding it");
            channels.retain(|channel| channel.strong_count() > 0);
            channels.iter().filter_map(Weak::upgrade).collect()
        };
        let order = Order::Kill.encode();
        // it fails if the keeper is gone, and everything beneath it with it
        channels.iter().filter(|channel| descriptors::send(channel.get_ref(), &order, &[]).is_ok()).count()
    }
}
