//! One mirror's folder: its lock, its repository, and what it has.
//!
//! ```text
//! mirrors/KEY/lock             locked while somebody reads or writes; its time is that of the last use
//!            /repository.git   whole, or not there
//!            /incoming.git     one that is being made
//!            /url              of the remote, without credentials
//! ```

#![expect(clippy::disallowed_methods, reason = "keeps the host's own mirrors")]

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use git2::{Oid, Repository};
use sha2::{Digest, Sha256};
pub(super) use sortie_lock::Hold;
use sortie_policy::ports::{ErrorCode, PortError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::remote::{Advertised, Wanted};
use crate::source::Address;
use crate::store::Store;
use crate::tree::unreadable;

/// How often a lock is asked for that somebody else holds.
const POLL: Duration = Duration::from_millis(50);

/// References and packs of a mirror beyond which it is made anew.
const MOST_REFERENCES: usize = 256;
const MOST_PACKS: usize = 100;

/// What a task wants of a mirror.
pub(super) struct Need {
    /// Where the mirror keeps it. The name is a digest: `a` and `a/b` stand
    /// beside each other, whichever of them the remote had when.
    pub(super) reference: String,
    /// What it is, as far as that is known.
    id: Option<Oid>,
    /// The commits that the remote advertises to this task.
    advertised: BTreeSet<Oid>,
    /// Whether the remote named `id` itself. Else it was the user, and the
    /// remote may not give everybody everything that a mirror has.
    is_advertised: bool,
}

impl Need {
    pub(super) fn new(wanted: &Wanted, what: &str, advertised: Advertised) -> Self {
        let id = match wanted {
            Wanted::Commit(id) => Some(*id),
            Wanted::References(_) => advertised.get(what).copied(),
        };
        let is_advertised = matches!(wanted, Wanted::References(_));
        let reference = format!("refs/sortie/{}", digest(&[what]));
        Self { reference, id, advertised: advertised.into_values().collect(), is_advertised }
    }
}

/// What a mirror has of what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// All of it.
    Has(Oid),
    /// Not all, or there is no such mirror.
    Lacks,
    /// The commit, of which the remote did not show that it would give it.
    Unproven,
}

/// One mirror's folder.
pub(super) struct Place {
    pub(super) folder: PathBuf,
}

impl Place {
    /// Of a remote: the URL without credentials tells two apart. Whoever has
    /// none for it does not get past the remote's own listing.
    pub(super) fn new(mirrors: &Path, address: &Address) -> Self {
        let kind = match address {
            Address::Https { .. } => "https",
            Address::Ssh(_) => "ssh",
            Address::Local(_) => "local",
        };
        Self { folder: mirrors.join(digest(&["mirror 1", kind, &address.masked()])) }
    }

    pub(super) fn repository(&self) -> PathBuf {
        self.folder.join("repository.git")
    }

    fn incoming(&self) -> PathBuf {
        self.folder.join("incoming.git")
    }

    pub(super) fn is_there(&self) -> bool {
        self.repository().join("HEAD").exists()
    }

    /// How many packs it has.
    pub(super) fn packs(&self) -> usize {
        let entries = fs::read_dir(self.repository().join("objects/pack")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().extension().is_some_and(|kind| kind == "pack")).count()
    }

    /// Whether it has more than a mirror should, and is better made anew.
    pub(super) fn is_overgrown(&self) -> bool {
        let references = fs::read_dir(self.repository().join("refs/sortie")).into_iter().flatten().count();
        references > MOST_REFERENCES || self.packs() > MOST_PACKS
    }

    /// What it has; nothing if it cannot be read.
    pub(super) fn standing(&self, need: &Need) -> Standing {
        self.look(need).unwrap_or(Standing::Lacks)
    }

    fn look(&self, need: &Need) -> Option<Standing> {
        let repository = Repository::open_bare(self.repository()).ok()?;
        let id = need.id?;
        if need.is_advertised {
            let here = repository.refname_to_id(&need.reference).ok()?;
            return Some(if here == id { Standing::Has(id) } else { Standing::Lacks });
        }
        let odb = repository.odb().ok()?;
        if !odb.exists(id) {
            return Some(Standing::Lacks);
        }
        // a commit before one that the remote has just shown to this task
        let references = repository.references().ok()?.flatten();
        let shown = references.filter(|found| found.target().is_some_and(|id| need.advertised.contains(&id)));
        let tips = shown.filter_map(|found| Some(found.peel_to_commit().ok()?.id()));
        let mut proven =
            tips.filter(|tip| *tip == id || repository.graph_descendant_of(*tip, id).is_ok_and(|is| is));
        Some(proven.next().map_or(Standing::Unproven, |_| Standing::Has(id)))
    }

    /// Removes what a killed host left; under the exclusive lock.
    pub(super) fn clear(&self) -> Result<(), PortError> {
        remove(&self.incoming()).map_err(unusable)?;
        if !self.is_there() {
            return remove(&self.repository()).map_err(unusable);
        }
        Store::create(&self.repository())?;
        let packs = fs::read_dir(self.repository().join("objects/pack")).into_iter().flatten().flatten();
        for left in packs.filter(|entry| is_half(&entry.path())) {
            remove(&left.path()).map_err(unusable)?;
        }
        let quarantines = fs::read_dir(self.repository().join("objects")).into_iter().flatten().flatten();
        let is_left = |name: &[u8]| name.starts_with(b"incoming-") || name.starts_with(b"tmp_objdir-");
        for left in quarantines.filter(|entry| is_left(entry.file_name().as_encoded_bytes())) {
            remove(&left.path()).map_err(unusable)?;
        }
        Ok(())
    }

    /// Makes an empty repository to fetch into.
    pub(super) fn begin(&self, url: &str) -> Result<PathBuf, PortError> {
        let incoming = self.incoming();
        remove(&incoming).map_err(unusable)?;
        fs::write(self.folder.join("url"), url).map_err(unusable)?;
        Store::create(&incoming)?;
        Ok(incoming)
    }

    /// Has it take the place of what was there.
    pub(super) fn put_in_place(&self) -> Result<(), PortError> {
        remove(&self.repository())
            .and_then(|()| fs::rename(self.incoming(), self.repository()))
            .map_err(unusable)
    }

    /// Locks it, and waits for others at most `wait`.
    pub(super) async fn lock(
        place: &Place,
        hold: Hold,
        wait: Duration,
        cancel: &CancellationToken,
    ) -> Result<Lock, PortError> {
        loop {
            // where the mirror was removed between the two, this is the lock of its successor
            let mut lock = place.open_lock().map_err(unusable)?;
            lock.acquire(hold, wait, cancel).await?;
            if lock.is_current() {
                lock.touch();
                return Ok(lock);
            }
        }
    }

    /// Its lock, which is not held yet.
    fn open_lock(&self) -> io::Result<Lock> {
        let path = self.folder.join("lock");
        let mut attempts = 0..10;
        loop {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            match File::options().create(true).truncate(false).write(true).open(&path) {
                // its folder was removed in the meantime
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempts.next().is_some() => {}
                opened => return opened.map(|file| Lock { lock: file.into(), path }),
            }
        }
    }

    /// Removes the whole of it, unless somebody is at work in it.
    pub(super) fn remove(&self) -> bool {
        let Some(lock) = self.lock_now() else { return false };
        self.empty(&lock).is_ok()
    }

    fn empty(&self, lock: &Lock) -> io::Result<()> {
        // at one stroke: what is killed in between leaves no half of a repository
        remove(&self.incoming())?;
        fs::rename(self.repository(), self.incoming()).or_else(absent)?;
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path != lock.path {
                remove(&path)?;
            }
        }
        // from here on it is whoever's who comes next: with a lock of their own, which stays
        fs::remove_file(&lock.path)?;
        drop(fs::remove_dir(&self.folder));
        Ok(())
    }

    /// Whether nobody is at work in it; then what was being made is removed.
    pub(super) fn sweep(&self) -> bool {
        self.incoming().exists() && self.lock_now().is_some_and(|_lock| remove(&self.incoming()).is_ok())
    }

    /// Locks it as those do who write, if nobody else holds it.
    fn lock_now(&self) -> Option<Lock> {
        self.open_lock().ok()?.now()
    }
}

/// Whether it is what a Git that was killed left among packs: half a pack, or
/// what kept others off one.
fn is_half(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let is_of = |kind: &str| path.extension().is_some_and(|found| found == kind);
    name.starts_with(b"tmp_") || name.starts_with(b".tmp-") || is_of("keep") || is_of("lock")
}

/// The lock of a mirror: shared by those who read, exclusive to the one who
/// writes.
#[derive(Debug)]
pub(super) struct Lock {
    lock: sortie_lock::Lock,
    path: PathBuf,
}

impl Lock {
    /// Changes how it is held. Others may come in between: what was seen
    /// before has to be looked at again.
    pub(super) async fn hold(
        &mut self,
        hold: Hold,
        wait: Duration,
        cancel: &CancellationToken,
    ) -> Result<(), PortError> {
        self.acquire(hold, wait, cancel).await?;
        if self.is_current() {
            return Ok(());
        }
        Err(PortError::new(ErrorCode::Conflict, "the mirror was removed"))
    }

    async fn acquire(
        &mut self,
        hold: Hold,
        wait: Duration,
        cancel: &CancellationToken,
    ) -> Result<(), PortError> {
        let until = Instant::now() + wait;
        loop {
            match self.lock.hold(hold) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {}
                Err(error) => {
                    return Err(PortError::new(
                        ErrorCode::Conflict,
                        format!("the mirror is in use: {error}"),
                    ));
                }
            }
            // two who read and want to write would wait for each other
            self.lock.release().map_err(unusable)?;
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = cancel.cancelled() => {
                    return Err(PortError::new(ErrorCode::Cancelled, "the fetch was cancelled"));
                }
            }
        }
    }

    /// It, held as by one who writes; none if somebody else holds it, or it is
    /// no longer what others would lock.
    fn now(self) -> Option<Self> {
        let is_free = self.lock.hold(Hold::Exclusive).is_ok();
        (is_free && self.is_current()).then_some(self)
    }

    /// Whether it is still what others would lock.
    fn is_current(&self) -> bool {
        self.lock.is_at(&self.path)
    }

    fn touch(&self) {
        // without it, the mirror only goes earlier
        drop(self.lock.file().set_modified(SystemTime::now()));
    }
}

/// What a reference of a repository is.
pub(super) fn reference(repository: &Path, name: &str) -> Result<Oid, PortError> {
    Repository::open_bare(repository)
        .and_then(|repository| repository.refname_to_id(name))
        .map_err(unreadable)
}

fn digest(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.as_bytes());
        digest.update([0]);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Removes a file or folder that need not be there.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(kind) if kind.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(absent)
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn unusable(error: io::Error) -> PortError {
    PortError::internal(format!("the mirror cannot be used: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_remote_has_a_mirror_of_its_own_whoever_asks() {
        let https = |url: &str| Address::Https { url: url.into(), credentials: None };
        let place = |address: &Address| Place::new(Path::new("/m"), address).folder;
        let secret = crate::source::Credentials {
            user: sortie_core::Secret::new("me"),
            password: sortie_core::Secret::new("hunter2"),
        };
        let with = Address::Https { url: "https://host/a".into(), credentials: Some(secret) };
        assert_eq!(place(&with), place(&https("https://host/a")));
        let others =
            [https("https://host/a"), https("https://host/b"), Address::Ssh("https://host/a".into())];
        let places: BTreeSet<_> = others.iter().map(place).collect();
        assert_eq!(places.len(), others.len());
    }

    #[test]
    fn the_lock_of_a_mirror_that_was_removed_is_not_that_of_its_successor() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place { folder: folder.path().join("place") };
        let lock = || place.open_lock().expect("opens");
        let old = lock();
        assert!(place.remove());
        assert!(!place.folder.exists());
        // somebody else makes it anew, and is at work in it
        let successor = lock().now().expect("is free");
        fs::create_dir(place.incoming()).expect("is made");
        assert!(old.now().is_none());
        assert!(!place.sweep() && !place.remove() && place.incoming().exists());
        drop(successor);
        assert!(place.sweep() && place.remove());
    }

    #[test]
    fn a_mirror_goes_with_what_a_killed_host_was_making_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place { folder: folder.path().join("place") };
        place.open_lock().expect("opens");
        for name in ["repository.git/objects", "incoming.git/objects"] {
            fs::create_dir_all(place.folder.join(name)).expect("is made");
        }
        assert!(place.remove());
        assert!(!place.folder.exists());
    }
}
