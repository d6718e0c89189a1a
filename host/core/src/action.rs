//! Actions: what somebody is about to do.
//!
//! Each kind of effect is a type of its own here. The gate shows it to
//! policies as an [`Action`] (kind, target, details as JSON), and, once it is
//! permitted, hands the typed value back inside a permit.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::conversation::Conversation;
use crate::digest::Digest;
use crate::text::one_line;

/// The kinds of actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is described at its type below")]
pub enum ActionKind {
    TaskSubmit,
    WorkspaceCreate,
    RepositoryFetch,
    ToolCall,
    ToolResult,
    Exec,
    FileRead,
    FileWrite,
    HttpRequest,
    NetworkConnect,
    SecretUse,
    ModelRequest,
    Commit,
    Push,
    ChangeRequest,
}

impl ActionKind {
    /// All kinds.
    pub const ALL: [Self; 15] = [
        Self::TaskSubmit,
        Self::WorkspaceCreate,
        Self::RepositoryFetch,
        Self::ToolCall,
        Self::ToolResult,
        Self::Exec,
        Self::FileRead,
        Self::FileWrite,
        Self::HttpRequest,
        Self::NetworkConnect,
        Self::SecretUse,
        Self::ModelRequest,
        Self::Commit,
        Self::Push,
        Self::ChangeRequest,
    ];

    /// The kind's name in WIT, settings and events.
    pub fn name(self) -> &'static str {
        match self {
            Self::TaskSubmit => "task-submit",
            Self::WorkspaceCreate => "workspace-create",
            Self::RepositoryFetch => "repository-fetch",
            Self::ToolCall => "tool-call",
            Self::ToolResult => "tool-result",
            Self::Exec => "exec",
            Self::FileRead => "file-read",
            Self::FileWrite => "file-write",
            Self::HttpRequest => "http-request",
            Self::NetworkConnect => "network-connect",
            Self::SecretUse => "secret-use",
            Self::ModelRequest => "model-request",
            Self::Commit => "commit",
            Self::Push => "push",
            Self::ChangeRequest => "change-request",
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An action as policies and the journal see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Its kind.
    pub kind: ActionKind,
    /// What it acts on.
    pub target: String,
    /// The action in full.
    pub details: Value,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, one_line(&self.target, 200))
    }
}

/// A typed action. What a policy may change is what `details` shows.
pub trait Effect: Clone + Send + Sync + 'static {
    /// Its kind.
    const KIND: ActionKind;

    /// What it acts on, in the form usual for its kind.
    fn target(&self) -> String;

    /// The action in full, for policies. Never a secret.
    fn details(&self) -> Value;

    /// The action with these details in place of its own.
    ///
    /// # Errors
    /// If the details do not describe an action of this kind.
    fn with_details(&self, details: Value) -> Result<Self, serde_json::Error>;

    /// The action as policies see it.
    fn action(&self) -> Action {
        Action { kind: Self::KIND, target: self.target(), details: self.details() }
    }
}

macro_rules! plain_effect {
    ($type:ty, $kind:ident, |$this:ident| $target:expr) => {
        impl Effect for $type {
            const KIND: ActionKind = ActionKind::$kind;

            fn target(&self) -> String {
                let $this = self;
                $target
            }

            fn details(&self) -> Value {
                serde_json::to_value(self).expect("an action has string keys only")
            }

            fn with_details(&self, details: Value) -> Result<Self, serde_json::Error> {
                serde_json::from_value(details)
            }
        }
    };
}

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
    /// Network rule of the set-up.
    pub setup_network: String,
    /// Network rule of the agent's phase.
    pub agent_network: String,
}
plain_effect!(WorkspaceCreate, WorkspaceCreate, |this| this.backend.clone());

/// Commits are fetched from a repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositoryFetch {
    /// The repository, without credentials.
    pub url: String,
    /// The reference or commit asked for; none for the remote's HEAD.
    pub reference: Option<String>,
}
plain_effect!(RepositoryFetch, RepositoryFetch, |this| this.url.clone());

/// A tool is called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
plain_effect!(ToolCall, ToolCall, |this| this.tool.clone());

/// A tool's result is shown to the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
plain_effect!(ToolResult, ToolResult, |this| this.tool.clone());

/// A command runs in the workspace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// Program and arguments; not empty.
    pub argv: Vec<String>,
    /// Working directory in the workspace; none for the root of the work tree.
    #[serde(default)]
    pub cwd: Option<String>,
    /// Variables added to the workspace's environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Whether standard input is a pipe.
    #[serde(default)]
    pub stdin: bool,
    /// Whether the streams are a pseudo-terminal.
    #[serde(default)]
    pub tty: bool,
    /// Milliseconds until it is killed; none for the backend's limit.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// Bytes of output kept; none for the backend's limit.
    #[serde(default)]
    pub max_output: Option<u64>,
}
plain_effect!(Exec, Exec, |this| command_line(&this.argv));

/// An argument vector as one would type it in a POSIX shell.
pub fn command_line(argv: &[String]) -> String {
    let quote = |arg: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@%+,".contains(c);
        if !arg.is_empty() && arg.chars().all(plain) {
            arg.clone()
        } else {
            format!("'{}'", arg.replace('\'', r"'\''"))
        }
    };
    argv.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// How files are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case")]
pub enum ReadOperation {
    /// Bytes of one file.
    Read {
        /// First byte.
        offset: u64,
        /// Most bytes returned.
        max: u32,
    },
    /// Paths that match a glob.
    Glob {
        /// The glob.
        pattern: String,
    },
    /// Lines that match.
    Search {
        /// The regular expression.
        pattern: String,
        /// Whether case is ignored.
        ignore_case: bool,
        /// Most matches returned.
        max_matches: u32,
    },
    /// Which paths differ from the branch.
    Status,
    /// How paths differ.
    Diff {
        /// `head` or `base`.
        against: Against,
        /// Most bytes returned.
        max: u32,
    },
    /// Messages of commits.
    Log {
        /// Most commits returned.
        max: u32,
    },
    /// One commit.
    Show {
        /// The revision.
        rev: String,
        /// Most bytes returned.
        max: u32,
    },
}

/// What the work tree is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Against {
    /// The newest commit of the task's branch.
    Head,
    /// The commit that the task started from.
    Base,
}

/// Files of the work tree, or its changes, are read. For all but `read`, the
/// paths are those whose content or name the caller would learn; a policy may
/// drop some of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileRead {
    /// How.
    #[serde(flatten)]
    pub operation: ReadOperation,
    /// Which paths, relative to the root of the work tree.
    pub paths: Vec<String>,
}
plain_effect!(FileRead, FileRead, |this| match (&this.operation, this.paths.as_slice()) {
    (ReadOperation::Read { .. }, [path]) => path.clone(),
    (ReadOperation::Glob { pattern }, _) => format!("glob {pattern}"),
    (ReadOperation::Search { pattern, .. }, _) => format!("search {pattern}"),
    (ReadOperation::Status, _) => "git status".into(),
    (ReadOperation::Diff { .. }, _) => "git diff".into(),
    (ReadOperation::Log { .. }, _) => "git log".into(),
    (ReadOperation::Show { rev, .. }, _) => format!("git show {rev}"),
    (ReadOperation::Read { .. }, paths) => paths.join(" "),
});

/// What a file must be for a write to happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IfMatch {
    /// It must not exist.
    Absent,
    /// Anything.
    Any,
    /// It must have this etag.
    Etag(String),
}

/// How a file is changed.
#[derive(Clone, Debug, PartialEq)]
pub enum WriteOperation {
    /// It is replaced or created.
    Write {
        /// The new bytes. Shared, because the action is cloned on its way.
        data: Arc<[u8]>,
        /// What it must be now.
        if_match: IfMatch,
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

/// A file of the work tree is changed.
#[derive(Clone, Debug, PartialEq)]
pub struct FileWrite {
    /// The path, relative to the root of the work tree.
    pub path: String,
    /// How.
    pub operation: WriteOperation,
}

/// Details of a [`FileWrite`]. Text of up to [`SHOWN`] bytes is shown to
/// policies, and a policy may change it; other content is shown by its size
/// and digest.
#[derive(Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case", deny_unknown_fields)]
enum WriteDetails {
    Write { path: String, if_match: IfMatch, size: u64, sha256: String, text: Option<String> },
    Edit { path: String, old: String, new: String, count: u32 },
    Remove { path: String },
}

/// Bytes of a written text that policies see.
pub const SHOWN: usize = 1 << 20;

impl Effect for FileWrite {
    const KIND: ActionKind = ActionKind::FileWrite;

    fn target(&self) -> String {
        self.path.clone()
    }

    fn details(&self) -> Value {
        let path = self.path.clone();
        let details = match &self.operation {
            WriteOperation::Write { data, if_match } => WriteDetails::Write {
                path,
                if_match: if_match.clone(),
                size: data.len() as u64,
                sha256: Digest::of(data).to_string(),
                text: (data.len() <= SHOWN).then(|| String::from_utf8(data.to_vec()).ok()).flatten(),
            },
            WriteOperation::Edit { old, new, count } => {
                WriteDetails::Edit { path, old: old.clone(), new: new.clone(), count: *count }
            }
            WriteOperation::Remove => WriteDetails::Remove { path },
        };
        serde_json::to_value(details).expect("an action has string keys only")
    }

    fn with_details(&self, details: Value) -> Result<Self, serde_json::Error> {
        use serde::de::Error as _;
        Ok(match serde_json::from_value(details)? {
            WriteDetails::Write { path, if_match, sha256, text, .. } => {
                let data = match (text, &self.operation) {
                    (Some(text), _) => Arc::from(text.into_bytes()),
                    (None, WriteOperation::Write { data, .. }) if Digest::of(data).to_string() == sha256 => {
                        Arc::clone(data)
                    }
                    (None, _) => return Err(serde_json::Error::custom("the content is gone")),
                };
                Self { path, operation: WriteOperation::Write { data, if_match } }
            }
            WriteDetails::Edit { path, old, new, count } => {
                Self { path, operation: WriteOperation::Edit { old, new, count } }
            }
            WriteDetails::Remove { path } => Self { path, operation: WriteOperation::Remove },
        })
    }
}

/// A tool sends an HTTP request; each redirect is a request of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRequest {
    /// The method, in upper case.
    pub method: String,
    /// The whole URL, without credentials.
    pub url: String,
}
plain_effect!(HttpRequest, HttpRequest, |this| this.url.clone());

/// The workspace opens a connection through the egress proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConnect {
    /// Name or address, lower case, without brackets or a trailing dot.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The method and URL where the proxy sees them (plain HTTP).
    pub request: Option<String>,
}
plain_effect!(NetworkConnect, NetworkConnect, |this| format!("{}:{}", this.host, this.port));

/// The model is asked for a reply.
#[derive(Clone, Debug)]
pub struct ModelRequest {
    /// The provider, such as `anthropic`.
    pub provider: String,
    /// The model's name at that provider.
    pub model: String,
    /// Scheme, host and port that the request goes to; `none` for `scripted`.
    pub endpoint: String,
    /// Most tokens of the reply.
    pub max_output_tokens: u32,
    /// What is sent. Policies see its numbers; what it says they have seen
    /// already, as task and tool results.
    pub conversation: Arc<Conversation>,
}

#[derive(Serialize, Deserialize)]
struct ModelRequestDetails {
    provider: String,
    model: String,
    endpoint: String,
    max_output_tokens: u32,
    messages: usize,
    bytes: usize,
}

impl Effect for ModelRequest {
    const KIND: ActionKind = ActionKind::ModelRequest;

    fn target(&self) -> String {
        format!("{}/{}", self.provider, self.model)
    }

    fn details(&self) -> Value {
        json!(ModelRequestDetails {
            provider: self.provider.clone(),
            model: self.model.clone(),
            endpoint: self.endpoint.clone(),
            max_output_tokens: self.max_output_tokens,
            messages: self.conversation.messages.len(),
            bytes: self.conversation.bytes(),
        })
    }

    /// A policy may change the model and the length of the reply. Provider
    /// and endpoint are the operator's: a change of them is an error.
    fn with_details(&self, details: Value) -> Result<Self, serde_json::Error> {
        use serde::de::Error as _;
        let details: ModelRequestDetails = serde_json::from_value(details)?;
        if details.provider != self.provider || details.endpoint != self.endpoint {
            return Err(serde_json::Error::custom("provider and endpoint are fixed"));
        }
        Ok(Self { model: details.model, max_output_tokens: details.max_output_tokens, ..self.clone() })
    }
}

/// How a path differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The path; bytes that are not UTF-8 as U+FFFD.
    pub path: String,
    /// How it differs.
    pub kind: ChangeKind,
}

/// The work tree is committed to the task's branch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// The branch, without `refs/heads/`.
    pub branch: String,
    /// The message, without trailers.
    pub message: String,
    /// What changes against the branch's head. What is committed is at most
    /// this: a path that a policy dropped is left out.
    pub changes: Vec<Change>,
}
plain_effect!(Commit, Commit, |this| this.branch.clone());

/// The task's branch is pushed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
plain_effect!(Push, Push, |this| this.reference.clone());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_of_a_write_bring_the_write_back() {
        for data in [b"text".to_vec(), vec![0xff, 0xfe]] {
            let write = FileWrite {
                path: "a".into(),
                operation: WriteOperation::Write { data: data.into(), if_match: IfMatch::Any },
            };
            assert_eq!(write.with_details(write.details()).expect("reads back"), write);
        }
    }

    #[test]
    fn hidden_content_cannot_be_exchanged_by_details() {
        let write = |data: &[u8]| FileWrite {
            path: "a".into(),
            operation: WriteOperation::Write { data: data.into(), if_match: IfMatch::Any },
        };
        assert!(write(&[0xff]).with_details(write(&[0xfe]).details()).is_err());
    }

    #[test]
    fn names_of_kinds_agree_with_their_serialised_form() {
        for kind in ActionKind::ALL {
            assert_eq!(serde_json::to_value(kind).expect("serialises"), kind.name());
        }
    }

    #[test]
    fn a_command_line_quotes_what_a_shell_would_read_otherwise() {
        let argv = ["sh", "-c", "echo 'a b' $HOME", ""].map(String::from);
        assert_eq!(command_line(&argv), r"sh -c 'echo '\''a b'\'' $HOME' ''");
    }
}
