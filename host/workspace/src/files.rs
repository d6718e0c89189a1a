//! Files of the work tree, read and written from the host.
//!
//! The work tree is hostile: whoever runs in the workspace can put links,
//! fifos, devices, huge files and endless trees there, and swap one for
//! another at any moment. So every path is walked from the root's descriptor
//! one name at a time, never through a link, and nothing but regular files is
//! opened. That is stricter than staying beneath the root: an alias inside of
//! the tree would let a permit for `notes.txt` read `.env`, and policies judge
//! by path. A path with a link in it is therefore refused, and the message
//! says where the link points, so that the file itself can be named.
//!
//! `.git` is the workspace's own: reading there is allowed, changing it is
//! not, and listings and searches leave it out.

mod etag;
mod ignored;
mod path;
mod survey;
mod tree;
mod walk;
mod write;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use sortie_core::action::{FileRead, FileWrite, ReadOperation};
use sortie_policy::ports::{ErrorCode, FileContent, Files, LineMatch, PortError, SearchQuery, Survey};
use sortie_policy::{Permit, Seal};

use self::path::WorkPath;
use self::survey::GlobPattern;
use self::tree::Tree;
use self::walk::Budget;

/// The most bytes of a file that are read or written at once: 8 MiB.
pub const MAX_FILE: u64 = 8 << 20;

/// The most paths of a listing.
pub const MAX_PATHS: u32 = 10_000;

/// The most matches of a search.
pub const MAX_MATCHES: u32 = 1000;

/// The [`Files`] port over a work tree on this machine.
pub struct WorkFiles {
    seal: Seal,
    tree: Arc<Tree>,
}

impl WorkFiles {
    /// Files beneath `root`, for permits that bear this seal. `owner` is the
    /// user and group that the workspace runs as, if they are not the host's:
    /// what is created there becomes theirs.
    ///
    /// # Errors
    /// If the root cannot be opened, or is no directory.
    pub fn new(root: &Path, seal: Seal, owner: Option<(u32, u32)>) -> io::Result<Self> {
        Ok(Self { seal, tree: Arc::new(Tree::open(root, owner)?) })
    }

    /// Runs blocking work beside the runtime. When the caller goes away, the
    /// work is told to stop.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tree, &AtomicBool) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let tree = Arc::clone(&self.tree);
        let abandoned = Abandoned(Arc::default());
        let flag = Arc::clone(&abandoned.0);
        let done = tokio::task::spawn_blocking(move || work(&tree, &flag)).await;
        done.unwrap_or_else(|error| Err(PortError::internal(error)))
    }
}

/// Set when the caller no longer waits.
struct Abandoned(Arc<AtomicBool>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl Files for WorkFiles {
    async fn survey_glob(&self, pattern: &str, max: u32) -> Result<Survey, PortError> {
        let glob = GlobPattern::new(pattern)?;
        let max = max.min(MAX_PATHS) as usize;
        self.blocking(move |tree, stop| survey::glob(tree, &glob, max, &mut Budget::new(stop))).await
    }

    async fn survey_search(&self, query: &SearchQuery) -> Result<Survey, PortError> {
        let lines = survey::expression(&query.pattern, query.ignore_case)?;
        let glob = query.glob.as_deref().map(GlobPattern::new).transpose()?;
        let max = query.max_matches.min(MAX_MATCHES) as usize;
        self.blocking(move |tree, stop| {
            survey::search(tree, &lines, glob.as_ref(), max, &mut Budget::new(stop))
        })
        .await
    }

    async fn glob(&self, permit: Permit<FileRead>) -> Result<Vec<String>, PortError> {
        let read = permit.redeem(self.seal)?;
        match read.operation {
            ReadOperation::Glob { .. } => Ok(read.paths),
            _ => Err(other_operation("a listing")),
        }
    }

    async fn search(&self, permit: Permit<FileRead>) -> Result<Vec<LineMatch>, PortError> {
        let read = permit.redeem(self.seal)?;
        let ReadOperation::Search { pattern, ignore_case, max_matches } = read.operation else {
            return Err(other_operation("a search"));
        };
        let lines = survey::expression(&pattern, ignore_case)?;
        let max = max_matches.min(MAX_MATCHES) as usize;
        self.blocking(move |tree, stop| {
            Ok(survey::matches(tree, &lines, &read.paths, max, &mut Budget::new(stop)))
        })
        .await
    }

    async fn read(&self, permit: Permit<FileRead>) -> Result<FileContent, PortError> {
        let read = permit.redeem(self.seal)?;
        let (ReadOperation::Read { offset, max }, [path]) = (&read.operation, read.paths.as_slice()) else {
            return Err(other_operation("reading one file"));
        };
        let (path, offset, max) = (WorkPath::parse(path)?, *offset, *max);
        self.blocking(move |tree, _| etag::piece(tree.open_file(&path)?, &path, offset, u64::from(max))).await
    }

    async fn write(&self, permit: Permit<FileWrite>) -> Result<Option<String>, PortError> {
        let write = permit.redeem(self.seal)?;
        let path = WorkPath::parse(&write.path)?;
        self.blocking(move |tree, _| write::carry_out(tree, &path, write.operation)).await
    }
}

fn other_operation(wanted: &str) -> PortError {
    PortError::new(ErrorCode::Invalid, format!("the permit is not for {wanted}"))
}
