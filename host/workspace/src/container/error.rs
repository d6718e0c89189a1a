//! Why there is no container, and what would help.

use std::io;
use std::path::PathBuf;

use sortie_core::image::UnwantedImage;

use crate::client::ClientError;
use crate::disk::DiskError;
use crate::sandbox::Reduced;

/// Why a container engine cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The address is one of another machine, or of a transport that passes no files.
    #[error(
        "the container engine at `{address}` ({named}) is not on this machine, and a workspace needs one that \
         shares its kernel and files\nhint: unset it, or name the socket of a local engine: \
         DOCKER_HOST=unix:///var/run/docker.sock"
    )]
    Elsewhere {
        /// What was named.
        address: String,
        /// By what.
        named: String,
    },
    /// A settings file of Docker's client does not say where its context is.
    #[error("Docker's context `{context}` cannot be read from `{}`: {reason}", path.display())]
    Context {
        /// The context.
        context: String,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No socket of any engine is there.
    #[error(
        "no container engine found; looked for {looked}\nhint: start Docker or Podman (`systemctl start docker`, \
         `systemctl --user start podman.socket`), or set DOCKER_HOST, or use `--workspace sandbox`"
    )]
    Absent {
        /// Where.
        looked: String,
    },
    /// There is a socket, and nobody to speak with, or not for this user.
    #[error("the container engine at `{}` ({named}) does not answer: {reason}\nhint: {hint}", socket.display())]
    Silent {
        /// The socket.
        socket: PathBuf,
        /// What named it.
        named: String,
        /// Why, as the engine or the kernel tells it.
        reason: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// It is older than what the limits and flags of a workspace need.
    #[error(
        "the container engine speaks version {found} of its API; a workspace needs {wanted} (Docker 20.10, Podman 4) or later"
    )]
    Old {
        /// What it speaks.
        found: String,
        /// What is needed.
        wanted: &'static str,
    },
    /// It runs under another kernel: in a virtual machine, say.
    #[error(
        "the container engine runs under kernel {theirs}, this machine under {ours}: it is in a virtual machine or \
         elsewhere, and a workspace needs one that shares this kernel\nhint: run Sortie inside of that machine"
    )]
    OtherKernel {
        /// The engine's.
        theirs: String,
        /// This machine's.
        ours: String,
    },
}

/// Why a container did not start.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine has no such image and cannot get it.
    #[error(
        "the image `{image}` cannot be had: {reason}\nhint: `docker pull {image}` pulls it with your credentials; or \
         name another one"
    )]
    Image {
        /// Its name.
        image: String,
        /// As the engine tells it.
        reason: String,
    },
    /// Whoever names an image may not.
    #[error(transparent)]
    Unwanted(#[from] UnwantedImage),
    /// A folder of the workspace is not there, not one, or somebody else's.
    #[error("`{}` cannot be a folder of the workspace: {reason}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The engine refused a step.
    #[error("the container engine cannot {step}: {reason}")]
    Step {
        /// The step.
        step: &'static str,
        /// As the engine tells it.
        reason: String,
    },
    /// A limit was asked for that the engine cannot keep.
    #[error(
        "the container engine says that it cannot limit {} (a rootless engine needs cgroups delegated to it); to do \
         without, `accept = [\"{}\"]` below `[workspace]` in the settings, or for one run `--accept {}`", _0.limit(),
        _0.name(), _0.name()
    )]
    Unenforceable(Reduced),
    /// Process 1 of the container ended or never called.
    #[error("the container's process 1 did not call back: {reason}")]
    NoCall {
        /// What is known.
        reason: String,
    },
    /// Somebody else called than the container's process 1.
    #[error(
        "process {found} called on the workspace's socket, and not process 1 of the container, which is {wanted}"
    )]
    Impostor {
        /// Who called.
        found: i32,
        /// Who should have.
        wanted: i64,
    },
    /// A service beside the workspace.
    #[error("the service `{name}` {reason}{}", said(log))]
    Service {
        /// Its name.
        name: String,
        /// What became of it.
        reason: String,
        /// Its last lines.
        log: Vec<String>,
    },
    /// The engine's disk has no room for what the container may write.
    #[error("the container engine has no room: {0}")]
    Disk(#[from] DiskError),
    /// What a set-up left is more than may be kept.
    #[error(
        "{what} has {bytes} bytes, and {most} is the most\nhint: let set-up remove what it does not need"
    )]
    TooLarge {
        /// What.
        what: String,
        /// How many it has.
        bytes: u64,
        /// How many it may have.
        most: u64,
    },
    /// A set-up ran as root, and its files cannot be made the workspace's again.
    #[error("the folders of the set-up, whose commands were root, cannot be given back: {reason}")]
    NotGivenBack {
        /// Why.
        reason: String,
    },
    /// An image of the repository's cannot be built.
    #[error("the image of `{dockerfile}` cannot be built: {reason}")]
    Build {
        /// The Dockerfile.
        dockerfile: String,
        /// Why, with the last lines of the build.
        reason: String,
    },
    /// The first word was not init's.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Files or sockets on the host's side could not be made.
    #[error("cannot prepare the container: {0}")]
    Io(#[from] io::Error),
}

fn said(log: &[String]) -> String {
    if log.is_empty() { String::new() } else { format!("; it said last:\n  {}", log.join("\n  ")) }
}

/// What the engine says, in one line.
pub(super) fn reason(error: &bollard::errors::Error) -> String {
    use bollard::errors::Error;
    match error {
        Error::DockerResponseServerError { message, status_code } => {
            format!("{} (status {status_code})", sortie_core::text::one_line(message, 500))
        }
        error => sortie_core::text::one_line(&error.to_string(), 500),
    }
}

pub(super) fn step(step: &'static str, error: &bollard::errors::Error) -> ContainerError {
    ContainerError::Step { step, reason: reason(error) }
}
