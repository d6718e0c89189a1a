//! Environments: what a task's workspace is made of, and how it is prepared
//! for work.
//!
//! One is read from settings, from a repository's `devcontainer.json`, or
//! guessed from the manifests in the root of a repository. Nothing here reads
//! a file or runs a command: callers bring the texts and do what is said. A
//! repository's text is hostile: it is bounded and checked before it counts.

mod check;
mod choice;
mod detect;
mod devcontainer;
mod table;

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use sortie_core::action::{ImageBuild, Service};
use sortie_core::network::NetworkRule;

pub use check::{Invalid, check_format, check_memory_mb, check_processes};
pub use choice::{Choice, Install, NeedsContainer, NoSetUp, Offers, Said, Source, check_secrets};
pub use detect::{Detected, PYTEST, Step, detect, is_python, is_requirements};
pub use devcontainer::{DEVCONTAINER_BYTES, DEVCONTAINERS, devcontainer};
pub use table::{OperatorTable, RepositoryTable, Table, WantedSecrets};

/// What a workspace is made of and how it is prepared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Environment {
    /// Who says so.
    pub origin: Origin,
    /// The image of a container; none for the backend's own choice.
    pub image: Option<Image>,
    /// Command lines for `sh -c` that prepare the workspace, in order; a
    /// snapshot is taken after them.
    pub setup: Vec<String>,
    /// Command lines that run before each task's work, after set-up or the
    /// restored snapshot.
    pub maintenance: Vec<String>,
    /// Whether these commands are root inside; in containers alone.
    pub setup_root: bool,
    /// What runs beside the workspace, in its network.
    pub services: Vec<Service>,
    /// Environment variables of all commands.
    pub variables: BTreeMap<String, String>,
    /// Secrets for the commands of set-up and maintenance, by the variable
    /// that holds them; from an operator's settings alone.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Secrets that a repository would like to have.
    pub wanted_secrets: Vec<String>,
    /// Where commands of set-up may connect to at most.
    pub setup_network: Option<NetworkRule>,
    /// Where commands of the work may connect to at most.
    pub agent_network: Option<NetworkRule>,
    /// What commands may use up at most.
    pub limits: EnvironmentLimits,
    /// Paths that are kept from the last snapshot where a new one is made:
    /// relative to the work tree, or to the home after `~/`.
    pub cache: Vec<String>,
    /// How tests are run: program and arguments, and how the output is read.
    pub test: Option<EnvironmentTest>,
    /// The base that a task starts from, where nobody names one.
    pub base: Option<String>,
    /// What was said and does not hold here, for people.
    pub notices: Vec<String>,
}

/// Who says what an environment is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// The user's settings, by this name.
    User(String),
    /// The organisation's settings, by this name.
    Organisation(String),
    /// The repository's own settings.
    Repository,
    /// A `devcontainer.json` at this path.
    Devcontainer(String),
    /// The manifests in the root of the repository.
    #[default]
    Detected,
}

impl Origin {
    /// Whether the repository says so, whom nobody has to trust.
    pub fn is_repositorys(&self) -> bool {
        matches!(self, Self::Repository | Self::Devcontainer(_))
    }

    /// The name by which an operator's settings have it.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::User(name) | Self::Organisation(name) => Some(name),
            Self::Repository | Self::Devcontainer(_) | Self::Detected => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "`{name}` of the user's settings"),
            Self::Organisation(name) => write!(f, "`{name}` of the organisation's settings"),
            Self::Repository => f.write_str("the repository's .sortie/config.toml"),
            Self::Devcontainer(path) => f.write_str(path),
            Self::Detected => f.write_str("what lies in the repository"),
        }
    }
}

/// Where the root file system of a container comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// From an image of this name or digest.
    Named(String),
    /// From a Dockerfile of the repository.
    Built(ImageBuild),
}

/// Where the host finds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub enum SecretSource {
    /// In this environment variable of its own.
    #[serde(rename = "env")]
    Variable(String),
    /// In this file, without a line break at its end.
    #[serde(rename = "file")]
    File(String),
}

/// What commands may use up at most; none for what holds anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct EnvironmentLimits {
    /// Megabytes (2^20 bytes) of memory.
    pub memory_mb: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// Processors, such as 1.5.
    pub cpus: Option<f64>,
    /// Minutes of one command of set-up or maintenance.
    pub setup_minutes: Option<u64>,
    /// Seconds that such a command may go without output.
    pub idle_seconds: Option<u64>,
}

/// How tests are run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct EnvironmentTest {
    /// Program and arguments.
    pub command: Vec<String>,
    /// How its output is read; see the tool `run_tests`.
    pub format: Option<String>,
}
