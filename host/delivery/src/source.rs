//! What `--repo` names, and where the branch goes.

mod address;
mod local;

use std::fmt;
use std::path::{Path, PathBuf};

pub(crate) use address::Address;
#[cfg(test)]
pub(crate) use address::Credentials;
pub(crate) use local::{LocalRepository, patiently};
use sortie_core::text::one_line;

/// A repository to work on: a URL, or a folder of this machine.
///
/// Its `Display` and `Debug` show it without credentials.
#[derive(Clone)]
pub struct Source {
    fetch: Address,
    /// Apart from `fetch` only where the repository is a local one with an `origin`.
    push: Result<Address, SourceError>,
    local: Option<LocalRepository>,
}

/// Why a text names no repository that can be worked on. Messages never hold
/// credentials.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SourceError {
    /// It is neither a URL that is understood nor a path.
    #[error("`{text}` is no repository: {reason}")]
    Malformed {
        /// The text, without credentials.
        text: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// There is nothing there.
    #[error("there is no git repository at `{path}`: {reason}")]
    NotFound {
        /// The path.
        path: String,
        /// What is missing.
        reason: String,
    },
    /// It is there, but reading it would bring in files from elsewhere.
    #[error("the repository at `{path}` cannot be used: {reason}")]
    Unsafe {
        /// The path.
        path: String,
        /// Why, and what would help.
        reason: String,
    },
}

impl SourceError {
    fn malformed(text: &str, reason: &str) -> Self {
        Self::Malformed { text: one_line(text, 200), reason: reason.into() }
    }

    fn not_found(path: &Path, reason: impl Into<String>) -> Self {
        Self::NotFound { path: one_line(&path.to_string_lossy(), 200), reason: reason.into() }
    }

    fn unusable(path: &Path, reason: impl Into<String>) -> Self {
        Self::Unsafe { path: one_line(&path.to_string_lossy(), 200), reason: reason.into() }
    }
}

impl Source {
    /// Reads what a user gave as `--repo`:
    ///
    /// - `https://`, `ssh://` and `user@host:path`: fetched from and pushed to.
    /// - `file://`: that repository itself, fetched from and pushed to.
    /// - a path, from `cwd`: the repository around it, or the bare one there.
    ///   The base is its HEAD, the branch goes to its `origin`, else into it.
    ///
    /// Reads the local repository's layout and config; runs nothing in it.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn parse(text: &str, cwd: &Path) -> Result<Self, SourceError> {
        if let Some(address) = Address::parse_url(text)? {
            return Ok(match address {
                address::Parsed::Remote(address) => {
                    Self { push: Ok(address.clone()), fetch: address, local: None }
                }
                address::Parsed::File(path) => Self::file(&path)?,
            });
        }
        if text.starts_with('-') {
            return Err(SourceError::malformed(text, "it looks like an option; a path is given as `./-…`"));
        }
        let local = LocalRepository::around(&cwd.join(text))?;
        let fetch = Address::Local(local.git_dir.clone());
        let push = local.origin.clone().unwrap_or_else(|| Ok(Address::Local(local.common.clone())));
        Ok(Self { fetch, push, local: Some(local) })
    }

    fn file(path: &Path) -> Result<Self, SourceError> {
        let address = Address::Local(LocalRepository::at(path)?.git_dir);
        Ok(Self { push: Ok(address.clone()), fetch: address, local: None })
    }

    /// The repository without credentials: as actions and the journal name it.
    pub fn masked(&self) -> String {
        self.local.as_ref().map_or_else(|| self.fetch.masked(), |local| local.root.display().to_string())
    }

    /// Where the branch will be pushed to, without credentials.
    ///
    /// # Errors
    /// If it is a local repository whose `origin` cannot be pushed to.
    pub fn delivery(&self) -> Result<String, SourceError> {
        self.push.as_ref().map(Address::masked).map_err(Clone::clone)
    }

    /// Root of the work tree, if the source is a local repository that has one.
    pub fn work_tree(&self) -> Option<&Path> {
        self.local.as_ref().filter(|local| !local.bare).map(|local| local.root.as_path())
    }

    /// Paths with uncommitted changes in a local repository's work tree, at
    /// most `max`: they are no part of the task, and the user should know.
    /// Reads the work tree without running filters or hooks.
    pub fn uncommitted(&self, max: usize) -> Vec<PathBuf> {
        self.local.as_ref().map(|local| local.uncommitted(max)).unwrap_or_default()
    }

    pub(crate) fn fetch_address(&self) -> &Address {
        &self.fetch
    }

    pub(crate) fn push_address(&self) -> Result<&Address, SourceError> {
        self.push.as_ref().map_err(Clone::clone)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.masked())
    }
}
