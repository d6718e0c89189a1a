//! What the engine is asked to make of a service.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, RestartPolicy, RestartPolicyNameEnum,
};
use sortie_core::action::Service;

use crate::container::engine::Engine;
use crate::container::shape::limited;
use crate::container::{ContainerConfig, OWNER_LABEL, SERVICE_LABEL, TASK_LABEL, WORKSPACE_LABEL};

/// What images of services take to become their own user and to own their files.
const CAPABILITIES: [&str; 5] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"];
/// What is kept of its output.
const LOG: &str = "1m";

/// The request. Each service may use as much as the workspace itself.
pub(super) fn service(
    engine: &Engine,
    config: &ContainerConfig,
    service: &Service,
    image: &str,
    workspace: &str,
) -> ContainerCreateBody {
    let labels = [
        (TASK_LABEL, config.task.as_str()),
        (OWNER_LABEL, &config.owner),
        (SERVICE_LABEL, &service.name),
        (WORKSPACE_LABEL, workspace),
    ];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let variables = service.variables.iter().map(|(name, value)| format!("{name}={value}"));
    ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: Some(service.command.clone()).filter(|command| !command.is_empty()),
        env: Some(variables.collect()),
        labels: Some(labels.into()),
        host_config: Some(host_config(engine, config, workspace)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(engine: &Engine, config: &ContainerConfig, workspace: &str) -> HostConfig {
    HostConfig {
        network_mode: Some(format!("container:{workspace}")),
        // its last words are wanted after its end
        auto_remove: Some(false),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        cap_add: Some(CAPABILITIES.map(str::to_owned).into()),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([("max-size".to_owned(), LOG.to_owned())])),
        }),
        // as the engine's own settings say, as is everything else that concerns its processes
        init: None,
        ..limited(engine.about(), &engine.security, &config.limits)
    }
}
