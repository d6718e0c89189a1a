//! Machine code on disk, so that a component is compiled once per engine.
//!
//! An artefact is code that the host will run: wasmtime checks that it fits
//! the engine, and not that it is intact. So each carries a MAC over the
//! engine, the component's digest and the code, under a key that lies beside
//! it in a folder that nobody else can enter. What does not bear the right MAC
//! is compiled again.
//!
//! Several processes may share the folder: files are written aside and moved
//! into place, and whoever comes second replaces the same with the same.

#![expect(clippy::disallowed_methods, reason = "keeps compiled components in the host's own folder")]

use std::fs::{self, File, OpenOptions};
use std::hash::{Hash as _, Hasher};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use sortie_core::digest::Digest;
use sortie_lock::{Hold, Lock};
use wasmtime::Engine;
use wasmtime::component::Component;

const MAGIC: &[u8; 16] = b"sortie artefact\n";
const MAC_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
/// Bytes of an artefact; a Python component makes about 60 MiB of code.
const LARGEST: u64 = 1 << 30;

/// The cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Others could put code there.
    #[error("the artefact cache {path} is not private: {reason}", path = .path.display())]
    NotPrivate {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It cannot be made or read.
    #[error("the artefact cache {path} cannot be used: {source}", path = .path.display())]
    Unusable {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The folder, and the key of its artefacts.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
    engine: [u8; 32],
}

impl Cache {
    /// Opens the folder, and makes it if it is not there.
    pub(crate) fn open(folder: &Path, engine: &Engine) -> Result<Self, CacheError> {
        let unusable = |source| CacheError::Unusable { path: folder.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
        check_private(folder, &fs::symlink_metadata(folder).map_err(unusable)?, true)?;
        let key = read_or_make_key(folder)?;
        Ok(Self { folder: folder.to_owned(), key, engine: engine_hash(engine) })
    }

    /// The component's code, if it is there and intact.
    pub(crate) fn load(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let path = self.path(digest);
        let bytes = match read_regular(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "an artefact cannot be read");
                return None;
            }
        };
        note_use(&path);
        let Some(code) = self.verified(digest, &bytes) else {
            tracing::warn!(path = %path.display(), "an artefact was not written by this host: compiling again");
            return None;
        };
        // SAFETY: the bytes bear a MAC under a key that only this user's hosts
        // have, over this engine's settings and this digest: they are what
        // `Component::serialize` gave such a host, unchanged. They are checked
        // and loaded from the same memory, so nothing can change in between.
        #[expect(unsafe_code, reason = "machine code is loaded; its MAC was checked")]
        let loaded = unsafe { Component::deserialize(engine, code) };
        loaded
            .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "an artefact does not load"))
            .ok()
    }

    /// Keeps a component's code. A failure costs a compilation, later.
    pub(crate) fn store(&self, component: &Component, digest: &Digest) {
        let path = self.path(digest);
        let written = component.serialize().map_err(io::Error::other).and_then(|code| {
            let mac = self.mac(digest, &code).finalize().into_bytes();
            write_aside(&self.folder, &[MAGIC, &mac, &code]).and_then(|(aside, _lock)| {
                fs::rename(&aside, &path).inspect_err(|_| drop(fs::remove_file(&aside)))
            })
        });
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "an artefact cannot be kept");
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let mut name = self.engine.to_vec();
        name.extend_from_slice(digest.bytes());
        self.folder.join(format!("{}.artefact", Digest::of(&name)))
    }

    fn verified<'a>(&self, digest: &Digest, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (mac, code) = bytes.strip_prefix(MAGIC)?.split_at_checked(MAC_BYTES)?;
        self.mac(digest, code).verify_slice(mac).ok()?;
        Some(code)
    }

    fn mac(&self, digest: &Digest, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(MAGIC);
        mac.update(&self.engine);
        mac.update(digest.bytes());
        mac.update(code);
        mac
    }
}

/// Everything of the engine that its code depends on.
fn engine_hash(engine: &Engine) -> [u8; 32] {
    struct Collector(Sha256);
    impl Hasher for Collector {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        fn finish(&self) -> u64 {
            unreachable!("the whole digest is taken instead")
        }
    }
    let mut collector = Collector(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut collector);
    collector.0.finalize().into()
}

/// Whether it is ours, is what it should be, and is closed to others.
fn check_private(path: &Path, metadata: &fs::Metadata, folder: bool) -> Result<(), CacheError> {
    let not_private = |reason: String| CacheError::NotPrivate { path: path.to_owned(), reason };
    if folder && !metadata.is_dir() {
        return Err(not_private("it is no folder".into()));
    }
    if !folder && !metadata.is_file() {
        return Err(not_private("it is no regular file".into()));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(not_private(format!("it belongs to user {}", metadata.uid())));
    }
    if metadata.mode() & 0o077 != 0 {
        let (mode, right) = (metadata.mode() & 0o7777, if folder { "700" } else { "600" });
        return Err(not_private(format!("its mode is {mode:o}; `chmod {right}` makes it private")));
    }
    Ok(())
}

fn read_or_make_key(folder: &Path) -> Result<[u8; KEY_BYTES], CacheError> {
    let path = folder.join("key");
    let unusable = |source| CacheError::Unusable { path: path.clone(), source };
    loop {
        match open_regular(&path) {
            Ok((mut file, metadata)) => {
                check_private(&path, &metadata, false)?;
                let mut key = [0; KEY_BYTES];
                return file.read_exact(&mut key).map(|()| key).map_err(unusable);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unusable(error)),
        }
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(|error| unusable(io::Error::other(error.to_string())))?;
        let (aside, _lock) = write_aside(folder, &[&key]).map_err(unusable)?;
        // a link, because it fails where another process has just made a key
        let linked = fs::hard_link(&aside, &path);
        fs::remove_file(&aside).map_err(unusable)?;
        match linked {
            Ok(()) => return Ok(key),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(unusable(error)),
        }
    }
}

fn open_regular(path: &Path) -> io::Result<(File, fs::Metadata)> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok((file, metadata))
}

fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let (mut file, metadata) = open_regular(path)?;
    if metadata.len() > LARGEST {
        return Err(io::Error::other("it is larger than any artefact"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a new file of an unused name. It is locked for as long as the file
/// that comes with its path lives: so a sweep leaves it alone.
fn write_aside(folder: &Path, parts: &[&[u8]]) -> io::Result<(PathBuf, Lock)> {
    loop {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let path = folder.join(format!(".{:016x}.new", u64::from_le_bytes(random)));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        // a sweep between the two calls may have taken it for left over
        let Some(lock) = Lock::of_new(file, &path)? else { continue };
        let written = parts.iter().try_for_each(|part| lock.file().write_all(part));
        return written.inspect_err(|_| drop(fs::remove_file(&path))).map(|()| (path, lock));
    }
}

/// How often the use of an artefact is noted.
const NOTED: Duration = Duration::from_secs(86_400);

/// Notes by an artefact's time that it is in use. Its MAC does not cover that.
fn note_use(path: &Path) {
    let now = SystemTime::now();
    let is_old = fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > NOTED));
    if is_old {
        // at worst it is compiled again, some day
        drop(open_regular(path).and_then(|(file, _)| file.set_modified(now)));
    }
}

/// Clears up a cache: removes files whose writers were killed, and, where
/// `unused` says for how long, artefacts that nobody used. Returns how many
/// files were removed. A folder that others may write to is left alone.
pub fn sweep_cache(folder: &Path, unused: Option<Duration>) -> usize {
    let is_ours = fs::symlink_metadata(folder).is_ok_and(|there| check_private(folder, &there, true).is_ok());
    if !is_ours {
        return 0;
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| sweep_file(&entry.path(), unused)).count()
}

fn sweep_file(path: &Path, unused: Option<Duration>) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    if name.starts_with('.') && name.ends_with(".new") {
        // held until it is gone: whoever is about to write it finds it locked, or not there
        let lock = open_regular(path).and_then(|(file, _)| Lock::at(path, file, Hold::Exclusive));
        return lock.is_ok_and(|_lock| fs::remove_file(path).is_ok());
    }
    let is_unused = |unused| {
        let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
        modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > unused))
    };
    name.ends_with(".artefact") && unused.is_some_and(is_unused) && fs::remove_file(path).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// The smallest component.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let outer = tempfile::tempdir().expect("a folder");
        let inner = outer.path().join("cache");
        (outer, inner)
    }

    fn filled(folder: &Path) -> (Engine, Cache, Digest) {
        let engine = Engine::default();
        let cache = Cache::open(folder, &engine).expect("opens");
        let digest = Digest::of(EMPTY);
        cache.store(&Component::from_binary(&engine, EMPTY).expect("compiles"), &digest);
        (engine, cache, digest)
    }

    #[test]
    fn an_artefact_is_found_again_by_another_process() {
        let (_outer, folder) = folder();
        let (engine, _, digest) = filled(&folder);
        let again = Cache::open(&folder, &engine).expect("opens");
        assert!(again.load(&engine, &digest).is_some());
        assert!(again.load(&engine, &Digest::of(b"another")).is_none());
    }

    #[test]
    fn one_flipped_byte_anywhere_is_noticed() {
        let (_outer, folder) = folder();
        let (engine, cache, digest) = filled(&folder);
        let path = cache.path(&digest);
        let intact = fs::read(&path).expect("reads");
        for at in [0, 20, 48, intact.len() / 2, intact.len() - 1] {
            let mut broken = intact.clone();
            broken[at] ^= 1;
            fs::write(&path, broken).expect("writes");
            assert!(cache.load(&engine, &digest).is_none(), "byte {at}");
        }
        fs::write(&path, &intact[..40]).expect("writes");
        assert!(cache.load(&engine, &digest).is_none(), "cut off");
    }

    #[test]
    fn an_artefact_of_another_component_or_under_another_key_is_refused() {
        let (_outer, folder) = folder();
        let (engine, cache, digest) = filled(&folder);
        let other = Digest::of(b"another");
        fs::rename(cache.path(&digest), cache.path(&other)).expect("renames");
        assert!(cache.load(&engine, &other).is_none());

        fs::rename(cache.path(&other), cache.path(&digest)).expect("renames");
        fs::remove_file(folder.join("key")).expect("removes");
        let rekeyed = Cache::open(&folder, &engine).expect("opens");
        assert!(rekeyed.load(&engine, &digest).is_none());
    }

    #[test]
    fn a_folder_that_others_can_enter_is_refused() {
        let (_outer, folder) = folder();
        filled(&folder);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("changes");
        let error = Cache::open(&folder, &Engine::default()).expect_err("not private");
        assert!(error.to_string().contains("chmod 700"), "{error}");
        assert_eq!(sweep_cache(&folder, Some(Duration::ZERO)), 0);
    }

    #[test]
    fn a_folder_of_another_user_is_refused() {
        let (_outer, folder) = folder();
        filled(&folder);
        // only root can give folders away, and not in a user namespace of one user
        if std::os::unix::fs::chown(&folder, Some(12_345), None).is_err() {
            return;
        }
        let error = Cache::open(&folder, &Engine::default()).expect_err("not ours");
        assert!(error.to_string().contains("belongs to user 12345"), "{error}");
    }

    #[test]
    fn a_key_that_others_can_read_and_a_link_instead_of_the_folder_are_refused() {
        let (outer, folder) = folder();
        filled(&folder);
        let link = outer.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).expect("links");
        assert!(Cache::open(&link, &Engine::default()).is_err());
        fs::set_permissions(folder.join("key"), fs::Permissions::from_mode(0o644)).expect("changes");
        assert!(Cache::open(&folder, &Engine::default()).is_err());
    }

    #[test]
    fn code_for_another_engine_has_another_name() {
        let (_outer, folder) = folder();
        let (_, cache, digest) = filled(&folder);
        let other = Engine::new(wasmtime::Config::new().epoch_interruption(true)).expect("an engine");
        let other = Cache::open(&folder, &other).expect("opens");
        assert_ne!(cache.path(&digest), other.path(&digest));
    }

    #[test]
    fn a_sweep_takes_abandoned_files_and_unused_code_and_leaves_what_is_in_use() {
        let (_outer, folder) = folder();
        let (engine, cache, digest) = filled(&folder);
        let artefact = cache.path(&digest);
        let age = |days: u64| {
            let at = SystemTime::now() - Duration::from_secs(days * 86_400);
            File::open(&artefact).and_then(|file| file.set_modified(at)).expect("ages");
        };
        let month = Some(Duration::from_secs(30 * 86_400));
        let (aside, lock) = write_aside(&folder, &[b"half"]).expect("writes");
        fs::write(folder.join("notes"), "not ours").expect("writes");
        age(40);
        assert_eq!(sweep_cache(&folder, None), 0, "being written, or merely old");
        assert!(cache.load(&engine, &digest).is_some());
        assert_eq!(sweep_cache(&folder, month), 0, "it was used just now");
        drop(lock);
        assert_eq!(sweep_cache(&folder, None), 1);
        assert!(!aside.exists());
        age(40);
        assert_eq!(sweep_cache(&folder, month), 1);
        assert!(cache.load(&engine, &digest).is_none());
        assert!(folder.join("notes").exists() && folder.join("key").exists());
    }

    #[test]
    fn a_file_that_is_being_written_stays_though_a_sweep_was_there_before_it_was_locked() {
        let (_outer, folder) = folder();
        filled(&folder);
        let is_over = AtomicBool::new(false);
        let missed = std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        sweep_cache(&folder, None);
                    }
                });
            }
            let mut rounds = 0..20_000;
            let missed = rounds.find(|_| {
                let made = write_aside(&folder, &[]);
                !made.is_ok_and(|(aside, _lock)| fs::remove_file(aside).is_ok())
            });
            is_over.store(true, Ordering::Relaxed);
            missed
        });
        assert_eq!(missed, None, "somebody removed it");
    }

    #[test]
    fn only_finished_files_are_left_behind() {
        let (_outer, folder) = folder();
        filled(&folder);
        let mut names: Vec<_> =
            fs::read_dir(&folder).expect("lists").map(|e| e.expect("an entry").file_name()).collect();
        names.sort();
        assert_eq!(names.len(), 2, "{names:?}");
    }
}
