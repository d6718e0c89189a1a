//! How a service is: ready or not, or at its end. When a service is ready: when its command of health succeeds, else when its image's own check does, else when it is
//! still there after a moment.

use std::time::Duration;

use bollard::Docker;
use bollard::exec::StartExecResults;
use bollard::models::{ContainerInspectResponse, ContainerState, HealthStatusEnum};
use futures_util::StreamExt as _;
use sortie_core::action::Service;
use sortie_core::text::one_line;
use tokio::time::{Instant, sleep, timeout_at};

use crate::container::error::reason;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);
/// Before an engine that does not say when something ends is asked again.
const LONG: Duration = Duration::from_secs(5);
/// How long a service that nothing is known of has to stay.
const MOMENT: Duration = Duration::from_millis(500);
/// Seconds until it has to be ready, unless it says otherwise, and at most.
const SECONDS: u64 = 60;
const SECONDS_MAX: u64 = 3600;
/// Bytes of what its check says.
const OUTPUT: usize = 4096;

/// Waits until it is ready; else says why it is not.
pub(super) async fn ready(api: &Docker, id: &str, service: &Service) -> Result<(), String> {
    let seconds = service.health_seconds.unwrap_or(SECONDS).clamp(1, SECONDS_MAX);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut last = None;
    let waited = timeout_at(deadline, async {
        match &service.health {
            Some(command) => by_command(api, id, command, &mut last).await,
            None => by_image(api, id, &mut last).await,
        }
    });
    waited.await.unwrap_or_else(|_| {
        let last = last.map(|last| format!(": {last}")).unwrap_or_default();
        Err(format!("is not ready after {seconds} s{last}"))
    })
}

/// `last` is what its latest try came to.
async fn by_command(api: &Docker, id: &str, command: &str, last: &mut Option<String>) -> Result<(), String> {
    loop {
        running(api, id).await?;
        match exec(api, id, command).await {
            Ok((Some(0), _)) => return Ok(()),
            Ok((status, said)) => {
                let status = status.map_or("no status".to_owned(), |status| format!("status {status}"));
                let said = one_line(&said, 300);
                *last = Some(format!("`{}` ended with {status} {said}", one_line(command, 200)));
            }
            Err(error) => *last = Some(reason(&error)),
        }
        sleep(PAUSE).await;
    }
}

/// Runs the command to its end, and returns its status and the beginning of what it said.
async fn exec(
    api: &Docker,
    id: &str,
    command: &str,
) -> Result<(Option<i64>, String), bollard::errors::Error> {
    let options = bollard::exec::CreateExecOptions {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(vec!["sh", "-c", command]),
        ..Default::default()
    };
    let exec = api.create_exec(id, options).await?.id;
    let mut said = Vec::new();
    if let StartExecResults::Attached { mut output, .. } = api.start_exec(&exec, None).await? {
        while let Some(chunk) = output.next().await {
            let chunk = chunk?;
            let room = OUTPUT.saturating_sub(said.len());
            said.extend(chunk.as_ref().iter().take(room));
        }
    }
    let status = api.inspect_exec(&exec).await?.exit_code;
    Ok((status, String::from_utf8_lossy(&said).into_owned()))
}

async fn by_image(api: &Docker, id: &str, last: &mut Option<String>) -> Result<(), String> {
    let began = Instant::now();
    loop {
        // before it is asked for: an answer may come long after it was true
        let stayed = began.elapsed() >= MOMENT;
        let health = running(api, id).await?.health;
        let status = health.as_ref().and_then(|health| health.status);
        match status {
            Some(HealthStatusEnum::HEALTHY) => return Ok(()),
            Some(HealthStatusEnum::STARTING | HealthStatusEnum::UNHEALTHY) => {
                let latest = health.and_then(|health| health.log?.into_iter().next_back());
                *last = latest.and_then(|latest| latest.output).map(|output| one_line(&output, 300));
            }
            _ if stayed => return Ok(()),
            _ => {}
        }
        sleep(PAUSE).await;
    }
}

/// Waits for its end, and says how it ended; none if it is gone, or the engine is.
pub(super) async fn ended(api: &Docker, id: &str) -> Option<String> {
    loop {
        // what comes of waiting does not tell of memory, nor an error whether it ended
        let waited = api.wait_container(id, None).next().await;
        match state_of(api.inspect_container(id, None).await.ok()?) {
            Err(why) => return Some(why),
            Ok(_) if waited.is_some_and(|waited| waited.is_ok()) => {}
            Ok(_) => sleep(LONG).await,
        }
    }
}

/// Its state, while it runs.
async fn running(api: &Docker, id: &str) -> Result<ContainerState, String> {
    state_of(api.inspect_container(id, None).await.map_err(|error| reason(&error))?)
}

fn state_of(inspected: ContainerInspectResponse) -> Result<ContainerState, String> {
    let state = inspected.state.unwrap_or_default();
    if state.running == Some(true) {
        return Ok(state);
    }
    let memory = if state.oom_killed == Some(true) { ", out of memory" } else { "" };
    Err(format!("ended with status {}{memory}", state.exit_code.unwrap_or_default()))
}
