//! Trees of the host's repository: flat listings of them, how two differ, and
//! new trees from old ones.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use git2::{Oid, Repository, Tree};
use sortie_core::action::ChangeKind;
use sortie_policy::ports::{ErrorCode, PortError};

use crate::names::{check_entry, join, shown};

/// Entries and folders of a commit: a small pack can describe trees without end.
const MOST_ENTRIES: usize = 1_000_000;
/// Bytes of all their paths together.
const MOST_PATH_BYTES: usize = 128 << 20;
/// Folders within folders.
pub(crate) const DEEPEST: usize = 200;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    File,
    Executable,
    Link,
    /// A commit of another repository; stays as it is.
    Submodule,
}

impl Mode {
    fn from_raw(raw: i32) -> Option<Self> {
        match raw & 0o170_000 {
            0o120_000 => Some(Self::Link),
            0o160_000 => Some(Self::Submodule),
            0o100_000 if raw & 0o100 != 0 => Some(Self::Executable),
            0o100_000 => Some(Self::File),
            _ => None,
        }
    }

    pub(crate) fn bits(self) -> i32 {
        match self {
            Self::File => 0o100_644,
            Self::Executable => 0o100_755,
            Self::Link => 0o120_000,
            Self::Submodule => 0o160_000,
        }
    }
}

/// One path's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) mode: Mode,
    pub(crate) id: Oid,
}

/// All paths of a tree but folders, as bytes with `/`.
pub(crate) type Listing = BTreeMap<Vec<u8>, Entry>;

/// One path that differs.
pub(crate) type Difference = (Vec<u8>, ChangeKind);

/// Lists a tree, whose names are checked on the way.
pub(crate) fn list(repository: &Repository, tree: &Tree<'_>) -> Result<Listing, PortError> {
    let mut listing = Listing::new();
    list_folder(repository, tree, &[], 0, &mut Seen::default(), &mut listing)?;
    Ok(listing)
}

/// What a listing has cost so far.
#[derive(Default)]
struct Seen {
    entries: usize,
    path_bytes: usize,
}

impl Seen {
    fn take(&mut self, path: &[u8]) -> Result<(), PortError> {
        self.entries += 1;
        self.path_bytes += path.len();
        if self.entries > MOST_ENTRIES {
            return Err(too_large(&format!("the commit has more than {MOST_ENTRIES} files")));
        }
        if self.path_bytes > MOST_PATH_BYTES {
            let most = MOST_PATH_BYTES >> 20;
            return Err(too_large(&format!("the paths of the commit's files have more than {most} MiB")));
        }
        Ok(())
    }
}

fn list_folder(
    repository: &Repository,
    tree: &Tree<'_>,
    folder: &[u8],
    depth: usize,
    seen: &mut Seen,
    listing: &mut Listing,
) -> Result<(), PortError> {
    if depth > DEEPEST {
        return Err(too_large(&format!("the commit has folders more than {DEEPEST} deep")));
    }
    for entry in tree {
        check_entry(folder, entry.name_bytes())?;
        let path = join(folder, entry.name_bytes());
        seen.take(&path)?;
        if entry.filemode_raw() & 0o170_000 == 0o040_000 {
            let inner = repository.find_tree(entry.id()).map_err(unreadable)?;
            list_folder(repository, &inner, &path, depth + 1, seen, listing)?;
            continue;
        }
        let mode = Mode::from_raw(entry.filemode_raw()).ok_or_else(|| malformed(&path))?;
        if listing.insert(path.clone(), Entry { mode, id: entry.id() }).is_some() {
            return Err(malformed(&path));
        }
    }
    Ok(())
}

/// Whether a listing has something beneath a folder.
pub(crate) fn has_beneath(listing: &Listing, folder: &[u8]) -> bool {
    let start = [folder, b"/"].concat();
    listing.range(start.clone()..).next().is_some_and(|(path, _)| path.starts_with(&start))
}

/// How the new listing differs from the old one, in order of path.
pub(crate) fn differences(old: &Listing, new: &Listing) -> Vec<Difference> {
    let mut found = BTreeMap::new();
    for (path, entry) in old {
        match new.get(path) {
            None => found.insert(path.clone(), ChangeKind::Deleted),
            Some(now) if now != entry => found.insert(path.clone(), ChangeKind::Modified),
            Some(_) => None,
        };
    }
    for path in new.keys().filter(|path| !old.contains_key(*path)) {
        found.insert(path.clone(), ChangeKind::Added);
    }
    found.into_iter().collect()
}

/// A path's new content; none removes it.
pub(crate) type Edits = BTreeMap<Vec<u8>, Option<Entry>>;

/// Writes the tree that results from edits, whose folders that do not change
/// stay as they are.
pub(crate) fn edit(repository: &Repository, base: &Tree<'_>, edits: &Edits) -> Result<Oid, PortError> {
    let edits: FolderEdits<'_> = edits.iter().map(|(path, entry)| (path.as_slice(), *entry)).collect();
    match edit_folder(repository, Some(base), &[], &edits)? {
        Some(id) => Ok(id),
        None => repository.treebuilder(None).and_then(|builder| builder.write()).map_err(unwritable),
    }
}

/// Edits of one folder, with paths from it.
type FolderEdits<'a> = Vec<(&'a [u8], Option<Entry>)>;

/// Edits one folder; none if nothing is left in it.
fn edit_folder(
    repository: &Repository,
    base: Option<&Tree<'_>>,
    folder: &[u8],
    edits: &[(&[u8], Option<Entry>)],
) -> Result<Option<Oid>, PortError> {
    let mut builder = repository.treebuilder(base).map_err(unwritable)?;
    let mut inner: BTreeMap<&[u8], FolderEdits<'_>> = BTreeMap::new();
    let mut own = Vec::new();
    for (path, entry) in edits {
        match path.iter().position(|&byte| byte == b'/') {
            Some(slash) => inner.entry(&path[..slash]).or_default().push((&path[slash + 1..], *entry)),
            None => own.push((*path, *entry)),
        }
    }
    // removals first: a file may have become a folder, or a folder a file
    for (name, _) in own.iter().filter(|(_, entry)| entry.is_none()) {
        if builder
            .get(*name)
            .map_err(unwritable)?
            .is_some_and(|found| found.filemode_raw() & 0o170_000 != 0o040_000)
        {
            builder.remove(*name).map_err(unwritable)?;
        }
    }
    for (name, edits) in inner {
        let path = join(folder, name);
        let old = match builder.get(name).map_err(unwritable)? {
            Some(entry) if entry.filemode_raw() & 0o170_000 == 0o040_000 => {
                Some(repository.find_tree(entry.id()).map_err(unreadable)?)
            }
            Some(_) if edits.iter().any(|(_, entry)| entry.is_some()) => return Err(half(&path)),
            Some(_) => continue,
            None => None,
        };
        let present = old.is_some();
        match edit_folder(repository, old.as_ref(), &path, &edits)? {
            Some(id) => drop(builder.insert(name, id, 0o040_000).map_err(unwritable)?),
            None if present => builder.remove(name).map_err(unwritable)?,
            None => {}
        }
    }
    for (name, entry) in own.iter().filter_map(|(name, entry)| entry.map(|entry| (*name, entry))) {
        check_entry(folder, name)?;
        if builder
            .get(name)
            .map_err(unwritable)?
            .is_some_and(|found| found.filemode_raw() & 0o170_000 == 0o040_000)
        {
            return Err(half(&join(folder, name)));
        }
        builder.insert(name, entry.id, entry.mode.bits()).map_err(unwritable)?;
    }
    if builder.is_empty() { Ok(None) } else { builder.write().map(Some).map_err(unwritable) }
}

/// Listings by tree, so that the head's and the base's are made once.
#[derive(Debug, Default)]
pub(crate) struct Listings(VecDeque<(Oid, Arc<Listing>)>);

impl Listings {
    /// The listing of a commit's tree.
    pub(crate) fn of(&mut self, repository: &Repository, commit: Oid) -> Result<Arc<Listing>, PortError> {
        let tree = repository.find_commit(commit).and_then(|commit| commit.tree()).map_err(unreadable)?;
        let known = self.0.iter().position(|(id, _)| *id == tree.id()).and_then(|at| self.0.remove(at));
        let listing = match known {
            Some((_, listing)) => listing,
            None => Arc::new(list(repository, &tree)?),
        };
        // the base's, the head's, and a little history: what was asked for longest ago goes
        self.0.truncate(3);
        self.0.push_front((tree.id(), Arc::clone(&listing)));
        Ok(listing)
    }
}

pub(crate) fn too_large(message: &str) -> PortError {
    PortError::new(ErrorCode::TooLarge, message)
}

fn malformed(path: &[u8]) -> PortError {
    PortError::new(ErrorCode::Invalid, format!("the commit has a malformed entry `{}`", shown(path)))
}

/// The permitted paths are not a tree without the others.
fn half(path: &[u8]) -> PortError {
    let message = format!("`{}` would be a file and a folder: a part of its change is left out", shown(path));
    PortError::new(ErrorCode::Invalid, message)
}

pub(crate) fn unreadable(error: git2::Error) -> PortError {
    PortError::internal(format!("the task's repository cannot be read: {}", error.message()))
}

pub(crate) fn unwritable(error: git2::Error) -> PortError {
    PortError::internal(format!("the task's repository cannot be written: {}", error.message()))
}

#[cfg(test)]
mod tests {
    use git2::ObjectType;

    use super::*;

    /// A repository and, in it, a tree with these entries as they stand.
    fn raw_tree(entries: &[(&str, &[u8])]) -> (tempfile::TempDir, Repository, Oid) {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = Repository::init_bare(folder.path()).expect("a repository");
        let blob = repository.blob(b"x").expect("a blob");
        let mut bytes = Vec::new();
        for (mode, name) in entries {
            bytes.extend([mode.as_bytes(), b" ", name, b"\0", blob.as_bytes()].concat());
        }
        let tree = repository.odb().and_then(|odb| odb.write(ObjectType::Tree, &bytes)).expect("a tree");
        (folder, repository, tree)
    }

    #[test]
    fn what_is_asked_for_again_and_again_is_listed_once() {
        let (_folder, repository, _) = raw_tree(&[]);
        let author = git2::Signature::new("A", "a@example.org", &git2::Time::new(1, 0)).expect("a name");
        let commit = |file: String| {
            let mut builder = repository.treebuilder(None).expect("a tree");
            let blob = repository.blob(b"x").expect("a blob");
            builder.insert(file, blob, 0o100_644).expect("an entry");
            let tree = builder.write().and_then(|id| repository.find_tree(id)).expect("a tree");
            repository.commit(None, &author, &author, "", &tree, &[]).expect("a commit")
        };
        let mut listings = Listings::default();
        let base = commit("base".to_owned());
        let first = listings.of(&repository, base).expect("a listing");
        for number in 0..20 {
            let head = listings.of(&repository, commit(number.to_string())).expect("a listing");
            assert_eq!(head.keys().next().map(Vec::as_slice), Some(number.to_string().as_bytes()));
            let again = listings.of(&repository, base).expect("a listing");
            assert!(Arc::ptr_eq(&first, &again), "after {number}");
        }
        assert_eq!(listings.0.len(), 4);
    }

    /// Git's own checks at the fetch come first; these hold where it has none.
    #[test]
    fn a_listing_has_no_names_that_escape() {
        for name in [&b".git"[..], b".GiT", b"git~1", b"..", b".", b".git\\x", b".git "] {
            let (_folder, repository, id) = raw_tree(&[("100644", name)]);
            // libgit2 refuses some of them itself
            let listed =
                repository.find_tree(id).map_err(unreadable).and_then(|tree| list(&repository, &tree));
            assert!(listed.is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_listing_has_each_path_once_and_no_unknown_modes() {
        for entries in
            [&[("100644", &b"a"[..]), ("120000", b"a")][..], &[("010644", b"fifo")], &[("060644", b"disk")]]
        {
            let (_folder, repository, id) = raw_tree(entries);
            let listed =
                repository.find_tree(id).map_err(unreadable).and_then(|tree| list(&repository, &tree));
            assert!(listed.is_err(), "{entries:?}");
        }
    }

    #[test]
    fn an_edit_leaves_the_other_folders_as_they_are() {
        let (_folder, repository, _) = raw_tree(&[]);
        let blob = repository.blob(b"y").expect("a blob");
        let entry = Some(Entry { mode: Mode::File, id: blob });
        let empty = repository.treebuilder(None).and_then(|builder| builder.write()).expect("a tree");
        let apply = |tree: Oid, edits: &[(&str, Option<Entry>)]| {
            let edits: Edits = edits.iter().map(|(path, entry)| (path.as_bytes().to_vec(), *entry)).collect();
            let tree = repository.find_tree(tree).expect("is there");
            edit(&repository, &tree, &edits).expect("is edited")
        };
        let one = apply(empty, &[("a/b/c", entry), ("a/d", entry), ("e", entry)]);
        let two = apply(one, &[("a/b/c", None)]);
        let listing = list(&repository, &repository.find_tree(two).expect("is there")).expect("lists");
        assert_eq!(
            listing.keys().map(|path| String::from_utf8_lossy(path)).collect::<Vec<_>>(),
            ["a/d", "e"]
        );
        assert_eq!(apply(two, &[("a/d", None), ("e", None)]), empty);
        assert_eq!(apply(two, &[("a/b/c", entry)]), one);
    }
}
