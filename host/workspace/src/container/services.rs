//! Services: further containers in the network of a workspace, such as a database.
//!
//! They share the workspace's network namespace and nothing else of it, so what they listen on is at 127.0.0.1 for the
//! commands and nobody else, and their way out is the workspace's: none but the proxy. They are what their image says,
//! root in it included, with few capabilities. Unlike the workspace they do not end with their host: one that was killed
//! leaves them to [`Container::reclaim`](super::Container::reclaim), and a note that there are some. One that writes too
//! much to the engine's disk is ended, as soon as it is seen, and its volumes go with it.

mod health;
mod shape;

use std::collections::BTreeSet;

use bollard::Docker;
use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt as _;
use futures_util::future::{join_all, try_join_all};
use sortie_core::action::Service;
use sortie_core::text::one_line;
use tokio_util::task::AbortOnDropHandle;

use super::config::{ContainerConfig, Tell};
use super::engine::Engine;
use super::error::{ContainerError, reason};
use super::written::Written;
use super::{Made, remove};

/// Services of one workspace.
const MOST: usize = 16;
/// Lines of a service that an error shows.
const LINES: usize = 20;
/// Bytes of such a line.
const LINE: usize = 300;

/// Running services. Dropping them removes them in the background.
#[derive(Debug)]
pub(super) struct Services {
    running: Vec<Running>,
    api: Docker,
}

/// A service that is ready, and who sees to what it writes.
#[derive(Debug)]
struct Running {
    made: Made,
    watch: AbortOnDropHandle<()>,
}

impl Services {
    /// Starts all that the configuration names in the network of container `workspace`, at the same time, and waits
    /// until each is ready. If one is not, none stays.
    pub(super) async fn start(
        engine: &Engine,
        config: &ContainerConfig,
        workspace: &str,
    ) -> Result<Self, ContainerError> {
        let starts = config.services.iter().map(|service| start(engine, config, service, workspace));
        // each is held from when it is made: whoever gives this up lets all of them go
        let running = try_join_all(starts).await?;
        Ok(Self { running, api: engine.api.clone() })
    }

    /// Ends and removes them, all, and says why one may be there still.
    pub(super) async fn stop(&self) -> Result<(), String> {
        // that these end is no news
        self.running.iter().for_each(|running| running.watch.abort());
        let ids = self.running.iter().filter_map(|running| running.made.id());
        join_all(ids.map(|id| remove(&self.api, id))).await.into_iter().collect()
    }
}

/// Says what is wrong with the services of a configuration before anything is made.
pub(super) fn check(services: &[Service]) -> Result<(), ContainerError> {
    if services.len() > MOST {
        let reason = format!("has {} services, and {MOST} is the most", services.len());
        return Err(ContainerError::Step { step: "start the services of the workspace, which", reason });
    }
    let mut seen = BTreeSet::new();
    for service in services {
        if !is_name(&service.name) {
            let reason = "is no name of a host: lower-case letters, digits and `-`, at most 63".to_owned();
            return Err(failed(service, reason, Vec::new()));
        }
        if !seen.insert(&service.name) {
            return Err(failed(service, "is there twice".to_owned(), Vec::new()));
        }
    }
    Ok(())
}

/// A label of a host's name, and not the workspace's own.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(plain)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !["localhost", "sortie"].contains(&name)
}

async fn start(
    engine: &Engine,
    config: &ContainerConfig,
    service: &Service,
    workspace: &str,
) -> Result<Running, ContainerError> {
    let of_engine = |error| failed(service, format!("cannot be started: {}", reason(&error)), Vec::new());
    // without this, an engine may say of an image that it lacks what it says of other things
    let image = engine.image_by(&service.image, &config.services_by).await?;
    let body = shape::service(engine, config, service, &image.id, workspace);
    let id = engine.api.create_container(None, body).await.map_err(of_engine)?.id;
    let made = Made::new(engine.api.clone(), id.clone());
    let mut written = Written::new(engine, config.disk);
    engine.api.start_container(&id, None).await.map_err(of_engine)?;
    let ready = tokio::select! {
        ready = health::ready(&engine.api, &id, service) => ready,
        reached = written.reached(engine, &id) => Err(format!("reached the limit {reached} of the disk")),
    };
    if let Err(reason) = ready {
        return Err(failed(service, reason, last_lines(&engine.api, &id).await));
    }
    let watch = watch(engine.clone(), id, written, service.name.clone(), config.tell.clone());
    Ok(Running { made, watch: AbortOnDropHandle::new(tokio::spawn(watch)) })
}

/// Removes a service that has written too much, and tells of it, or of one that ends by itself.
async fn watch(engine: Engine, id: String, mut written: Written, name: String, tell: Tell) {
    tokio::select! {
        reached = written.reached(&engine, &id) => {
            // what stays is ended with the workspace
            drop(remove(&engine.api, &id).await);
            tell.say(format!("the service `{name}` reached the limit {reached} of the disk, and was ended"));
        }
        ended = health::ended(&engine.api, &id) => {
            // none if somebody removed it
            let Some(reason) = ended else { return };
            let log = last_lines(&engine.api, &id).await;
            let error = ContainerError::Service { name, reason, log };
            tell.say(format!("{error}; it is not started again"));
        }
    }
}

fn failed(service: &Service, reason: String, log: Vec<String>) -> ContainerError {
    ContainerError::Service { name: one_line(&service.name, 63), reason, log }
}

/// The last that a container wrote, in lines that are safe to show; nothing, if the engine does not say.
pub(super) async fn last_lines(api: &Docker, id: &str) -> Vec<String> {
    let options =
        LogsOptions { stdout: true, stderr: true, tail: LINES.to_string(), ..LogsOptions::default() };
    let mut chunks = api.logs(id, Some(options));
    let mut text = Vec::new();
    while let Some(Ok(chunk)) = chunks.next().await {
        text.extend_from_slice(chunk.as_ref());
        // a line has no bound of its own
        if text.len() > LINES * LINE * 16 {
            break;
        }
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(|line| one_line(line, LINE)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Service {
        Service { name: name.to_owned(), ..Service::default() }
    }

    #[test]
    fn a_service_has_a_hosts_name_of_its_own() {
        assert!(check(&[named("db"), named("cache-2")]).is_ok());
        let long = "x".repeat(64);
        let line = "a:127.0.0.1\n1.2.3.4 b";
        for wrong in ["", "-a", "a-", "A", "a.b", "a_b", "a b", line, "localhost", "sortie", &long] {
            assert!(check(&[named(wrong)]).is_err(), "{wrong}");
        }
        assert!(check(&[named("db"), named("db")]).is_err());
        let many: Vec<_> = (0..=MOST).map(|number| named(&format!("s{number}"))).collect();
        assert!(check(&many[1..]).is_ok() && check(&many).is_err());
    }
}
