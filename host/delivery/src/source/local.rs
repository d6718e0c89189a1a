//! Repositories of this machine.
//!
//! A folder may have come from anywhere, its `.git` included, so what Git
//! would follow is checked first: a `.git` that leads to another repository,
//! borrowed objects (alternates), links among the objects, objects that are
//! fetched when they are asked for (which can run a program). Git's own check
//! of the owner (`safe.directory`) stays in force.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::{Address, SourceError};

/// How long libgit2 is waited for in a repository that anybody may have made.
const PATIENCE: Duration = Duration::from_secs(10);

/// A repository of this machine.
#[derive(Clone, Debug)]
pub(crate) struct LocalRepository {
    /// Root of the work tree; the repository itself if it is bare.
    pub(crate) root: PathBuf,
    /// What Git is given: `.git`, a linked work tree's folder in it, or the bare repository.
    pub(crate) git_dir: PathBuf,
    /// The folder with objects and references: the same, except for a linked work tree.
    pub(crate) common: PathBuf,
    pub(crate) bare: bool,
    /// Where its `origin` is, if it has one.
    pub(crate) origin: Option<Result<Address, SourceError>>,
}

impl LocalRepository {
    /// The repository around a folder, or the bare one that the folder is.
    /// A bare repository is not looked for upwards: one may lie in a work tree
    /// as content.
    pub(crate) fn around(path: &Path) -> Result<Self, SourceError> {
        let start = canonical(path)?;
        if looks_like_git_dir(&start) {
            return Self::open(&start, &start, true);
        }
        for folder in start.ancestors() {
            let dot_git = folder.join(".git");
            if fs::symlink_metadata(&dot_git).is_ok() {
                return Self::open(folder, &git_dir_of(folder, &dot_git)?, false);
            }
        }
        Err(SourceError::not_found(
            &start,
            "neither this folder nor one above it has a `.git`; hint: name one with `--repo`",
        ))
    }

    /// The repository that a folder is the root of.
    pub(crate) fn at(path: &Path) -> Result<Self, SourceError> {
        let root = canonical(path)?;
        let dot_git = root.join(".git");
        if fs::symlink_metadata(&dot_git).is_ok() {
            return Self::open(&root, &git_dir_of(&root, &dot_git)?, false);
        }
        if looks_like_git_dir(&root) {
            return Self::open(&root, &root, true);
        }
        Err(SourceError::not_found(&root, "the folder is no repository"))
    }

    /// The git folder of a repository that is only pushed to. Where its
    /// objects come from does not matter for that.
    pub(crate) fn destination(path: &Path) -> Result<PathBuf, SourceError> {
        let root = canonical(path)?;
        let dot_git = root.join(".git");
        let git_dir =
            if fs::symlink_metadata(&dot_git).is_ok() { git_dir_of(&root, &dot_git)? } else { root };
        if !looks_like_git_dir(&git_dir) || git_dir.join(".git").exists() {
            return Err(SourceError::not_found(&git_dir, "the folder is no repository"));
        }
        Ok(git_dir)
    }

    fn open(root: &Path, git_dir: &Path, bare: bool) -> Result<Self, SourceError> {
        let common = common_dir(git_dir)?;
        check_layout(git_dir, &common)?;
        let config = read_config(&common, "config")?;
        check_config(root, &config)?;
        check_config(root, &read_config(git_dir, "config.worktree")?)?;
        let url = ["remote.origin.pushurl", "remote.origin.url"].iter().find_map(|key| value(&config, key));
        let origin = url.map(|url| Address::parse_origin(url, root));
        Ok(Self { root: root.to_owned(), git_dir: git_dir.to_owned(), common, bare, origin })
    }

    /// See [`super::Source::uncommitted`]. libgit2 runs no filters, hooks or
    /// monitors, which `git status` would.
    pub(crate) fn uncommitted(&self, max: usize) -> Vec<PathBuf> {
        if self.bare {
            return Vec::new();
        }
        let root = self.root.clone();
        patiently(move || uncommitted(&root, max)).flatten().unwrap_or_default()
    }
}

/// Does something with a repository of somebody else's, and gives up on it
/// after ten seconds: libgit2 opens what it finds, also what the config
/// includes, and waits for whoever writes to a fifo. It then waits alone.
pub(crate) fn patiently<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(work()));
    told.recv_timeout(PATIENCE).ok()
}

fn uncommitted(root: &Path, max: usize) -> Option<Vec<PathBuf>> {
    use std::os::unix::ffi::OsStrExt;
    let mut options = git2::StatusOptions::new();
    options.include_untracked(true).exclude_submodules(true).no_refresh(true);
    let flags = git2::RepositoryOpenFlags::NO_SEARCH;
    let repository = git2::Repository::open_ext(root, flags, [] as [&Path; 0]).ok()?;
    let statuses = repository.statuses(Some(&mut options)).ok()?;
    let path = |entry: git2::StatusEntry<'_>| PathBuf::from(std::ffi::OsStr::from_bytes(entry.path_bytes()));
    Some(statuses.iter().take(max).map(path).collect())
}

fn canonical(path: &Path) -> Result<PathBuf, SourceError> {
    let found = fs::canonicalize(path).map_err(|error| SourceError::not_found(path, error.to_string()))?;
    if !found.is_dir() {
        return Err(SourceError::not_found(&found, "it is no folder"));
    }
    if found.to_string_lossy().chars().any(char::is_control) {
        return Err(SourceError::unusable(&found, "its path has control characters"));
    }
    Ok(found)
}

fn looks_like_git_dir(path: &Path) -> bool {
    path.join("HEAD").symlink_metadata().is_ok()
        && path.join("objects").is_dir()
        && path.join("refs").is_dir()
}

/// What `.git` in a work tree stands for: a folder, or a file that leads to
/// one. The latter must be led back from: else any folder could claim to be
/// the work tree of any repository.
fn git_dir_of(root: &Path, dot_git: &Path) -> Result<PathBuf, SourceError> {
    let kind = kind_of(dot_git)?;
    if kind.is_dir() {
        return Ok(dot_git.to_owned());
    }
    if !kind.is_file() {
        return Err(SourceError::unusable(
            root,
            "its `.git` is a link; hint: name the repository it leads to",
        ));
    }
    let text = read_small(dot_git)?;
    let target = text.strip_prefix("gitdir:").map(str::trim).unwrap_or_default();
    let git_dir = canonical(&root.join(target))?;
    let worktree = git_dir.join("gitdir").is_file()
        && canonical_text(&git_dir, &read_small(&git_dir.join("gitdir"))?) == Some(dot_git.to_owned());
    let submodule = git_dir.join("config").is_file()
        && value(&read_config(&git_dir, "config")?, "core.worktree")
            .is_some_and(|tree| canonical_text(&git_dir, tree) == Some(root.to_owned()));
    if worktree || submodule {
        return Ok(git_dir);
    }
    let reason = format!("its `.git` leads to {}, which does not lead back", git_dir.display());
    Err(SourceError::unusable(root, reason))
}

fn canonical_text(base: &Path, text: &str) -> Option<PathBuf> {
    fs::canonicalize(base.join(text.trim())).ok()
}

/// The folder with the objects: the git folder itself, except for a linked
/// work tree's, which lies in `<common>/worktrees/`.
fn common_dir(git_dir: &Path) -> Result<PathBuf, SourceError> {
    let file = git_dir.join("commondir");
    if fs::symlink_metadata(&file).is_err() {
        return Ok(git_dir.to_owned());
    }
    let common = canonical_text(git_dir, &read_small(&file)?);
    let expected = git_dir.parent().filter(|parent| parent.ends_with("worktrees")).and_then(Path::parent);
    match (common, expected) {
        (Some(common), Some(expected)) if common == expected => Ok(common),
        _ => Err(SourceError::unusable(git_dir, "its `commondir` leads to another repository")),
    }
}

fn check_layout(git_dir: &Path, common: &Path) -> Result<(), SourceError> {
    let unusable = |reason: &str| Err(SourceError::unusable(git_dir, reason));
    if !looks_like_git_dir(common) || git_dir.join("HEAD").symlink_metadata().is_err() {
        return Err(SourceError::not_found(git_dir, "the repository is incomplete"));
    }
    // Git looks into these first when it is given a folder
    if fs::symlink_metadata(git_dir.join(".git")).is_ok() || fs::symlink_metadata(common.join(".git")).is_ok()
    {
        return unusable("there is a `.git` within it");
    }
    if fs::symlink_metadata(common.join("objects/info/alternates")).is_ok() {
        return unusable(
            "it borrows objects from another one (`objects/info/alternates`); hint: `git repack -a -d`, then remove that file",
        );
    }
    for folder in ["refs", "objects", "objects/info", "objects/pack"] {
        if let Ok(kind) = fs::symlink_metadata(common.join(folder))
            && !kind.is_dir()
        {
            return unusable(&format!("its `{folder}` is a link"));
        }
    }
    let objects = common.join("objects");
    let within = entries(&objects).filter(|(_, kind)| kind.is_dir()).map(|(path, _)| path);
    for folder in within.chain([objects.clone()]) {
        if entries(&folder).any(|(_, kind)| kind.is_symlink()) {
            return unusable("there are links in its `objects`");
        }
        // Git would wait for whoever writes to a fifo
        if entries(&folder).any(|(_, kind)| !kind.is_file() && !kind.is_dir()) {
            return unusable("something in its `objects` is neither file nor folder");
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> impl Iterator<Item = (PathBuf, fs::FileType)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), entry.file_type().ok()?)))
}

fn check_config(root: &Path, config: &Config) -> Result<(), SourceError> {
    let partial = |key: &str| {
        key == "extensions.partialclone" || key.starts_with("remote.") && key.ends_with(".promisor")
    };
    if config.iter().any(|(key, _)| partial(key)) {
        return Err(SourceError::unusable(
            root,
            "it is a partial clone; hint: name the URL that it was cloned from",
        ));
    }
    if value(config, "extensions.objectformat").is_some_and(|format| !format.eq_ignore_ascii_case("sha1")) {
        return Err(SourceError::unusable(root, "its objects are not named by SHA-1"));
    }
    Ok(())
}

/// Keys (section and variable in lower case) and values, in order.
type Config = Vec<(String, String)>;

/// The last value of a key.
fn value<'a>(config: &'a Config, key: &str) -> Option<&'a str> {
    config.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

/// Reads the one file, without the files that it includes.
fn read_config(git_dir: &Path, name: &str) -> Result<Config, SourceError> {
    let file = git_dir.join(name);
    if fs::symlink_metadata(&file).is_err() {
        return Ok(Config::new());
    }
    read_small(&file)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "asks git about the repository that the user named; reads only"
    )]
    let output = Command::new("git")
        .args(["config", "--null", "--list", "--no-includes", "--file"])
        .arg(&file)
        // so that the repository itself is not set up, whose config that would read in full
        .current_dir("/")
        .env_remove("GIT_DIR")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            SourceError::unusable(git_dir, format!("the `git` command does not start: {error}"))
        })?;
    if !output.status.success() {
        let first = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned();
        return Err(SourceError::unusable(git_dir, sortie_core::text::one_line(&first, 200)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let pair = |entry: &str| {
        // a key without `=` has no line of its own for the value, and means true
        let (key, value) = entry.split_once('\n').unwrap_or((entry, "true"));
        (key.to_owned(), value.to_owned())
    };
    Ok(text.split('\0').filter(|entry| !entry.is_empty()).map(pair).collect())
}

/// A regular file of at most 1 MiB: nothing that blocks, nothing elsewhere.
fn read_small(path: &Path) -> Result<String, SourceError> {
    let kind = kind_of(path)?;
    if !kind.is_file() || kind.len() > 1 << 20 {
        return Err(SourceError::unusable(path, "it is no regular file of a sensible size"));
    }
    let bytes = fs::read(path).map_err(|error| SourceError::unusable(path, error.to_string()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn kind_of(path: &Path) -> Result<Metadata, SourceError> {
    fs::symlink_metadata(path).map_err(|error| SourceError::not_found(path, error.to_string()))
}
