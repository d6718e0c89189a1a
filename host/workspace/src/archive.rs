//! Archives: what is kept of a task once its workspace is gone.
//!
//! One file a task, `TASK.tar.zst`, in a folder that nobody else can enter:
//!
//! ```text
//! manifest.json      what it was, how it ended, with which components and settings; always the first
//! journal.jsonl      the task's events
//! changes.diff       the change, if there is one
//! blobs/SHA256       outputs too large for the journal
//! workspace/…        the work tree: folders, files and links
//! ```
//!
//! Writing reads a workspace that somebody hostile filled, see [`pack`]; reading takes nothing in an archive on trust
//! either, see [`unpack`]. A file is written aside, under a lock that ends with its writer, synced, and moved into
//! place: what lies aside without a lock is of a writer that was killed, and [`Archives::sweep`] removes it.

#![expect(clippy::disallowed_methods, reason = "keeps the host's own folder of archives")]

mod aside;
mod manifest;
mod pack;
mod retention;
mod unpack;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sortie_core::TaskId;

use aside::Aside;
pub use manifest::{Component, Contents, Manifest};
pub use pack::{PackLimits, Parts};
pub use retention::Retention;
pub use unpack::{Restored, UnpackLimits, What};

const SUFFIX: &str = ".tar.zst";

/// Why an archive could not be written, read or restored.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// There is none of this task.
    #[error("there is no archive of {0}")]
    None(TaskId),
    /// The disk does not allow it, or a limit was reached.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: String,
        /// What the system says, or which limit.
        source: io::Error,
    },
    /// It holds what no archive of ours holds.
    #[error("the archive `{path}` is not restored: {reason}")]
    Hostile {
        /// The archive.
        path: String,
        /// What is wrong, with the entry's name.
        reason: String,
    },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
    move |source| ArchiveError::Io { action, path: path.display().to_string(), source }
}

/// An archive in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Whose it is.
    pub task: TaskId,
    /// Bytes on the disk.
    pub bytes: u64,
    /// When it was written.
    pub at: SystemTime,
}

/// The folder of all archives.
#[derive(Clone, Debug)]
pub struct Archives {
    folder: PathBuf,
}

impl Archives {
    /// The archives in the state folder `home`. Makes nothing.
    pub fn new(home: &Path) -> Self {
        Self { folder: home.join("archives") }
    }

    /// Where the archive of a task lies, whether it is there or not.
    pub fn path(&self, task: &TaskId) -> PathBuf {
        self.folder.join(format!("{task}{SUFFIX}"))
    }

    /// Writes the archive of a task; one that is there already is replaced. `manifest` is asked what to say once it
    /// is known what the archive will hold. Blocks.
    ///
    /// # Errors
    /// If a limit of the whole is reached, the workspace changes meanwhile, or the disk does not take it; then there
    /// is what was there before.
    pub fn write(
        &self,
        task: &TaskId,
        parts: &Parts<'_>,
        limits: PackLimits,
        manifest: impl FnOnce(Contents) -> Manifest,
    ) -> Result<Manifest, ArchiveError> {
        let path = self.path(task);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(failed("make", &self.folder))?;
        let contents = pack::survey(parts, limits).map_err(failed("read", parts.work_tree))?;
        let manifest = manifest(contents);
        let aside = Aside::make(&self.folder, task.as_str()).map_err(failed("write", &path))?;
        pack::pack(aside.file(), &manifest, parts, limits).map_err(failed("write", &path))?;
        aside.move_to(&path).map_err(failed("write", &path))?;
        Ok(manifest)
    }

    /// All archives, the newest first. What else lies in the folder is left out.
    ///
    /// # Errors
    /// If the folder cannot be read; none is no error.
    pub fn list(&self) -> Result<Vec<Listed>, ArchiveError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed("list", &self.folder))?,
        };
        let mut archives = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed("list", &self.folder))?;
            let name = entry.file_name();
            let task = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok());
            let Some(task) = task else { continue };
            // another process may be removing it
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() {
                let at = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                archives.push(Listed { task, bytes: metadata.size(), at });
            }
        }
        archives.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.task.as_str().cmp(b.task.as_str())));
        Ok(archives)
    }

    /// What an archive says of itself.
    ///
    /// # Errors
    /// If there is none, or it is damaged.
    pub fn manifest(&self, task: &TaskId) -> Result<Manifest, ArchiveError> {
        let (file, path) = self.open(task)?;
        unpack::manifest(file).map_err(|trouble| trouble.at("read", &path))
    }

    /// Unpacks an archive into a folder that is not there yet, or empty. What is made belongs to `owner` (user,
    /// group), or to the running process. Blocks.
    ///
    /// # Errors
    /// If there is none, the folder is not empty, or the archive holds what no archive of ours holds: then nothing
    /// of it stays.
    pub fn restore(
        &self,
        task: &TaskId,
        what: What,
        to: &Path,
        owner: Option<(u32, u32)>,
        limits: UnpackLimits,
    ) -> Result<Restored, ArchiveError> {
        let (file, path) = self.open(task)?;
        unpack::unpack(file, what, to, owner, limits).map_err(|trouble| trouble.at("restore", &path))
    }

    /// Removes an archive.
    ///
    /// # Errors
    /// If there is none, or the disk does not allow it.
    pub fn remove(&self, task: &TaskId) -> Result<(), ArchiveError> {
        let path = self.path(task);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ArchiveError::None(task.clone())),
            removed => removed.map_err(failed("remove", &path)),
        }
    }

    /// What the rules do not keep.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn superfluous(&self, retention: Retention, now: SystemTime) -> Result<Vec<Listed>, ArchiveError> {
        Ok(retention.surplus(self.list()?, now))
    }

    /// Removes what the rules do not keep, and returns it.
    ///
    /// # Errors
    /// If the folder cannot be read. What cannot be removed stays, and is not returned.
    pub fn enforce(&self, retention: Retention, now: SystemTime) -> Result<Vec<Listed>, ArchiveError> {
        let mut surplus = self.superfluous(retention, now)?;
        surplus.retain(|archive| self.remove(&archive.task).is_ok());
        Ok(surplus)
    }

    /// Removes what writers that were killed left half-written, and returns how many files that were.
    pub fn sweep(&self) -> usize {
        aside::sweep(&self.folder)
    }

    fn open(&self, task: &TaskId) -> Result<(File, PathBuf), ArchiveError> {
        let path = self.path(task);
        match File::open(&path) {
            Ok(file) => Ok((file, path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ArchiveError::None(task.clone())),
            Err(error) => Err(failed("open", &path)(error)),
        }
    }
}
