//! What identifies the state of a file, and pieces of it.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use rustix::fs::Stat;
use sortie_core::digest::Digest;
use sortie_policy::ports::{ErrorCode, FileContent, PortError};

use super::MAX_FILE;
use super::path::WorkPath;

/// The etag of a file's bytes.
pub(super) fn of_bytes(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

/// The etag of a file that is too large to be read whole: it changes with
/// every write, and also when the same bytes are written again.
fn of_stat(stat: &Stat) -> String {
    let identity = format!(
        "{}:{}:{}:{}.{}:{}.{}",
        stat.st_dev,
        stat.st_ino,
        stat.st_size,
        stat.st_mtime,
        stat.st_mtime_nsec,
        stat.st_ctime,
        stat.st_ctime_nsec
    );
    format!("stat-{}", of_bytes(identity.as_bytes()))
}

/// A whole file of at most [`MAX_FILE`] bytes; none if it is larger.
pub(super) fn whole(file: &File, stat: &Stat, path: &WorkPath) -> Result<Option<Vec<u8>>, PortError> {
    let size = u64::try_from(stat.st_size).unwrap_or_default();
    if size > MAX_FILE {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    // a file can grow while it is read
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    Ok((bytes.len() as u64 <= MAX_FILE).then_some(bytes))
}

/// The etag of an open file.
pub(super) fn of_file(file: &File, stat: &Stat, path: &WorkPath) -> Result<String, PortError> {
    Ok(whole(file, stat, path)?.map_or_else(|| of_stat(stat), |bytes| of_bytes(&bytes)))
}

/// At most `max` bytes of an open file from `offset`.
pub(super) fn piece(
    (file, stat): (File, Stat),
    path: &WorkPath,
    offset: u64,
    max: u64,
) -> Result<FileContent, PortError> {
    if max > MAX_FILE {
        return Err(PortError::new(
            ErrorCode::TooLarge,
            format!("at most {MAX_FILE} bytes are read at once"),
        ));
    }
    let max = usize::try_from(max).expect("8 MiB fit");
    if let Some(bytes) = whole(&file, &stat, path)? {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let end = start.saturating_add(max).min(bytes.len());
        let etag = of_bytes(&bytes);
        return Ok(FileContent { data: bytes[start..end].to_vec(), size: bytes.len() as u64, etag });
    }
    let size = u64::try_from(stat.st_size).unwrap_or_default();
    let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut data = vec![0; max.min(left)];
    let mut filled = 0;
    while filled < data.len() {
        match file.read_at(&mut data[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(path, &error)),
        }
    }
    data.truncate(filled);
    Ok(FileContent { data, size, etag: of_stat(&stat) })
}

fn unreadable(path: &WorkPath, error: &std::io::Error) -> PortError {
    PortError::new(ErrorCode::Unavailable, format!("`{path}` cannot be read: {error}"))
}
