//! What a container is made from.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use sortie_core::action::{Service, Stage};

use super::engine::Engine;
use super::error::ContainerError;
use super::named::NamedBy;
use super::services;
use crate::disk::DiskLimits;
use crate::sandbox::{Limits, Owner};

/// What a container is made from.
#[derive(Clone, Debug)]
pub struct ContainerConfig {
    /// The image, by name, digest or id. The engine must have it.
    pub image: String,
    /// The task, for the label.
    pub task: String,
    /// Whose it is, for the label.
    pub owner: String,
    /// The bytes of `sortie-init`.
    pub init: Cow<'static, [u8]>,
    /// A folder that is made for what the container sees of ours, and removed with it. Its parent exists and is
    /// nobody else's.
    pub folder: PathBuf,
    /// The work tree, read and written at [`WORKSPACE`](crate::sandbox::WORKSPACE).
    pub work_tree: PathBuf,
    /// The commands' home, read and written at [`HOME`](crate::sandbox::HOME).
    pub home: PathBuf,
    /// Paths in the work tree that commands can neither read nor replace. Only what exists can be hidden.
    pub masks: Vec<PathBuf>,
    /// Paths in the work tree that commands can read but not change.
    pub read_only: Vec<PathBuf>,
    /// Certificate authorities to trust inside, as PEM; none for the image's own.
    pub certificates: Option<PathBuf>,
    /// What it is made for. In a set-up the files of the image can be written.
    pub stage: Stage,
    /// Whether commands are root inside, which they can be in a set-up alone. The folders then belong to nobody that
    /// can be relied on until [`Container::finish`](super::Container::finish).
    pub root: bool,
    /// What runs beside it, in its network. The engine must have their images. Each may use as much as the
    /// commands.
    pub services: Vec<Service>,
    /// Who named their images; a repository, unless somebody else is said.
    pub services_by: NamedBy,
    /// What the commands may use up.
    pub limits: Limits,
    /// What the container, and each service, may write to the engine's disk beside work tree and home.
    pub disk: DiskLimits,
    /// Hears what the limits ended that is no command.
    pub tell: Tell,
}

impl ContainerConfig {
    /// An agent's container with the limits' defaults, nothing masked and no services. Its labels are empty.
    pub fn new(
        image: impl Into<String>,
        init: impl Into<Cow<'static, [u8]>>,
        folder: PathBuf,
        work_tree: PathBuf,
        home: PathBuf,
    ) -> Self {
        Self {
            image: image.into(),
            task: String::new(),
            owner: String::new(),
            init: init.into(),
            folder,
            work_tree,
            home,
            masks: Vec::new(),
            read_only: Vec::new(),
            certificates: None,
            stage: Stage::Work,
            root: false,
            services: Vec::new(),
            services_by: NamedBy::default(),
            limits: Limits::default(),
            disk: DiskLimits::default(),
            tell: Tell::default(),
        }
    }

    /// Says what is wrong with it before anything is made.
    pub(super) fn check(&self, engine: &Engine) -> Result<(), ContainerError> {
        if self.root && self.stage != Stage::SetUp {
            let reason = "commands are root in a set-up alone".to_owned();
            return Err(ContainerError::Step { step: "start the workspace", reason });
        }
        services::check(&self.services)?;
        let uid = Owner::current().uid;
        for path in [&self.work_tree, &self.home] {
            let failed = |reason: String| ContainerError::Folder { path: path.clone(), reason };
            let metadata = std::fs::symlink_metadata(path).map_err(|error| failed(error.to_string()))?;
            let found = std::os::unix::fs::MetadataExt::uid(&metadata);
            if !metadata.is_dir() || found != uid {
                return Err(failed(format!("it must be a folder of user {uid}, as whom commands run")));
            }
        }
        match engine.about().unkept(&self.limits) {
            Some(reduced) => Err(ContainerError::Unenforceable(reduced)),
            None => Ok(()),
        }
    }
}

/// Hears, in a sentence for people, what was ended and why. It must not block.
#[derive(Clone)]
pub struct Tell(Arc<dyn Fn(String) + Send + Sync>);

impl Tell {
    /// Has this function hear it.
    pub fn new(hears: impl Fn(String) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hears))
    }

    pub(super) fn say(&self, sentence: String) {
        (self.0)(sentence);
    }
}

/// The log hears it.
impl Default for Tell {
    fn default() -> Self {
        Self::new(|sentence| tracing::warn!("{sentence}"))
    }
}

impl fmt::Debug for Tell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tell")
    }
}
