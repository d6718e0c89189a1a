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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::channel;

    #[tokio::test]
    async fn those_that_nobody_holds_are_forgotten_and_the_others_are_killed() {
        let channels = Channels::default();
        let (ours, theirs) = channel().expect("sockets can be made");
        let held = channels.add(ours);
        for _ in 0..1000 {
            let (ours, _) = channel().expect("sockets can be made");
            drop(channels.add(ours));
        }
        assert!(channels.0.lock().expect("nobody panics").len() < 10);
        assert_eq!(channels.kill(), 1);
        let mut order = [0; Order::LENGTH];
        assert_eq!(rustix::io::read(&theirs, &mut order), Ok(Order::LENGTH));
        assert_eq!(Order::decode(order), Some(Order::Kill));
        drop(held);
    }
}
