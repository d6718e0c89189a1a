//! The disk: what a workspace may fill of it, and who sees to that.
//!
//! A thread of the host's looks how much space is free four times a second, which costs nothing, and counts the
//! workspace's folders when so much of it went that the limit could be near. Two things end all commands of the
//! workspace: more in its folders than it may have, and less free space than is to be left alone, whoever took it.
//! The workspace itself goes on, so that somebody can remove what is too much: commands may run, and are ended
//! again as soon as there is more. If that happens too often in a row, none is started until there is less.
//!
//! What is counted are the blocks of files, and at least one block for each: empty files fill a disk as well. Files
//! without a name count as long as a process of the workspace has them open. What nobody can see of a workspace (a
//! file that is only mapped, or is on its way through a socket) is left to the bound of free space.
//!
//! Folders with a [`Quota`] are not counted: the kernel keeps their limit, and a command that ends when it is reached is
//! told so. The thread then looks after the free space alone.

mod guard;
mod levels;
mod quota;
mod space;
mod usage;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sortie_policy::ports::{CommandLimit, LimitReached};

use crate::client::Client;
pub(crate) use guard::{Guard, Want};
pub use quota::Quota;
pub use space::{FileSystem, Space};
pub(crate) use usage::Usage;

/// How often the free space is looked at.
pub(crate) const EVERY: Duration = Duration::from_millis(250);

/// What a workspace may fill of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskLimits {
    /// Bytes of the work tree and the home together; a file counts as 4 KiB at least. 20 GiB.
    pub bytes: u64,
    /// Bytes that stay free on their file system. 2 GiB.
    pub free: u64,
}

impl Default for DiskLimits {
    fn default() -> Self {
        Self { bytes: 20 << 30, free: 2 << 30 }
    }
}

/// Bytes that a folder takes up on the disk, with all in it; a name counts as 4 KiB at least. None if they cannot be
/// counted. Blocks.
pub fn size(folder: &Path) -> Option<u64> {
    let go_on = AtomicBool::new(false);
    let mut usage = Usage::new(&go_on);
    usage.add_folder(folder);
    Some(usage.bytes()).filter(|bytes| *bytes < u64::MAX)
}

/// Why no workspace is started for want of space.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Less is free than is to stay free.
    #[error(
        "{} MiB are free where `{}` lies, and {} MiB are to stay free\nhint: free some (`sortie gc` removes what is not \
         needed, `sortie archive rm ID` a task's archive), or lower `disk_free_mb` below `[workspace]`",
        free >> 20, path.display(), wanted >> 20
    )]
    Full {
        /// The folder.
        path: PathBuf,
        /// Bytes.
        free: u64,
        /// Bytes.
        wanted: u64,
    },
    /// The kernel does not say what is free, or gives no thread.
    #[error("cannot watch the disk of `{}`: {source}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Says that a limit was reached and all commands were ended.
pub type Tell = Box<dyn Fn(LimitReached) + Send>;

/// Looks after the folders of one workspace until it is dropped.
#[derive(Debug)]
pub struct DiskWatch {
    reached: Arc<DiskReached>,
    stop: Arc<AtomicBool>,
    thread: std::thread::Thread,
}

/// How often a workspace ran into its limits of the disk.
#[derive(Debug, Default)]
pub struct DiskReached {
    times: AtomicU64,
    last: Mutex<Option<LimitReached>>,
    /// No command may start.
    closed: AtomicBool,
    /// Keeps the limit of the folders, and ends nothing.
    quota: Option<Quota>,
}

impl DiskReached {
    /// How often, until now.
    pub fn now(&self) -> u64 {
        self.times.load(Ordering::Acquire)
    }

    /// The limit that was reached since then, by whatever command, or at which the kernel refuses more now.
    pub fn reached_since(&self, before: u64) -> Option<LimitReached> {
        let ended = if self.now() > before { self.last() } else { None };
        ended.or_else(|| self.quota.as_ref().and_then(Quota::reached))
    }

    /// The limit for which no command may start, because each that did made it worse.
    pub fn closed(&self) -> Option<LimitReached> {
        if self.closed.load(Ordering::Acquire) { self.last() } else { None }
    }

    fn last(&self) -> Option<LimitReached> {
        *self.last.lock().expect("nobody panics while holding it")
    }

    /// Takes up that a limit was reached, and that all commands are about to be ended for it.
    pub(crate) fn add(&self, reached: LimitReached) {
        *self.last.lock().expect("nobody panics while holding it") = Some(reached);
        self.times.fetch_add(1, Ordering::Release);
    }

    /// Has no command start, or lets them.
    pub(crate) fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::Release);
    }
}

impl DiskWatch {
    /// Whether there is room for a workspace in this folder.
    ///
    /// # Errors
    /// [`DiskError::Full`] if less is free than is to stay free.
    pub fn check(folder: &Path, limits: DiskLimits) -> Result<(), DiskError> {
        let space = Space::of(folder).map_err(|source| DiskError::Io { path: folder.to_owned(), source })?;
        if space.bytes < limits.free {
            let path = folder.to_owned();
            return Err(DiskError::Full { path, free: space.bytes, wanted: limits.free });
        }
        Ok(())
    }

    /// Watches these folders, the first of which tells of the file system. `process` is the host's number of a process
    /// that all of the workspace hang on, if it is known; `tell` must not block. If the folders have a [`Quota`], it
    /// becomes this limit.
    ///
    /// # Errors
    /// [`DiskError::Io`] if there is no such folder.
    pub fn start(
        client: Client,
        folders: Vec<PathBuf>,
        process: Option<i32>,
        limits: DiskLimits,
        tell: Tell,
    ) -> Result<Self, DiskError> {
        let at = folders.first().cloned().unwrap_or_default();
        let failed = |source| DiskError::Io { path: at.clone(), source };
        let space = Space::of(&at).map_err(failed)?;
        let quota = Quota::of(&folders, limits.bytes);
        let reached = Arc::new(DiskReached { quota, ..DiskReached::default() });
        let stop = Arc::new(AtomicBool::new(false));
        let guard = Guard::new(limits, space);
        let looker = Looker {
            client,
            folders,
            process,
            tell,
            reached: Arc::clone(&reached),
            stop: Arc::clone(&stop),
            began: Instant::now(),
        };
        let thread = std::thread::Builder::new().name("sortie-disk".into()).spawn(move || looker.run(guard));
        let thread = thread.map_err(failed)?.thread().clone();
        Ok(Self { reached, stop, thread })
    }

    /// How often the limits were reached.
    pub fn reached(&self) -> Arc<DiskReached> {
        Arc::clone(&self.reached)
    }
}

impl Drop for DiskWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }
}

/// The thread.
struct Looker {
    client: Client,
    folders: Vec<PathBuf>,
    process: Option<i32>,
    tell: Tell,
    reached: Arc<DiskReached>,
    stop: Arc<AtomicBool>,
    began: Instant,
}

impl Looker {
    fn run(self, mut guard: Guard) {
        loop {
            std::thread::park_timeout(EVERY);
            if self.stop.load(Ordering::Relaxed) || self.client.is_gone() {
                return;
            }
            // the folders are the host's to remove
            let Ok(space) = self.folders.first().map_or_else(|| Err(gone()), |at| Space::of(at)) else {
                return;
            };
            let mut over = guard.look(self.began.elapsed(), space);
            if over == Want::Count && self.reached.quota.is_none() {
                let (used, took) = self.count();
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                over = guard.counted(self.began.elapsed(), took, space, used);
            }
            if let Want::End(reached) = over {
                // first, so that whoever sees a command's end finds it
                self.reached.add(reached);
                self.client.kill_all();
                (self.tell)(reached);
            }
            self.reached.close(guard.gave_up());
        }
    }

    fn count(&self) -> (u64, Duration) {
        let began = Instant::now();
        let mut usage = Usage::new(&self.stop);
        for folder in &self.folders {
            usage.add_folder(folder);
        }
        if let Some(process) = self.process {
            usage.add_nameless(process, &self.folders);
        }
        (usage.bytes(), began.elapsed())
    }
}

fn gone() -> std::io::Error {
    std::io::ErrorKind::NotFound.into()
}

fn limit(limit: CommandLimit, value: u64) -> LimitReached {
    LimitReached { limit, value }
}
