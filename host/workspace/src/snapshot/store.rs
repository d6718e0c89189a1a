//! The folder of snapshots.

#![expect(clippy::disallowed_methods, reason = "keeps snapshots in the state folder")]

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sortie_core::digest::Digest;
use sortie_lock::{Hold, Lock};
use sortie_policy::ports::Forked;

use super::half::{Unfinished, is_unfinished, remove_unlocked};
use super::listing::GIT;
use super::{About, Listed, Listing, SnapshotError, SnapshotRules, failed};
use crate::copy::{How, Take, copy_into};
use crate::spread::spread;
use crate::traverse::{Found, Kind};

/// Files, folders and links of a snapshot.
const ENTRIES_MAX: u64 = 2_000_000;

/// The snapshots of a state folder.
#[derive(Clone, Debug)]
pub struct Snapshots {
    folder: PathBuf,
    /// Whose the files in a workspace are.
    owner: Option<(u32, u32)>,
}

/// A snapshot that stays while this lives.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    about: About,
    owner: Option<(u32, u32)>,
    _lock: Lock,
}

impl Snapshots {
    /// Those of a state folder, for workspaces whose files belong to `owner`, as user and group, or to the running
    /// process.
    pub fn new(state: &Path, owner: Option<(u32, u32)>) -> Self {
        Self { folder: state.join("snapshots"), owner }
    }

    /// The snapshot of a key, if there is one that is whole.
    pub fn find(&self, key: &Digest) -> Option<Snapshot> {
        self.open(&self.folder.join(key.to_string()))
    }

    /// The snapshot of the same repository and environment, made in the same, that was last used, whatever its key.
    pub fn newest(&self, of: &About) -> Option<Snapshot> {
        let ground = |about: &About| {
            let About { repository, environment, made_in, .. } = about.clone();
            (repository, environment, made_in)
        };
        let mut all = self.list();
        all.retain(|one| ground(&one.about) == ground(of));
        let newest = all.into_iter().max_by_key(|one| one.used)?;
        self.open(&self.folder.join(newest.key))
    }

    fn open(&self, path: &Path) -> Option<Snapshot> {
        // one that somebody removes is none, and removing it takes its time
        let lock = Lock::open(&path.join("used"), Hold::Shared).ok()?;
        // after the lock: it may be gone by now
        let about = about(path)?;
        drop(File::open(path.join("used")).ok()?.set_modified(SystemTime::now()));
        Some(Snapshot { path: path.to_owned(), about, owner: self.owner, _lock: lock })
    }

    /// Keeps what set-up added to a work tree since `before`, and its home, under a key. None if there is one by now:
    /// that stays. Nothing may run in these folders.
    ///
    /// # Errors
    /// If set-up changed what was there before, made more than `most` bytes, or the disk does not allow it. Then
    /// nothing is kept.
    pub fn save(
        &self,
        key: &Digest,
        work_tree: &Path,
        home: &Path,
        before: &Listing,
        most: u64,
        mut about: About,
    ) -> Result<Option<About>, SnapshotError> {
        let changed = before.first_changed(work_tree).map_err(failed("cannot look through the work tree"))?;
        if let Some(path) = changed {
            return Err(SnapshotError::Changed(path));
        }
        let write = failed("cannot write the snapshot");
        let unfinished = match self.unfinished() {
            Ok(unfinished) => unfinished,
            Err(error) => return Err(write(error)),
        };
        let mut made = Forked::default();
        let mut copy = |source: &Path, name: &str, wanted: &mut dyn FnMut(&Found<'_>) -> Take| {
            let target = unfinished.path.join(name);
            DirBuilder::new().mode(0o700).create(&target).map_err(failed("cannot write the snapshot"))?;
            let left = most.saturating_sub(made.bytes);
            let how = How { owner: self.owner, entries: ENTRIES_MAX, bytes: left, root: false };
            copy_into(source, &target, how, wanted, &mut made).map_err(|error| match error.kind() {
                ErrorKind::FileTooLarge => SnapshotError::TooLarge(most),
                _ => failed("cannot copy what set-up made")(error),
            })
        };
        copy(work_tree, "work", &mut |found| match (before.is_new(found), found.kind) {
            _ if found.path.as_os_str() == OsStr::new(GIT) => Take::Never,
            (true, _) => Take::Always,
            (false, Kind::Folder) => Take::WithContents,
            (false, _) => Take::Never,
        })?;
        copy(home, "home", &mut |_| Take::Always)?;
        about.bytes = made.bytes;
        let is_ours = unfinished.finish(&self.folder.join(key.to_string()), &about).map_err(write)?;
        Ok(is_ours.then_some(about))
    }

    fn unfinished(&self) -> io::Result<Unfinished> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        spread(&self.folder);
        Unfinished::within(&self.folder)
    }

    /// All that are whole, in no order.
    pub fn list(&self) -> Vec<Listed> {
        let listed = |path: PathBuf| {
            let key = path.file_name()?.to_str()?.to_owned();
            let used = fs::metadata(path.join("used")).ok()?.modified().ok()?;
            Some(Listed { key, about: about(&path)?, used })
        };
        self.names().into_iter().filter(|path| !is_unfinished(path)).filter_map(listed).collect()
    }

    fn names(&self) -> Vec<PathBuf> {
        fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }

    /// Those that go by these rules, the longest unused first.
    pub fn superfluous(&self, rules: SnapshotRules, now: SystemTime) -> Vec<Listed> {
        let mut all = self.list();
        all.sort_by_key(|one| std::cmp::Reverse(one.used));
        let mut total = 0_u64;
        let mut going: Vec<_> = all
            .into_iter()
            .filter(|one| {
                total = total.saturating_add(one.about.bytes).saturating_add(one.about.image_bytes);
                let unused = now.duration_since(one.used).unwrap_or_default();
                // with no room, one without a byte has none either
                rules.total == 0 || total > rules.total || unused > rules.unused
            })
            .collect();
        going.reverse();
        going
    }

    /// Removes one, unless somebody is taking it up. Its image is the caller's to remove.
    pub fn remove(&self, key: &str) -> bool {
        let path = self.folder.join(key);
        let is_plain = Path::new(key).file_name() == Some(OsStr::new(key));
        is_plain && remove_unlocked(&path)
    }

    /// Removes what a killed host was writing or removing. Returns how many there were.
    pub fn sweep(&self) -> usize {
        let half = self.names().into_iter().filter(|path| is_unfinished(path) || about(path).is_none());
        half.filter(|path| remove_unlocked(path)).count()
    }
}

impl Snapshot {
    /// What it is of.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Puts all of it into a fresh checkout and a home. What is there already stays.
    ///
    /// # Errors
    /// If the disk does not allow it; what was put there until then stays.
    pub fn restore(&self, work_tree: &Path, home: &Path) -> Result<Forked, SnapshotError> {
        self.put(work_tree, home, &mut |_, _| Take::Always)
    }

    /// Puts parts of it there: `paths` are relative to the work tree, or to the home after `~/`.
    ///
    /// # Errors
    /// As [`Snapshot::restore`].
    pub fn restore_paths(
        &self,
        paths: &[String],
        work_tree: &Path,
        home: &Path,
    ) -> Result<Forked, SnapshotError> {
        let (home_paths, tree_paths): (Vec<_>, Vec<_>) =
            paths.iter().map(String::as_str).partition(|path| path.starts_with("~/"));
        let home_paths: Vec<_> = home_paths.iter().map(|path| Path::new(&path[2..])).collect();
        let tree_paths: Vec<_> = tree_paths.iter().map(Path::new).collect();
        self.put(work_tree, home, &mut |is_home, path| {
            let wanted = if is_home { &home_paths } else { &tree_paths };
            if wanted.iter().any(|wanted| path.starts_with(wanted)) {
                Take::Always
            } else if wanted.iter().any(|wanted| wanted.starts_with(path)) {
                Take::WithContents
            } else {
                Take::Never
            }
        })
    }

    fn put(
        &self,
        work_tree: &Path,
        home: &Path,
        wanted: &mut dyn FnMut(bool, &Path) -> Take,
    ) -> Result<Forked, SnapshotError> {
        let mut done = Forked::default();
        for (name, target, is_home) in [("work", work_tree, false), ("home", home, true)] {
            let how = How { owner: self.owner, entries: ENTRIES_MAX, bytes: u64::MAX, root: false };
            let mut wanted = |found: &Found<'_>| wanted(is_home, found.path);
            copy_into(&self.path.join(name), target, how, &mut wanted, &mut done)
                .map_err(failed("cannot restore what set-up made"))?;
        }
        Ok(done)
    }
}

fn about(path: &Path) -> Option<About> {
    serde_json::from_slice(&fs::read(path.join("about.json")).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::time::Duration;

    use super::*;

    struct Ground {
        folder: tempfile::TempDir,
        snapshots: Snapshots,
    }

    impl Ground {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let snapshots = Snapshots::new(folder.path(), None);
            let ground = Self { folder, snapshots };
            ground.put("tree/src/lib.rs", "tracked");
            ground.put("home/.cache/x", "cached");
            ground
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn put(&self, name: &str, text: &str) {
            let path = self.path(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("is made");
            fs::write(path, text).expect("is written");
        }

        fn listing(&self) -> Listing {
            Listing::of(&self.path("tree")).expect("is listed")
        }

        fn save(&self, key: &str, before: &Listing) -> Result<Option<About>, SnapshotError> {
            let (key, about) = (Digest::of(key.as_bytes()), about_of("r", "e", "sandbox"));
            self.snapshots.save(&key, &self.path("tree"), &self.path("home"), before, 1000, about)
        }

        fn find(&self, key: &str) -> Option<Snapshot> {
            self.snapshots.find(&Digest::of(key.as_bytes()))
        }

        fn names(&self) -> usize {
            fs::read_dir(self.path("snapshots")).map_or(0, Iterator::count)
        }

        fn fresh(&self) -> (PathBuf, PathBuf) {
            let (tree, home) = (self.path("tree-2"), self.path("home-2"));
            for folder in [&tree, &home] {
                drop(fs::remove_dir_all(folder));
                fs::create_dir(folder).expect("is made");
            }
            (tree, home)
        }
    }

    fn about_of(repository: &str, environment: &str, made_in: &str) -> About {
        About {
            repository: repository.into(),
            environment: environment.into(),
            made_in: made_in.into(),
            commands: vec!["make".into()],
            image: None,
            bytes: 0,
            image_bytes: 0,
        }
    }

    /// What `work` comes to; one that waits for a lock would do so for ever.
    fn at_once<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(work()));
        receiver.recv_timeout(Duration::from_secs(60)).expect("it waits for nobody")
    }

    #[test]
    fn what_came_after_the_listing_is_kept_and_restored_into_another_checkout() {
        let ground = Ground::new();
        let before = ground.listing();
        ground.put("tree/src/gen/made.rs", "made");
        ground.put("tree/.git/hooks/post-checkout", "evil");
        symlink("/etc", ground.path("tree/out")).expect("is linked");
        assert_eq!(ground.save("k", &before).expect("is kept").expect("it is the first").bytes, 10);
        assert_eq!(ground.save("k", &before).expect("there is one"), None);
        let (tree, home) = ground.fresh();
        ground.put("tree-2/src/lib.rs", "newer");
        ground.find("k").expect("is there").restore(&tree, &home).expect("is restored");
        let read = |path: PathBuf| fs::read_to_string(path).expect("is read");
        assert_eq!(read(tree.join("src/gen/made.rs")), "made");
        assert_eq!(read(tree.join("src/lib.rs")), "newer", "what is there stays");
        assert_eq!(read(home.join(".cache/x")), "cached");
        assert_eq!(fs::read_link(tree.join("out")).expect("a link"), Path::new("/etc"));
        assert!(!tree.join(".git").exists());
        assert!(ground.find("other").is_none());
    }

    #[test]
    fn parts_of_a_snapshot_are_restored_alone() {
        let ground = Ground::new();
        let before = ground.listing();
        ground.put("tree/target/debug/x", "x");
        ground.put("tree/targets", "y");
        ground.put("home/.cachet", "z");
        ground.save("k", &before).expect("is kept");
        let (tree, home) = ground.fresh();
        let paths = ["target".to_owned(), "~/.cache".to_owned()];
        let newest = ground.snapshots.newest(&about_of("r", "e", "sandbox")).expect("is there");
        newest.restore_paths(&paths, &tree, &home).expect("is restored");
        assert!(tree.join("target/debug/x").exists() && home.join(".cache/x").exists());
        assert!(!tree.join("targets").exists() && !home.join(".cachet").exists());
        for other in [
            about_of("r", "other", "sandbox"),
            about_of("other", "e", "sandbox"),
            about_of("r", "e", "image"),
        ] {
            assert!(ground.snapshots.newest(&other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn a_set_up_that_changed_or_removed_what_was_there_or_made_too_much_is_not_kept() {
        let ground = Ground::new();
        let before = ground.listing();
        ground.put("tree/big", &"x".repeat(2000));
        assert!(matches!(ground.save("k", &before), Err(SnapshotError::TooLarge(1000))));
        fs::remove_file(ground.path("tree/big")).expect("is removed");
        // another length: a kernel's clock may not move on between two writes
        ground.put("tree/src/lib.rs", "changed by it");
        assert!(matches!(ground.save("k", &before), Err(SnapshotError::Changed(_))));
        fs::remove_file(ground.path("tree/src/lib.rs")).expect("is removed");
        let error = ground.save("k", &before).expect_err("it is gone").to_string();
        assert_eq!(error, "set-up changed `src/lib.rs`, which belongs to the repository");
        assert_eq!(ground.names(), 0, "no half of it is left");
    }

    #[test]
    fn nobody_takes_up_half_a_snapshot_and_a_sweep_removes_it() {
        let ground = Ground::new();
        ground.put("snapshots/.tmp0123/used", "");
        ground.put("snapshots/.tmp0123/work/read-only/x", "x");
        let read_only = ground.path("snapshots/.tmp0123/work/read-only");
        fs::set_permissions(&read_only, fs::Permissions::from_mode(0o500)).expect("is set");
        let key = Digest::of(b"k").to_string();
        ground.put(&format!("snapshots/{key}/used"), "");
        assert!(ground.find("k").is_none() && ground.snapshots.list().is_empty());
        let writing = ground.snapshots.unfinished().expect("is made");
        assert_eq!(ground.snapshots.sweep(), 2, "one that was being removed is half a one as well");
        assert!(writing.path.exists(), "somebody writes it");
    }

    #[test]
    fn one_that_is_being_begun_while_others_sweep_is_whole() {
        let ground = Ground::new();
        let (over, snapshots) = (std::sync::atomic::AtomicBool::new(false), &ground.snapshots);
        std::thread::scope(|scope| {
            let sweeps = || {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    snapshots.sweep();
                }
            };
            (0..2).for_each(|_| drop(scope.spawn(sweeps)));
            let begun = (0..3000).try_for_each(|_| {
                let unfinished = snapshots.unfinished()?;
                DirBuilder::new().create(unfinished.path.join("work"))?;
                fs::write(unfinished.path.join("work/x"), "x")?;
                fs::metadata(unfinished.path.join("used")).map(drop)
            });
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            begun.expect("nobody takes it for left over");
        });
        assert_eq!(ground.names(), 0);
    }

    #[test]
    fn a_snapshot_that_is_being_taken_up_stays_and_the_longest_unused_goes_first() {
        let ground = Ground::new();
        let before = ground.listing();
        for key in ["a", "b", "c"] {
            ground.save(key, &before).expect("is kept");
        }
        let now = SystemTime::now();
        let age = |key: &str, seconds: u64| {
            let used = ground.path("snapshots").join(Digest::of(key.as_bytes()).to_string()).join("used");
            let at = now - Duration::from_secs(seconds);
            File::open(used).and_then(|file| file.set_modified(at)).expect("is set");
        };
        for (key, seconds) in [("a", 300), ("b", 200), ("c", 100)] {
            age(key, seconds);
        }
        let rules = |unused, total| SnapshotRules { unused: Duration::from_secs(unused), total, one: 1000 };
        let going = |rules| -> Vec<_> {
            ground.snapshots.superfluous(rules, now).into_iter().map(|one| one.key).collect()
        };
        let key = |key: &str| Digest::of(key.as_bytes()).to_string();
        assert_eq!(going(rules(250, 1000)), [key("a")]);
        assert_eq!(going(rules(1000, 11)), [key("a"), key("b")], "each holds 6 bytes");
        assert_eq!(going(rules(1000, 1000)), Vec::<String>::new());
        let about = serde_json::to_vec(&about_of("r", "e", "sandbox")).expect("is JSON");
        fs::write(ground.path("snapshots").join(key("c")).join("about.json"), about).expect("is written");
        assert_eq!(going(rules(1000, 5)), [key("a"), key("b")], "the last holds no byte");
        assert_eq!(going(rules(1000, 0)), [key("a"), key("b"), key("c")]);
        let used = ground.path("snapshots").join(key("a")).join("used");
        let removing = Lock::open(&used, Hold::Exclusive).expect("nobody holds it");
        let (snapshots, a) = (ground.snapshots.clone(), Digest::of(b"a"));
        let found = at_once(move || snapshots.find(&a).is_some());
        assert!(!found, "nobody waits for one that is being removed");
        drop(removing);
        let held = ground.find("a").expect("is there");
        let snapshots = ground.snapshots.clone();
        assert!(!at_once(move || snapshots.remove(&a.to_string())) && ground.find("a").is_some());
        drop(held);
        assert!(ground.snapshots.remove(&key("a")) && ground.find("a").is_none());
        assert!(!ground.snapshots.remove("../home") && ground.path("home").exists());
    }
}
