//! Content of files as Git's blobs.

use std::fs::File;
use std::io::{Read, Write};

use git2::{ObjectType, Odb, Oid};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use sha1::{Digest, Sha1};
use sortie_policy::ports::{ErrorCode, PortError};

use crate::folder::{Folder, kind};
use crate::names::shown;
use crate::tree::{Entry, Mode, unwritable};

/// Bytes of the largest file that is taken or checked out.
pub(crate) const LARGEST: u64 = 1 << 30;

/// How often a file that changes under the reader is read again.
const ATTEMPTS: usize = 3;

/// Why a file could not be read whole.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The system's reason.
    System(Errno),
    /// It is larger than what was asked for, or than [`LARGEST`].
    TooLarge(u64),
    /// It changed while it was read, each time.
    Unsteady,
    /// The host's repository could not take it.
    Repository(git2::Error),
}

impl From<Errno> for Unread {
    fn from(error: Errno) -> Self {
        Self::System(error)
    }
}

impl Unread {
    /// The error for a path that has to be read.
    pub(crate) fn about(self, path: &[u8]) -> PortError {
        let path = shown(path);
        match self {
            Self::System(error) => {
                let message = format!("`{path}` changed or went away while it was read: {error}");
                PortError::new(ErrorCode::Conflict, message)
            }
            Self::Unsteady => {
                PortError::new(ErrorCode::Conflict, format!("`{path}` keeps changing while it is read"))
            }
            Self::TooLarge(size) => PortError::new(ErrorCode::TooLarge, too_large(&path, size)),
            Self::Repository(error) => unwritable(error),
        }
    }
}

pub(crate) fn too_large(path: &str, size: u64) -> String {
    format!("`{path}` has {size} bytes; files of more than {} MiB are left to Git LFS", LARGEST >> 20)
}

/// The mode that a regular file or a link has in a tree; none for others.
pub(crate) fn mode_of(stat: &Stat) -> Option<Mode> {
    match kind(stat) {
        FileType::RegularFile if stat.st_mode & 0o100 != 0 => Some(Mode::Executable),
        FileType::RegularFile => Some(Mode::File),
        FileType::Symlink => Some(Mode::Link),
        _ => None,
    }
}

/// The entry that a path would be committed as. The file's stat is from before
/// its first byte was read.
pub(crate) fn identify(folder: &Folder, name: &[u8], mode: Mode) -> Result<(Entry, Option<Stat>), Unread> {
    if mode == Mode::Link {
        let id = Oid::hash_object(ObjectType::Blob, &folder.link(name)?).map_err(Unread::Repository)?;
        return Ok((Entry { mode, id }, None));
    }
    steadily(folder, name, LARGEST, |file, stat| {
        let mut hasher = Sha1::new();
        hasher.update(format!("blob {}\0", stat.st_size));
        copy(file, size(stat), |bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        let id = Oid::from_bytes(&hasher.finalize()).map_err(Unread::Repository)?;
        Ok((Entry { mode: mode_of(stat).unwrap_or(mode), id }, Some(*stat)))
    })
}

/// Writes what lies at a path now into the host's repository, if it has at
/// most `max` bytes; gives them back, too.
pub(crate) fn store(odb: &Odb<'_>, folder: &Folder, name: &[u8], max: u64) -> Result<(Entry, u64), Unread> {
    let mode = mode_of(&folder.stat(name)?).ok_or(Errno::INVAL)?;
    if mode == Mode::Link {
        let target = folder.link(name)?;
        let id = odb.write(ObjectType::Blob, &target).map_err(Unread::Repository)?;
        return Ok((Entry { mode, id }, target.len() as u64));
    }
    steadily(folder, name, max, |file, stat| {
        let length = usize::try_from(stat.st_size).map_err(|_| Unread::TooLarge(size(stat)))?;
        let mut writer = odb.writer(length, ObjectType::Blob).map_err(Unread::Repository)?;
        copy(file, size(stat), |bytes| {
            writer
                .write_all(bytes)
                .map_err(|error| Unread::Repository(git2::Error::from_str(&error.to_string())))
        })?;
        let id = writer.finalize().map_err(Unread::Repository)?;
        Ok((Entry { mode: mode_of(stat).unwrap_or(mode), id }, size(stat)))
    })
}

/// Reads what lies at a path whole; `TooLarge` beyond `max` bytes.
pub(crate) fn read(folder: &Folder, name: &[u8], max: u64) -> Result<Vec<u8>, Unread> {
    if kind(&folder.stat(name)?) == FileType::Symlink {
        return Ok(folder.link(name)?);
    }
    steadily(folder, name, max, |file, stat| {
        let mut bytes = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or_default());
        copy(file, size(stat), |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    })
}

fn size(stat: &Stat) -> u64 {
    stat.st_size.cast_unsigned()
}

/// Opens a file of at most `max` bytes and reads it, again if its length is
/// not what its stat said.
fn steadily<T>(
    folder: &Folder,
    name: &[u8],
    max: u64,
    mut read: impl FnMut(&mut File, &Stat) -> Result<T, Unread>,
) -> Result<T, Unread> {
    for _ in 0..ATTEMPTS {
        let (mut file, stat) = folder.file(name)?;
        if size(&stat) > max.min(LARGEST) {
            return Err(Unread::TooLarge(size(&stat)));
        }
        match read(&mut file, &stat) {
            Err(Unread::Unsteady) => {}
            done => return done,
        }
    }
    Err(Unread::Unsteady)
}

/// Hands exactly `length` bytes over; `Unsteady` if there are fewer or more.
fn copy(
    file: &mut File,
    length: u64,
    mut take: impl FnMut(&[u8]) -> Result<(), Unread>,
) -> Result<(), Unread> {
    let mut buffer = vec![0; usize::try_from(length.clamp(1, 256 << 10)).unwrap_or(1 << 16)];
    let mut left = length;
    loop {
        let count = match file.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Unread::System(Errno::from_io_error(&error).unwrap_or(Errno::IO))),
        };
        match (count as u64, left) {
            (0, 0) => return Ok(()),
            (0, _) => return Err(Unread::Unsteady),
            (count, left) if count > left => return Err(Unread::Unsteady),
            _ => {}
        }
        take(&buffer[..count])?;
        left -= count as u64;
    }
}
