//! Mirrors: a bare repository for each remote, so that a task fetches only
//! what no task before it has.
//!
//! ```text
//! remote --git fetch, with the user's credentials--> mirror --git fetch--> the task's repository
//! ```
//!
//! A mirror is written by fetches from its own remote and by nothing else;
//! what tasks commit never comes near it. It says nothing about a remote: that
//! is asked what it has for every task, with that task's credentials, and a
//! mirror gives no more than what was advertised just then. Its objects are
//! checked when they come in and again when a task takes them: what a task
//! has are copies of its own, of the history that it asked for.
//!
//! All of it is for speed. A mirror that is damaged is made again from the
//! remote, beside the old one, and replaces it once it is whole; where that
//! does not work either, or others are at work in it for too long, the task
//! fetches without. Whoever reads holds a shared lock on it, whoever writes an
//! exclusive one. A killed host's `git` may go on for a moment without the
//! lock: that is no more than another fetch, which Git itself allows for.

mod keep;
mod place;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use git2::Oid;
use sortie_policy::ports::{ErrorCode, PortError};

pub use keep::MirrorInfo;
use place::{Hold, Need, Place, Standing};

use crate::git::Git;
use crate::remote::{self, Advertised, FETCHED, Shallow, Wanted};
use crate::source::Address;

/// Packs of a mirror from which on they are put together.
const PACKS: usize = 20;

/// The longest that putting packs together takes.
const REPACK_LIMIT: Duration = Duration::from_secs(10 * 60);

/// The mirrors of a state folder.
#[derive(Clone, Debug)]
pub struct Mirrors {
    folder: PathBuf,
    bounds: MirrorBounds,
}

/// How much of mirrors is kept, and how long one is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirrorBounds {
    /// How long one is kept that no task used.
    pub unused: Duration,
    /// How many are kept.
    pub number: usize,
    /// Bytes of all together.
    pub bytes: u64,
    /// How long a task waits for another one that is at work in it, before it
    /// fetches without.
    pub wait: Duration,
}

impl Default for MirrorBounds {
    /// 30 days, 100 mirrors, 20 GiB, two minutes.
    fn default() -> Self {
        Self {
            unused: Duration::from_secs(30 * 86_400),
            number: 100,
            bytes: 20 << 30,
            wait: Duration::from_secs(120),
        }
    }
}

/// How a fetch through a mirror went.
pub(crate) enum Served {
    /// The task has what it wants.
    Fetched { was_damaged: bool },
    /// It has to fetch on its own.
    Not,
}

impl Mirrors {
    /// Those below `home`, the state folder; none has to be there yet.
    pub fn new(home: &Path) -> Self {
        Self::bounded(home, MirrorBounds::default())
    }

    /// The same with other bounds.
    pub fn bounded(home: &Path, bounds: MirrorBounds) -> Self {
        Self { folder: home.join("mirrors"), bounds }
    }

    /// Fetches into the task's repository by way of the remote's mirror.
    /// `what` is a reference that was advertised, or the commit that is wanted.
    pub(crate) async fn fetch(
        &self,
        task: &Git,
        address: &Address,
        (wanted, what): (&Wanted, &str),
        advertised: Advertised,
    ) -> Result<Served, PortError> {
        if matches!(address, Address::Local(_)) {
            return Ok(Served::Not);
        }
        let need = Need::new(wanted, what, advertised);
        let place = Place::new(&self.folder, address);
        let visit = Visit { place: Arc::new(place), need: Arc::new(need), task, address, what };
        match visit.serve(self.bounds.wait).await {
            Ok(served) => {
                if let Served::Fetched { .. } = served {
                    self.enforce_later().await;
                }
                Ok(served)
            }
            Err(error) if would_come_again(&error) => Err(error),
            Err(_) => Ok(Served::Not),
        }
    }

    async fn enforce_later(&self) {
        let mirrors = self.clone();
        // what is not removed now is removed after another fetch
        drop(tokio::task::spawn_blocking(move || mirrors.enforce(SystemTime::now())).await);
    }
}

/// One task at one mirror.
struct Visit<'a> {
    place: Arc<Place>,
    need: Arc<Need>,
    task: &'a Git,
    address: &'a Address,
    what: &'a str,
}

impl Visit<'_> {
    async fn serve(&self, wait: Duration) -> Result<Served, PortError> {
        let cancel = &self.task.cancel;
        let mut lock = Place::lock(&self.place, Hold::Shared, wait, cancel).await?;
        if let Standing::Has(id) = self.standing().await?
            && self.take(id).await.is_ok()
        {
            return Ok(Served::Fetched { was_damaged: false });
        }
        lock.hold(Hold::Exclusive, wait, cancel).await?;
        self.clear().await?;
        let is_kept = self.place.is_there() && !self.place.is_overgrown();
        if is_kept {
            match self.standing().await? {
                Standing::Unproven => return Ok(Served::Not),
                standing => {
                    if let Some(id) = self.update(standing).await? {
                        lock.hold(Hold::Shared, wait, cancel).await?;
                        if self.take(id).await.is_ok() {
                            return Ok(Served::Fetched { was_damaged: false });
                        }
                        lock.hold(Hold::Exclusive, wait, cancel).await?;
                    }
                }
            }
        }
        let id = self.make().await?;
        lock.hold(Hold::Shared, wait, cancel).await?;
        match self.take(id).await {
            Ok(()) => Ok(Served::Fetched { was_damaged: is_kept }),
            Err(error) if error.code == ErrorCode::Cancelled => Err(error),
            // the remote gave it: whatever this is, such as a Git that trusts nothing in this folder, is ours
            Err(_) => Ok(Served::Not),
        }
    }

    async fn standing(&self) -> Result<Standing, PortError> {
        let (place, need) = (Arc::clone(&self.place), Arc::clone(&self.need));
        blocking(move || Ok(place.standing(&need))).await
    }

    async fn clear(&self) -> Result<(), PortError> {
        let place = Arc::clone(&self.place);
        blocking(move || place.clear()).await
    }

    /// Brings it up to date. None if that does not work, which may be its own
    /// fault or the remote's.
    async fn update(&self, standing: Standing) -> Result<Option<Oid>, PortError> {
        if let Standing::Has(id) = standing {
            return Ok(Some(id));
        }
        let git = self.git(self.place.repository());
        match self.fetch_into(&git).await {
            Ok(id) => {
                if self.place.packs() > PACKS {
                    // a Git that cannot leaves them as they are
                    drop(git.repack(REPACK_LIMIT).await);
                }
                Ok(Some(id))
            }
            Err(error) if would_come_again(&error) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Makes it, beside what may be there, and puts it in place once it is whole.
    async fn make(&self) -> Result<Oid, PortError> {
        let (place, url) = (Arc::clone(&self.place), self.address.masked());
        let incoming = blocking(move || place.begin(&url)).await?;
        let fetched = self.fetch_into(&self.git(incoming)).await;
        let (place, is_whole) = (Arc::clone(&self.place), fetched.is_ok());
        blocking(move || if is_whole { place.put_in_place() } else { place.clear() }).await?;
        fetched
    }

    /// Fetches from the remote; what the reference then is.
    async fn fetch_into(&self, git: &Git) -> Result<Oid, PortError> {
        // where a history was cut short, no later task could have the whole of it
        remote::fetch(git, self.address, self.what, &self.need.reference, Shallow::Refused).await?;
        let (directory, need) = (git.directory.clone(), Arc::clone(&self.need));
        blocking(move || place::reference(&directory, &need.reference)).await
    }

    /// Copies what the task wants into its own repository, by Git's own
    /// transport: with every object checked, and of its history alone.
    async fn take(&self, id: Oid) -> Result<(), PortError> {
        let from = Address::Local(self.place.repository());
        remote::fetch(self.task, &from, &id.to_string(), FETCHED, Shallow::Refused).await
    }

    fn git(&self, directory: PathBuf) -> Git {
        Git { directory, ..self.task.clone() }
    }
}

/// Whether it comes from the remote or the user, and not from the mirror: to
/// try again would take as long, and end as this did.
fn would_come_again(error: &PortError) -> bool {
    matches!(error.code, ErrorCode::Cancelled | ErrorCode::Denied | ErrorCode::Timeout)
}

async fn blocking<T: Send + 'static>(
    operation: impl FnOnce() -> Result<T, PortError> + Send + 'static,
) -> Result<T, PortError> {
    tokio::task::spawn_blocking(operation).await.map_err(PortError::internal)?
}
