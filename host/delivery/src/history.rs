//! Commits of the host's repository, as text.

use std::collections::BTreeMap;

use git2::{Commit, ObjectType, Oid, Repository};
use sortie_core::action::{Change, ChangeKind};
use sortie_core::text::{clip, one_line};
use sortie_policy::ports::{CommitInfo, ErrorCode, PortError};

use crate::names::lossy;
use crate::patch::{COMPARED, Content, Diff, Side};
use crate::tree::{Difference, Entry, Listing, Mode, differences, list, unreadable};

/// Commits of one log.
const MOST_COMMITS: u32 = 1000;
/// Bytes of a commit's message, and of a name, that are told: a small pack can
/// hold messages without end.
const LONGEST_MESSAGE: usize = 16 << 10;
const LONGEST_NAME: usize = 200;

/// Differences as actions name them.
pub(crate) fn changes(differences: &[Difference]) -> Vec<Change> {
    differences.iter().map(|(path, kind)| Change { path: lossy(path), kind: *kind }).collect()
}

/// The newest commits from `head` on.
pub(crate) fn log(repository: &Repository, head: Oid, max: u32) -> Result<Vec<CommitInfo>, PortError> {
    let mut walk = repository.revwalk().map_err(unreadable)?;
    walk.push(head).map_err(unreadable)?;
    let ids = walk.take(max.min(MOST_COMMITS) as usize);
    ids.map(|id| Ok(info(&repository.find_commit(id.map_err(unreadable)?).map_err(unreadable)?))).collect()
}

fn info(commit: &Commit<'_>) -> CommitInfo {
    let author = commit.author();
    let clipped =
        |bytes: &[u8], max: usize| clip(&lossy(&bytes[..bytes.len().min(max + 1)]), max).into_owned();
    let (name, email) = (author.name_bytes(), author.email_bytes());
    CommitInfo {
        id: commit.id().to_string(),
        author: format!("{} <{}>", clipped(name, LONGEST_NAME), clipped(email, LONGEST_NAME)),
        time: author.when().seconds(),
        message: clipped(commit.message_bytes(), LONGEST_MESSAGE),
    }
}

/// The commit that a revision names: an id or its beginning, `HEAD`, the
/// branch, and `~` and `^` after them.
pub(crate) fn find<'a>(repository: &'a Repository, rev: &str) -> Result<Commit<'a>, PortError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._/-~^".contains(c);
    let missing =
        || PortError::new(ErrorCode::NotFound, format!("there is no revision `{}`", one_line(rev, 80)));
    if rev.is_empty() || rev.len() > 200 || rev.starts_with('-') || !rev.chars().all(plain) {
        return Err(missing());
    }
    let object = repository.revparse_single(rev).map_err(|_| missing())?;
    object.peel_to_commit().map_err(|_| missing())
}

/// The trees before and after a commit; before a first one there is nothing.
pub(crate) fn sides(repository: &Repository, commit: &Commit<'_>) -> Result<(Listing, Listing), PortError> {
    let new = list(repository, &commit.tree().map_err(unreadable)?)?;
    // the first parent of a shallow history's last commit is not here
    let parent = commit.parent(0).ok().and_then(|parent| parent.tree().ok());
    let old = parent.map(|tree| list(repository, &tree)).transpose()?.unwrap_or_default();
    Ok((old, new))
}

/// Message and diff of a commit, of the paths that `permitted` lets through.
pub(crate) fn show(
    repository: &Repository,
    commit: &Commit<'_>,
    permitted: impl Fn(&[u8]) -> bool,
    max: u32,
) -> Result<String, PortError> {
    let about = info(commit);
    let time = commit.author().when();
    let mut text = format!("commit {}\nAuthor: {}\nDate:   {}\n\n", about.id, about.author, time.seconds());
    for line in about.message.trim_end().lines() {
        text.extend(["    ", line, "\n"]);
    }
    text.push('\n');
    let (old, new) = sides(repository, commit)?;
    let mut diff = Diff::new(max);
    diff.text(&text);
    compare(repository, &old, &new, permitted, &mut diff)?;
    Ok(diff.finish())
}

/// How two trees differ, in the paths that `permitted` lets through.
pub(crate) fn tree_diff(
    repository: &Repository,
    old: &Listing,
    new: &Listing,
    permitted: impl Fn(&[u8]) -> bool,
    max: u32,
) -> Result<String, PortError> {
    let mut diff = Diff::new(max);
    compare(repository, old, new, permitted, &mut diff)?;
    Ok(diff.finish())
}

fn compare(
    repository: &Repository,
    old: &Listing,
    new: &Listing,
    permitted: impl Fn(&[u8]) -> bool,
    diff: &mut Diff,
) -> Result<(), PortError> {
    for (path, _) in differences(old, new).iter().filter(|(path, _)| permitted(path)) {
        if diff.is_full() {
            diff.skip();
            continue;
        }
        let (old, new) = (side_of(repository, old.get(path))?, side_of(repository, new.get(path))?);
        diff.file(path, old.as_ref(), new.as_ref())?;
    }
    Ok(())
}

/// One path of a tree, to be compared.
pub(crate) fn side_of(repository: &Repository, entry: Option<&Entry>) -> Result<Option<Side>, PortError> {
    let Some(entry) = entry else { return Ok(None) };
    if entry.mode == Mode::Submodule {
        return Ok(Some(Side { mode: entry.mode, content: Content::Commit(entry.id) }));
    }
    let odb = repository.odb().map_err(unreadable)?;
    let (size, kind) = odb.read_header(entry.id).map_err(unreadable)?;
    let content = if kind != ObjectType::Blob || size as u64 > COMPARED {
        Content::Large(size as u64)
    } else {
        Content::Bytes(odb.read(entry.id).map_err(unreadable)?.data().to_vec())
    };
    Ok(Some(Side { mode: entry.mode, content }))
}

/// Kinds of change by path, as a permit names them; two paths that read the
/// same share an entry.
#[derive(Debug, Default)]
pub(crate) struct PermittedPaths(BTreeMap<String, Vec<ChangeKind>>);

impl PermittedPaths {
    pub(crate) fn of_changes(changes: &[Change]) -> Self {
        let mut paths: BTreeMap<String, Vec<ChangeKind>> = BTreeMap::new();
        for change in changes {
            paths.entry(change.path.clone()).or_default().push(change.kind);
        }
        Self(paths)
    }

    pub(crate) fn of_paths(paths: &[String]) -> Self {
        Self(paths.iter().map(|path| (path.clone(), Vec::new())).collect())
    }

    /// The kinds of change permitted for a path; none if it is not named.
    pub(crate) fn kinds(&self, path: &[u8]) -> Option<&[ChangeKind]> {
        self.0.get(&lossy(path)).map(Vec::as_slice)
    }

    pub(crate) fn names(&self, path: &[u8]) -> bool {
        self.kinds(path).is_some()
    }
}
