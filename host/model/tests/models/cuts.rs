//! Streams in pieces, and streams that end too early.

use sortie_policy::ports::ModelError;

use crate::server::{End, Response, Server};
use crate::transcripts::{PROVIDERS, worked, working};
use crate::world::{World, once, opening, options};

#[tokio::test]
async fn a_reply_is_the_same_wherever_its_stream_is_cut() {
    for provider in PROVIDERS {
        let stream = working(provider).into_bytes();
        let (count, bytes) = (stream.len(), stream.clone());
        let server = Server::answering(move |number, _| {
            let cut = number.min(bytes.len());
            Response::stream("").pieces([bytes[..cut].to_vec(), bytes[cut..].to_vec()])
        })
        .await;
        let world = World::at_with(&server, provider, once());
        for cut in 0..=count {
            let reply = world.ask(opening()).await.expect("is whole");
            assert_eq!(reply, worked(provider), "{provider}, cut at byte {cut}");
        }
    }
}

#[tokio::test]
async fn a_reply_may_come_byte_by_byte() {
    for provider in PROVIDERS {
        let bytes = working(provider).into_bytes();
        let server = Server::with([Response::stream("").pieces(bytes.chunks(1).map(<[u8]>::to_vec))]).await;
        let world = World::at_with(&server, provider, once());
        assert_eq!(world.ask(opening()).await.expect("is whole"), worked(provider), "{provider}");
        assert_eq!(world.watcher.text(), "Größe 🦀 prüfen", "{provider}");
    }
}

#[tokio::test]
async fn a_stream_that_ends_early_never_passes_for_a_whole_reply() {
    for provider in PROVIDERS {
        let stream = working(provider).into_bytes();
        let (count, bytes) = (stream.len(), stream.clone());
        let server = Server::answering(move |number, _| {
            let end = if number % 2 == 0 { End::Whole } else { End::Cut };
            Response::stream(&bytes[..number.min(bytes.len())]).end(end)
        })
        .await;
        let world = World::at_with(&server, provider, once());
        let mut broken = 0;
        for request in 0..count {
            match world.ask(opening()).await {
                Err(ModelError::Exhausted { .. }) => broken += 1,
                // after the finish reason, only the usage can be missing
                Ok(reply) => assert_eq!(reply.items, worked(provider).items, "{provider}, request {request}"),
                Err(error) => panic!("{provider}, request {request}: {error}"),
            }
        }
        assert!(broken > count / 2, "{provider}: {broken} of {count}");
    }
}

#[tokio::test]
async fn a_broken_stream_is_asked_for_again() {
    for provider in PROVIDERS {
        let stream = working(provider);
        let half = &stream.as_bytes()[..stream.len() / 2];
        let server = Server::with([
            Response::stream(half).end(End::Cut),
            Response::stream(half),
            Response::stream(&stream),
        ])
        .await;
        let world = World::at_with(&server, provider, options());
        assert_eq!(world.ask(opening()).await.expect("is whole in the end"), worked(provider), "{provider}");
        assert_eq!(world.watcher.retries().len(), 2, "{provider}");
        assert_eq!(world.watcher.text(), "Größe 🦀 prüfen", "the text starts again after a retry");
    }
}
