//! Removing containers, whatever state they are in.
//!
//! Where the engine is at it already, as it is with one that ends by itself, it says so with a conflict. It may be for
//! long: what commands wrote goes with the container, a file at a time. Nobody is to take it for gone meanwhile.

use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::ContainerStateStatusEnum;
use bollard::query_parameters::{InspectContainerOptions, RemoveContainerOptions};

use super::error::reason;

/// How long an engine may take: ten million files take minutes.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long it may refuse without being seen at it.
const REFUSES: Duration = Duration::from_secs(5);
/// How long it may take to say what it is at.
const ANSWER: Duration = Duration::from_secs(20);
/// How often it is asked, at first and later.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Removes a container and waits until it is gone; else says why it may not be.
pub(super) async fn remove(api: &Docker, id: &str) -> Result<(), String> {
    removed_within(api, id, PATIENCE).await
}

/// As [`remove`], for whom it is as well if it goes later.
pub(super) async fn remove_soon(api: &Docker, id: &str) -> Result<(), String> {
    removed_within(api, id, REFUSES).await
}

async fn removed_within(api: &Docker, id: &str, patience: Duration) -> Result<(), String> {
    let options = RemoveContainerOptions { force: true, v: true, ..RemoveContainerOptions::default() };
    let began = Instant::now();
    let mut at_it = began;
    loop {
        // it answers when it is done, and goes on with it where the client has waited long enough
        let why = match api.remove_container(id, Some(options.clone())).await {
            Ok(()) | Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(()),
            // Podman has no conflict, but an error of its own where a container ends as it is asked
            Err(error @ Error::DockerResponseServerError { status_code: 409 | 500.., .. }) => reason(&error),
            Err(Error::RequestTimeoutError) => "it gives no answer".to_owned(),
            Err(error) => return Err(reason(&error)),
        };
        if is_removing(api, id).await {
            at_it = Instant::now();
        }
        if at_it.elapsed() >= REFUSES {
            return Err(format!("the engine refuses it: {why}"));
        }
        if began.elapsed() >= patience {
            return Err(format!("the engine is not done with it after {} s: {why}", patience.as_secs()));
        }
        tokio::time::sleep((began.elapsed() / 10).clamp(PAUSE.0, PAUSE.1)).await;
    }
}

async fn is_removing(api: &Docker, id: &str) -> bool {
    let found = api.clone().with_timeout(ANSWER).inspect_container(id, None::<InspectContainerOptions>).await;
    let state = found.ok().and_then(|found| found.state);
    state.and_then(|state| state.status) == Some(ContainerStateStatusEnum::REMOVING)
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, Says};
    use super::*;

    #[tokio::test]
    async fn an_engine_that_is_at_it_is_waited_for_as_long_as_it_says_so() {
        // that takes longer than one is waited for that only refuses
        let fake = Fake::start(Says::default().refusing(45, "removing"));
        let engine = fake.connect().await.expect("it is there");
        assert_eq!(remove(&engine.api, "id").await, Ok(()));
    }

    #[tokio::test]
    async fn an_engine_that_fails_at_a_container_that_is_ending_is_asked_again() {
        let fake = Fake::start(Says::default().refusing(3, "stopped").with(500));
        let engine = fake.connect().await.expect("it is there");
        assert_eq!(remove(&engine.api, "id").await, Ok(()));
    }

    #[tokio::test]
    async fn a_container_that_an_engine_will_not_remove_or_not_in_time_is_not_said_to_be_gone() {
        for (status, wanted, patience) in [
            ("running", "the engine refuses it: ", PATIENCE),
            ("removing", "the engine is not done with it after 2 s: ", Duration::from_secs(2)),
        ] {
            let fake = Fake::start(Says::default().refusing(usize::MAX, status));
            let engine = fake.connect().await.expect("it is there");
            let error = removed_within(&engine.api, "id", patience).await.expect_err("it is there");
            assert!(error.starts_with(wanted) && error.contains("(status 409)"), "{error}");
        }
    }
}
