//! The files of a commit of a local repository, without a task: what
//! `sortie env` reads.

use std::path::Path;

use git2::{ObjectType, Oid, Repository, RepositoryOpenFlags, TreeWalkMode, TreeWalkResult};
use sortie_core::text::one_line;
use sortie_policy::ports::{ErrorCode, PortError};

use crate::remote::Wanted;
use crate::source::{Address, Source, patiently};
use crate::tree::unreadable;

/// Entries that are looked at in search of a file.
const MOST_ENTRIES: usize = 100_000;
/// Bytes of the longest path of a folder that is looked into: libgit2 goes
/// down by a call a folder, and a small repository can nest many.
const LONGEST_PATH: usize = 4096;
/// The bits of a mode that say what an entry is, and what they are for a file.
const KIND: i32 = 0o170_000;
const FILE: i32 = 0o100_000;

/// A commit of a local repository. Its objects are read; nothing of the
/// repository is run, and no filter applied.
pub struct Peek {
    repository: Repository,
    commit: Oid,
    tree: Oid,
}

impl Peek {
    /// The commit that a task would start from; none if the repository is not
    /// on this machine.
    ///
    /// # Errors
    /// `Invalid` if `reference` cannot be a base, `NotFound` if there is no
    /// such commit, `Unavailable` if the repository cannot be read.
    pub fn at(source: &Source, reference: Option<&str>) -> Result<Option<Self>, PortError> {
        let Address::Local(folder) = source.fetch_address() else { return Ok(None) };
        let (folder, wanted) = (folder.clone(), Wanted::parse(reference)?);
        let looked = patiently(move || look(&folder, &wanted)).unwrap_or_else(|| {
            let text = format!("reading {source} does not end; hint: look for a fifo among its files");
            Err(PortError::new(ErrorCode::Unavailable, text))
        });
        looked?.map(Some).ok_or_else(|| {
            let name = one_line(reference.unwrap_or("HEAD"), 100);
            PortError::new(ErrorCode::NotFound, format!("`{name}` is no commit of {source}"))
        })
    }

    /// The commit, in hexadecimal.
    pub fn commit(&self) -> String {
        self.commit.to_string()
    }

    /// The files in the root, at most `max`; names that are no UTF-8 are left out.
    ///
    /// # Errors
    /// If the repository cannot be read.
    pub fn root_files(&self, max: usize) -> Result<Vec<String>, PortError> {
        let tree = self.repository.find_tree(self.tree).map_err(unreadable)?;
        let files = tree.iter().filter(|entry| entry.kind() == Some(ObjectType::Blob)).take(max);
        Ok(files.filter_map(|entry| entry.name().ok().map(str::to_owned)).collect())
    }

    /// A file of at most `max` bytes; none if there is no such file.
    ///
    /// # Errors
    /// `TooLarge` beyond that, `Invalid` if it is no file but a link or a folder.
    pub fn read(&self, path: &str, max: usize) -> Result<Option<Vec<u8>>, PortError> {
        let tree = self.repository.find_tree(self.tree).map_err(unreadable)?;
        let entry = match tree.get_path(path.as_ref()) {
            Ok(entry) => entry,
            Err(error) if error.code() == git2::ErrorCode::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        if entry.kind() != Some(ObjectType::Blob) {
            let text = format!("{path} is a folder or a submodule; a file is read there");
            return Err(PortError::new(ErrorCode::Invalid, text));
        }
        if entry.filemode() & KIND != FILE {
            return Err(PortError::new(
                ErrorCode::Invalid,
                format!("{path} is a link; a file is read there"),
            ));
        }
        self.bounded(entry.id(), max)?.map(Some).ok_or_else(|| {
            PortError::new(ErrorCode::TooLarge, format!("{path} is larger than {} KiB", max >> 10))
        })
    }

    /// Whether one of the files that `wanted` picks by path, of at most `max`
    /// bytes, is what `matches` looks for. Of the first 100,000 entries.
    ///
    /// # Errors
    /// If the repository cannot be read.
    pub fn any(
        &self,
        max: usize,
        wanted: impl Fn(&str) -> bool,
        matches: impl Fn(&[u8]) -> bool,
    ) -> Result<bool, PortError> {
        let tree = self.repository.find_tree(self.tree).map_err(unreadable)?;
        let (mut seen, mut found) = (0, false);
        let walked = tree.walk(TreeWalkMode::PreOrder, |folder, entry| {
            seen += 1;
            if folder.len() > LONGEST_PATH {
                return TreeWalkResult::Skip;
            }
            let Ok(name) = entry.name() else { return TreeWalkResult::Skip };
            let is_file = entry.kind() == Some(ObjectType::Blob) && entry.filemode() & KIND == FILE;
            if is_file && wanted(&format!("{folder}{name}")) {
                found = self.bounded(entry.id(), max).ok().flatten().is_some_and(|bytes| matches(&bytes));
            }
            if found || seen >= MOST_ENTRIES { TreeWalkResult::Abort } else { TreeWalkResult::Ok }
        });
        match walked {
            Err(error) if !found && seen < MOST_ENTRIES => Err(unreadable(error)),
            _ => Ok(found),
        }
    }

    /// None if it is larger. The size is asked for before the content.
    fn bounded(&self, id: Oid, max: usize) -> Result<Option<Vec<u8>>, PortError> {
        let objects = self.repository.odb().map_err(unreadable)?;
        let (size, _) = objects.read_header(id).map_err(unreadable)?;
        if size > max {
            return Ok(None);
        }
        let object = objects.read(id).map_err(unreadable)?;
        Ok(Some(object.data().to_vec()))
    }
}

/// The commit of a base, chosen as a fetch chooses it.
fn look(folder: &Path, wanted: &Wanted) -> Result<Option<Peek>, PortError> {
    let flags = RepositoryOpenFlags::NO_SEARCH | RepositoryOpenFlags::NO_DOTGIT;
    let none: [&Path; 0] = [];
    let repository = Repository::open_ext(folder, flags, none).map_err(unreadable)?;
    let found = match wanted {
        Wanted::Commit(id) => repository.find_object(*id, None).and_then(|found| found.peel_to_commit()).ok(),
        Wanted::References(names) => {
            let mut there = names.iter().filter_map(|name| repository.find_reference(name).ok());
            there.next().and_then(|found| found.peel_to_commit().ok())
        }
    };
    let ids = found.map(|commit| (commit.id(), commit.tree_id()));
    Ok(ids.map(|(commit, tree)| Peek { repository, commit, tree }))
}
