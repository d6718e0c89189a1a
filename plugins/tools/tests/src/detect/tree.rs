//! The work tree, as detection sees it.

use sortie_sdk::{ErrorCode, Result, files};

/// The most of a file that is looked at, in bytes.
const MAX_BYTES: u32 = 256 << 10;

/// Folders that hold other people's code, or what a build made.
const FOREIGN: [&str; 15] = [
    ".git",
    ".hg",
    ".venv",
    "venv",
    "env",
    ".tox",
    ".nox",
    ".eggs",
    "node_modules",
    "site-packages",
    "target",
    "build",
    "dist",
    "vendor",
    "third_party",
];

/// The beginning of a file; none if it is not there or not for us to read.
pub(super) fn read(path: &str) -> Result<Option<String>> {
    match files::read(path, 0, MAX_BYTES) {
        Ok(content) => Ok(Some(String::from_utf8_lossy(&content.data).into_owned())),
        // `Invalid` is what a link that leads out of the work tree gives.
        Err(error) if matches!(error.code, ErrorCode::NotFound | ErrorCode::Denied | ErrorCode::Invalid) => {
            Ok(None)
        }
        Err(error) => Err(error.context(format_args!("reading {path} for how its tests run"))),
    }
}

/// Whether a file can be read.
pub(super) fn exists(path: &str) -> Result<bool> {
    Ok(read(path)?.is_some())
}

/// Files that match a glob, without those of other people; about `max` of them.
pub(super) fn glob(pattern: &str, max: usize) -> Result<Vec<String>> {
    // The host counts the files of others too, so more are asked for.
    let listing = match files::glob(pattern, 10_000) {
        Ok(listing) => listing,
        Err(error) if error.code == ErrorCode::Denied => return Ok(Vec::new()),
        Err(error) => return Err(error.context(format_args!("listing {pattern}"))),
    };
    let own = |path: &String| !path.ends_with('/') && !path.split('/').any(|part| FOREIGN.contains(&part));
    Ok(listing.paths.into_iter().filter(own).take(max).collect())
}

/// The folder that a path lies in; empty for the root.
pub(super) fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The last part of a path.
pub(super) fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
