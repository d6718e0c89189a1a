//! The call of process 1, by which a container becomes a workspace.

use std::os::fd::OwnedFd;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerWaitResponse, HostConfig};
use bollard::query_parameters::WaitContainerOptions;
use futures_util::StreamExt as _;
use rustix::net::SocketFlags;
use rustix::net::sockopt::socket_peercred;
use sortie_init::protocol::READY;
use tokio::io::Interest;

use super::error::{ContainerError, reason, step};
use super::shape;
use crate::client::{Client, watch};

/// Containers start in less than a second; on a machine that takes this long something hangs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Starts the container and waits for process 1 to call; its number is as we see it. `asked` is what the engine was
/// asked to keep it within.
pub(super) async fn called(
    api: &Docker,
    id: &str,
    listener: OwnedFd,
    asked: &HostConfig,
) -> Result<(Client, i32), ContainerError> {
    let started = api.start_container(id, None).await;
    started.map_err(|error| step("start the container", &error))?;
    let mut end = api.wait_container(id, None::<WaitContainerOptions>);
    let connection = tokio::select! {
        connection = accept(listener) => connection?,
        end = end.next() => return Err(ContainerError::NoCall { reason: ended(end) }),
        () = tokio::time::sleep(TIMEOUT) => return Err(ContainerError::NoCall { reason: format!("waited for {} s", TIMEOUT.as_secs()) }),
    };
    let found = socket_peercred(&connection).map_err(std::io::Error::from)?.pid.as_raw_nonzero().get();
    let inspected = api.inspect_container(id, None).await;
    let inspected = inspected.map_err(|error| step("inspect the container", &error))?;
    let wanted = inspected.state.unwrap_or_default().pid.unwrap_or_default();
    if wanted != i64::from(found) {
        return Err(ContainerError::Impostor { found, wanted });
    }
    if let Some(limit) = shape::unkept(asked, &inspected.host_config.unwrap_or_default()) {
        let reason = format!("it dropped the one on {limit} without a word");
        return Err(ContainerError::Step { step: "keep the workspace's limits", reason });
    }
    let client = Client::new(connection)?;
    let mut word = [0; 64];
    let heard = tokio::time::timeout(TIMEOUT, client.packet(&mut word)).await;
    match heard {
        Ok(Ok(count)) if word[..count] == READY => Ok((client, found)),
        _ => {
            Err(ContainerError::NoCall { reason: "it called and said nothing that we understand".to_owned() })
        }
    }
}

/// What the engine says of the end of a container.
fn ended(end: Option<Result<ContainerWaitResponse, bollard::errors::Error>>) -> String {
    match end {
        Some(Ok(ContainerWaitResponse { status_code: code, .. }))
        | Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => {
            format!("it ended with status {code}")
        }
        Some(Err(error)) => reason(&error),
        None => "the engine lost it".to_owned(),
    }
}

/// Takes one call and closes the listener.
async fn accept(listener: OwnedFd) -> Result<OwnedFd, ContainerError> {
    let listener = watch(listener, Interest::READABLE)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let accept = |socket: &OwnedFd| rustix::net::accept_with(socket, flags).map_err(std::io::Error::from);
    Ok(listener.async_io(Interest::READABLE, accept).await?)
}
