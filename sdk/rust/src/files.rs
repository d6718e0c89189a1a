//! Files of the work tree, read and written by the host.
//!
//! Paths are relative to the root of the work tree. Needs the grant `files`.
//! Every call is one action that policies decide on.

use crate::bindings::host::sortie::host::files as wit;
use crate::{Error, Result, backend};

/// What the host's file interface speaks.
pub use wit::{Content, Etag, Found, IfMatch, Listing, Match, Query};

/// The most bytes that one read or write takes.
pub const MAX_BYTES: u32 = 8 << 20;

/// Reads at most `max` bytes (at most [`MAX_BYTES`]) from `offset`.
///
/// # Errors
/// [`NotFound`](crate::ErrorCode::NotFound), [`Denied`](crate::ErrorCode::Denied),
/// [`Invalid`](crate::ErrorCode::Invalid) for a path that leads out.
pub fn read(path: &str, offset: u64, max: u32) -> Result<Content> {
    Ok(backend::files::read(path, offset, max)?)
}

/// Reads a whole text file of at most 8 MiB.
///
/// # Errors
/// As [`read`]; [`TooLarge`](crate::ErrorCode::TooLarge), and
/// [`Invalid`](crate::ErrorCode::Invalid) if it is not UTF-8.
pub fn read_text(path: &str) -> Result<String> {
    read_text_with_etag(path).map(|(text, _)| text)
}

/// As [`read_text`], with the etag for a [`write()`] that must not overwrite
/// somebody else's change.
///
/// # Errors
/// As [`read_text`].
pub fn read_text_with_etag(path: &str) -> Result<(String, Etag)> {
    let content = read(path, 0, MAX_BYTES)?;
    if content.size > u64::from(MAX_BYTES) {
        let size = content.size;
        return Err(Error::too_large(format!("{path} has {size} bytes, more than {MAX_BYTES}")));
    }
    let text = String::from_utf8(content.data)
        .map_err(|_| Error::invalid(format!("{path} is not a text file (not UTF-8)")))?;
    Ok((text, content.etag))
}

/// Replaces a file, or creates it with the directories it lies in, in one step.
///
/// # Errors
/// [`Conflict`](crate::ErrorCode::Conflict) if `if_match` does not hold.
pub fn write(path: &str, data: impl AsRef<[u8]>, if_match: IfMatch) -> Result<Etag> {
    Ok(backend::files::write(path, data.as_ref(), &if_match)?)
}

/// Replaces `old` by `new`, which must occur exactly `count` times.
///
/// # Errors
/// [`Conflict`](crate::ErrorCode::Conflict) with the number of times it did occur.
pub fn edit(path: &str, old: &str, new: &str, count: u32) -> Result<Etag> {
    Ok(backend::files::edit(path, old, new, count)?)
}

/// Removes a file, or an empty directory.
///
/// # Errors
/// [`NotFound`](crate::ErrorCode::NotFound).
pub fn remove(path: &str) -> Result<()> {
    Ok(backend::files::remove(path)?)
}

/// At most `max` paths that match a glob, ignored files left out.
///
/// # Errors
/// [`Invalid`](crate::ErrorCode::Invalid) if the glob is malformed.
pub fn glob(pattern: &str, max: u32) -> Result<Listing> {
    Ok(backend::files::glob(pattern, max)?)
}

/// Searches file contents, ignored and binary files left out.
///
/// # Errors
/// [`Invalid`](crate::ErrorCode::Invalid) if the pattern or the glob is malformed.
pub fn search(query: &Query) -> Result<Found> {
    Ok(backend::files::search(query)?)
}
