//! A task and its workspace.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A task is handed in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSubmit {
    /// The task in words.
    pub prompt: String,
    /// The repository, without credentials.
    pub repository: String,
    /// Provider and name of the model, as `provider/name`.
    pub model: String,
}
plain_effect!(TaskSubmit, TaskSubmit, |this| this.repository.clone());

/// A workspace is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceCreate {
    /// The backend: `sandbox` or `docker`.
    pub backend: String,
    /// The image of a container, by name or digest, as somebody named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The image in the engine that is started in its place, by id: what the
    /// name stood for when it was looked up, or what a set-up made of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// How the image is built, if nobody named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<ImageBuild>,
    /// What it is made for.
    #[serde(default)]
    pub stage: Stage,
    /// Whether commands are root inside; in the set-up of a container alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub root: bool,
    /// What runs beside it, in its network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    /// Network rule of the set-up.
    pub setup_network: String,
    /// Network rule of the agent's phase.
    pub agent_network: String,
}
plain_effect!(WorkspaceCreate, WorkspaceCreate, |this| this.backend.clone());

/// What a workspace is made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Set-up: commands of people, with secrets; a container can be written.
    SetUp,
    /// The agent's work: the hardened one.
    #[default]
    Work,
}

/// A Dockerfile of the repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageBuild {
    /// The Dockerfile, relative to the work tree.
    pub dockerfile: String,
    /// The folder that the build sees, relative to the work tree; `""` for all of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub context: String,
    /// The stage of the Dockerfile to build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Arguments of the Dockerfile.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
}

/// A further container in a workspace's network, such as a database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its name, by which commands reach it.
    pub name: String,
    /// Its image, by name or digest.
    pub image: String,
    /// Arguments in the place of the image's own; empty for those.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Its environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// A command line for `sh -c` in it that succeeds once it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// Seconds that it may take until it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_seconds: Option<u64>,
}

/// A secret is given to the commands of set-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretUse {
    /// The environment variable that will hold it.
    pub name: String,
    /// The environment that binds it.
    pub environment: String,
}
plain_effect!(SecretUse, SecretUse, |this| this.name.clone());
