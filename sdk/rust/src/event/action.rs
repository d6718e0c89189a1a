//! Actions by kind. Keys that this version of the SDK does not know are
//! ignored here and stand in the event's details.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Error, Result};

/// What somebody is about to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Action {
    /// A task is taken on.
    TaskSubmit(TaskSubmit),
    /// A workspace is made.
    WorkspaceCreate(WorkspaceCreate),
    /// Commits are fetched.
    RepositoryFetch(RepositoryFetch),
    /// A tool is called.
    ToolCall(ToolCall),
    /// A tool's result is shown to the model.
    ToolResult(ToolResult),
    /// A command runs in the workspace.
    Exec(Exec),
    /// Files of the work tree, or its changes, are read.
    FileRead(FileRead),
    /// A file of the work tree is changed.
    FileWrite(FileWrite),
    /// A tool sends an HTTP request.
    HttpRequest(HttpRequest),
    /// The workspace opens a connection.
    NetworkConnect(NetworkConnect),
    /// The model is asked for a reply.
    ModelRequest(ModelRequest),
    /// The work tree is committed.
    Commit(Commit),
    /// The task's branch is pushed.
    Push(Push),
    /// A kind that this version of the SDK has no type for; see the event's
    /// `kind` and `details`.
    Other,
}

impl Action {
    pub(super) fn parse(kind: &str, details: &Value) -> Result<Self> {
        Ok(match kind {
            "task-submit" => Self::TaskSubmit(typed(kind, details)?),
            "workspace-create" => Self::WorkspaceCreate(typed(kind, details)?),
            "repository-fetch" => Self::RepositoryFetch(typed(kind, details)?),
            "tool-call" => Self::ToolCall(typed(kind, details)?),
            "tool-result" => Self::ToolResult(typed(kind, details)?),
            "exec" => Self::Exec(typed(kind, details)?),
            "file-read" => Self::FileRead(typed(kind, details)?),
            "file-write" => Self::FileWrite(typed(kind, details)?),
            "http-request" => Self::HttpRequest(typed(kind, details)?),
            "network-connect" => Self::NetworkConnect(typed(kind, details)?),
            "model-request" => Self::ModelRequest(typed(kind, details)?),
            "commit" => Self::Commit(typed(kind, details)?),
            "push" => Self::Push(typed(kind, details)?),
            _ => Self::Other,
        })
    }
}

fn typed<T: DeserializeOwned>(kind: &str, details: &Value) -> Result<T> {
    T::deserialize(details)
        .map_err(|error: serde_json::Error| Error::invalid(format!("details of {kind}: {error}")))
}

/// A task is taken on.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct TaskSubmit {
    /// The task in words.
    pub prompt: String,
    /// The repository, without credentials.
    pub repository: String,
    /// Provider and name of the model, as `provider/name`.
    pub model: String,
}

/// A workspace is made.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct WorkspaceCreate {
    /// The backend: `sandbox` or `docker`.
    pub backend: String,
    /// The image of a container, as somebody named it.
    #[serde(default)]
    pub image: Option<String>,
    /// `set-up` or `work`.
    #[serde(default)]
    pub stage: String,
    /// Whether commands are root inside.
    #[serde(default)]
    pub root: bool,
    /// Network rule of the set-up.
    pub setup_network: String,
    /// Network rule of the agent's phase.
    pub agent_network: String,
}

/// Commits are fetched from a repository.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct RepositoryFetch {
    /// The repository, without credentials.
    pub url: String,
    /// The reference or commit asked for; none for the remote's HEAD.
    pub reference: Option<String>,
}

/// A tool is called.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct ToolCall {
    /// Id of the call, unique within the task.
    pub call_id: String,
    /// The tool's name.
    pub tool: String,
    /// Id of the plugin that offers it.
    pub plugin: String,
    /// Its arguments, checked against the tool's schema.
    pub arguments: Value,
}

/// A tool's result is shown to the model.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct ToolResult {
    /// Id of the call.
    pub call_id: String,
    /// The tool's name.
    pub tool: String,
    /// What the model will read.
    pub content: String,
    /// Whether the call failed.
    pub failed: bool,
}

/// A command runs in the workspace.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Exec {
    /// Program and arguments; not empty.
    pub argv: Vec<String>,
    /// Working directory in the workspace; none for the root of the work tree.
    #[serde(default)]
    pub cwd: Option<String>,
    /// Variables added to the workspace's environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Whether it may live on after the call that started it.
    #[serde(default)]
    pub background: bool,
    /// Milliseconds until it is killed; none for the backend's limit, and in
    /// the background for the life of the task.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// Files of the work tree, or its changes, are read.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct FileRead {
    /// How: `read`, `glob`, `search`, `status`, `diff`, `log` or `show`.
    pub operation: String,
    /// The glob or the regular expression, for `glob` and `search`.
    #[serde(default)]
    pub pattern: Option<String>,
    /// What is compared with, for `diff`.
    #[serde(default)]
    pub against: Option<Against>,
    /// The revision, for `show`.
    #[serde(default)]
    pub rev: Option<String>,
    /// The paths whose content or name the caller would learn. For all but
    /// `read`, a policy may drop some of them.
    pub paths: Vec<String>,
}

/// What the work tree is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Against {
    /// The newest commit of the task's branch.
    Head,
    /// The commit that the task started from.
    Base,
}

/// A file of the work tree is changed.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct FileWrite {
    /// The path, relative to the root of the work tree.
    pub path: String,
    /// How.
    #[serde(flatten)]
    pub operation: WriteOperation,
}

/// How a file is changed.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WriteOperation {
    /// It is replaced or created.
    Write {
        /// Its new size in bytes.
        size: u64,
        /// SHA-256 of the new bytes, as 64 hexadecimal digits.
        sha256: String,
        /// The new text, if it is text of at most 1 MiB.
        text: Option<String>,
    },
    /// Text in it is replaced.
    Edit {
        /// The text that is replaced.
        old: String,
        /// The text in its place.
        new: String,
        /// How often `old` must occur.
        count: u32,
    },
    /// It is removed.
    Remove,
}

/// A tool sends an HTTP request; each redirect is a request of its own.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct HttpRequest {
    /// The method, in upper case.
    pub method: String,
    /// The whole URL, without credentials.
    pub url: String,
}

/// The workspace opens a connection through the egress proxy.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct NetworkConnect {
    /// Name or address, lower case, without brackets or a trailing dot.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The method and URL where the proxy sees them (plain HTTP).
    #[serde(default)]
    pub request: Option<String>,
}

/// The model is asked for a reply.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct ModelRequest {
    /// The provider, such as `anthropic`.
    pub provider: String,
    /// The model's name at that provider.
    pub model: String,
    /// Scheme, host and port that the request goes to.
    pub endpoint: String,
    /// Most tokens of the reply.
    pub max_output_tokens: u32,
    /// Messages of the conversation.
    #[serde(default)]
    pub messages: u64,
    /// Bytes of the conversation.
    #[serde(default)]
    pub bytes: u64,
}

/// How a path differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its content or mode differs.
    Modified,
    /// It is gone.
    Deleted,
}

/// One path that differs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Change {
    /// The path; bytes that are not UTF-8 as U+FFFD.
    pub path: String,
    /// How it differs.
    pub kind: ChangeKind,
}

/// The work tree is committed to the task's branch.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Commit {
    /// The branch, without `refs/heads/`.
    pub branch: String,
    /// The message, without trailers.
    pub message: String,
    /// What changes against the branch's head.
    pub changes: Vec<Change>,
}

/// The task's branch is pushed.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Push {
    /// Where to, without credentials.
    pub remote: String,
    /// The reference there, such as `refs/heads/sortie/fix-7k2m9q`.
    pub reference: String,
    /// The commit, as 40 hexadecimal digits.
    pub commit: String,
    /// What it changes against the base.
    pub changes: Vec<Change>,
}
