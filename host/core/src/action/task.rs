//! A task and its workspace.

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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceCreate {
    /// The backend: `sandbox` or `docker`.
    pub backend: String,
    /// The image of a container, by name or digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Network rule of the set-up.
    pub setup_network: String,
    /// Network rule of the agent's phase.
    pub agent_network: String,
}
plain_effect!(WorkspaceCreate, WorkspaceCreate, |this| this.backend.clone());
