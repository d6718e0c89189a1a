//! From an archive to files.
//!
//! An archive may come from anywhere. It is read entry by entry, as the format's raw blocks: long names are bounded
//! before they are read. Only folders, files and symbolic links are made, below one folder that was empty, each in
//! the descriptor of its parent, which is reached one name at a time without following links. So an archive that
//! makes a link and then writes through it finds a name that is no folder. Modes lose set-user-id and the like, and
//! owners in the archive count for nothing. Whatever else is in there ends it, and what was made is removed.

#![expect(clippy::disallowed_methods, reason = "makes the folder that an archive is unpacked into")]

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chownat, fchmod, fchown, futimens,
    mkdirat, openat, symlinkat,
};
use rustix::io::Errno;
use sortie_core::text::one_line;
use tar::{Archive, Entry, EntryType};

use super::manifest::{FORMAT, Manifest};
use super::pack::{BLOBS, DIFF, JOURNAL, MANIFEST, PATH_MAX, WORKSPACE, is_digest};
use super::{ArchiveError, failed};
use crate::remove::remove_tree;

/// Names in a path.
const DEPTH_MAX: usize = 256;
/// Bytes of a manifest.
const MANIFEST_MAX: u64 = 8 << 20;
/// Bytes that may follow the last entry: tar fills up with zeros.
const REST_MAX: u64 = 64 << 10;
/// Memory that a frame may ask for, as a power of two; what the encoder uses is far below.
const WINDOW_LOG_MAX: u32 = 27;

/// What to unpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Everything, as it lies in the archive.
    All,
    /// What is in `workspace/`, without that name.
    Workspace,
}

/// What an archive may unpack to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Bytes of all files together, of those too that are passed over.
    pub bytes: u64,
    /// Entries; a long name, or a long target, is one of its own.
    pub entries: u64,
}

impl Default for UnpackLimits {
    /// 64 GiB in 7,000,000 entries: three for each of the 2,000,000 names of the largest archive that is written.
    fn default() -> Self {
        Self { bytes: 64 << 30, entries: 7_000_000 }
    }
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Files.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// Why it does not go on.
#[derive(Debug)]
pub(super) enum Trouble {
    Io(io::Error),
    Hostile(String),
}

impl Trouble {
    pub(super) fn at(self, action: &'static str, path: &Path) -> ArchiveError {
        match self {
            Self::Io(error) => failed(action, path)(error),
            Self::Hostile(reason) => ArchiveError::Hostile { path: path.display().to_string(), reason },
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

type Unzipped = zstd::stream::read::Decoder<'static, BufReader<File>>;

fn open(file: File) -> io::Result<Archive<Unzipped>> {
    let mut unzipped = zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(256 << 10, file))?;
    unzipped.window_log_max(WINDOW_LOG_MAX)?;
    Ok(Archive::new(unzipped))
}

/// The first entry.
pub(super) fn manifest(file: File) -> Result<Manifest, Trouble> {
    let mut archive = open(file)?;
    let first = archive.entries()?.raw(true).next();
    let first = first.ok_or_else(|| Trouble::Hostile("it is empty".into()))??;
    read_manifest(first)
}

fn read_manifest(mut entry: Entry<'_, Unzipped>) -> Result<Manifest, Trouble> {
    let is_first =
        &*entry.path_bytes() == MANIFEST.as_bytes() && entry.header().entry_type() == EntryType::Regular;
    if !is_first || entry.size() > MANIFEST_MAX {
        return Err(Trouble::Hostile("it does not begin with a manifest".into()));
    }
    let mut text = Vec::new();
    entry.read_to_end(&mut text)?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| Trouble::Hostile(format!("its manifest does not parse: {error}")))?;
    if manifest.format != FORMAT {
        let found = manifest.format;
        return Err(Trouble::Hostile(format!(
            "it has format {found}, this program knows {FORMAT}: use a newer one"
        )));
    }
    Ok(manifest)
}

/// Unpacks into `to`.
pub(super) fn unpack(
    file: File,
    what: What,
    to: &Path,
    owner: Option<(u32, u32)>,
    limits: UnpackLimits,
) -> Result<Restored, Trouble> {
    let made = make_empty(to)?;
    let unpacked = Unpacking::new(what, to, owner, limits).and_then(|mut unpacking| {
        unpacking.all(file)?;
        unpacking.finish()
    });
    if unpacked.is_err() {
        // half of it is none
        clear(to, made);
    }
    unpacked
}

/// Whether the folder was made, or was there and empty.
fn make_empty(to: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(0o700).create(to) {
        Ok(()) => return Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io::Error::new(error.kind(), format!("`{}`: {error}", to.display()))),
    }
    let kind = fs::symlink_metadata(to)?.file_type();
    if !kind.is_dir() || fs::read_dir(to)?.next().is_some() {
        let message = format!("`{}` is there and no empty folder; name another", to.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    Ok(false)
}

fn clear(to: &Path, made: bool) {
    if made {
        drop(remove_tree(to));
        return;
    }
    for entry in fs::read_dir(to).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        drop(if is_folder { remove_tree(&path) } else { fs::remove_file(path) });
    }
}

struct Unpacking {
    what: What,
    root: OwnedFd,
    owner: Option<(Uid, Gid)>,
    limits: UnpackLimits,
    entries: u64,
    /// Bytes of files so far, those that are passed over among them.
    bytes: u64,
    /// The folders around the last entry. Their modes and times come when they are left: a read-only one could not
    /// be filled.
    folders: Vec<(PathBuf, Mode, i64)>,
    /// A name for the next entry, and a target.
    long: (Option<Vec<u8>>, Option<Vec<u8>>),
    restored: Restored,
}

impl Unpacking {
    fn new(what: What, to: &Path, owner: Option<(u32, u32)>, limits: UnpackLimits) -> Result<Self, Trouble> {
        let root = rustix::fs::open(to, FOLDER, Mode::empty())?;
        let owner = owner.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid)));
        Ok(Self {
            what,
            root,
            owner,
            limits,
            entries: 0,
            bytes: 0,
            folders: Vec::new(),
            long: (None, None),
            restored: Restored::default(),
        })
    }

    fn all(&mut self, file: File) -> Result<(), Trouble> {
        let mut archive = open(file)?;
        for (number, entry) in archive.entries()?.raw(true).enumerate() {
            let mut entry = entry?;
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(Trouble::Hostile(format!("it holds more than {} entries", self.limits.entries)));
            }
            if number == 0 {
                self.manifest(entry)?;
            } else {
                self.entry(&mut entry)?;
            }
        }
        if self.entries == 0 || self.long != (None, None) {
            return Err(Trouble::Hostile("it is cut off".into()));
        }
        // the checksum stands at the very end
        let rest = io::copy(&mut archive.into_inner().take(REST_MAX), &mut io::sink())?;
        if rest == REST_MAX {
            return Err(Trouble::Hostile("it goes on after its end".into()));
        }
        Ok(())
    }

    /// Read, checked and written again: it may be no larger than what a manifest needs.
    fn manifest(&mut self, entry: Entry<'_, Unzipped>) -> Result<(), Trouble> {
        let manifest = read_manifest(entry)?;
        if self.what == What::All {
            let text = serde_json::to_vec_pretty(&manifest).map_err(io::Error::other)?;
            self.file(Path::new(MANIFEST), &mut text.as_slice(), text.len() as u64, 0o600, None)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &mut Entry<'_, Unzipped>) -> Result<(), Trouble> {
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName => {
                self.long.0 = Some(long(entry)?);
                return Ok(());
            }
            EntryType::GNULongLink => {
                self.long.1 = Some(long(entry)?);
                return Ok(());
            }
            _ => {}
        }
        let name = self.long.0.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let target = self.long.1.take();
        let path = checked(&name)?;
        // Named before anything else of the entry is looked at, so that it can be told.
        let hostile = |reason: &str| Trouble::Hostile(format!("`{}` {reason}", shown(&path)));
        if !belongs(&path, kind) {
            return Err(hostile("is nothing that an archive holds"));
        }
        let mode = entry.header().mode()? & 0o777;
        let modified = i64::try_from(entry.header().mtime()?).unwrap_or(0);
        let size = entry.size();
        if kind != EntryType::Regular && size > 0 {
            return Err(hostile("has content that it cannot have"));
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.bytes {
            return Err(Trouble::Hostile(format!("it holds more than {} bytes", self.limits.bytes)));
        }
        let Some(inside) = self.inside(&path) else { return Ok(()) };
        self.leave(Some(&inside))?;
        let made = match kind {
            EntryType::Directory => self.folder(&inside, mode, modified),
            EntryType::Regular => self.file(&inside, entry, size, mode, Some(modified)),
            EntryType::Symlink => {
                let target = target.or_else(|| entry.link_name_bytes().map(std::borrow::Cow::into_owned));
                self.link(&inside, &target.unwrap_or_default())
            }
            _ => return Err(hostile("is no folder, file or link")),
        };
        made.map_err(|trouble| match trouble {
            Trouble::Io(error) if error.kind() == io::ErrorKind::AlreadyExists => hostile("occurs twice"),
            Trouble::Io(error)
                if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR | libc::ENOENT)) =>
            {
                hostile("lies in something that is no folder")
            }
            trouble => trouble,
        })
    }

    /// The path below `to`; none for what is not unpacked.
    fn inside(&self, path: &Path) -> Option<PathBuf> {
        match self.what {
            What::All => Some(path.to_owned()),
            What::Workspace => {
                let inside = path.strip_prefix(WORKSPACE).ok()?;
                (!inside.as_os_str().is_empty()).then(|| inside.to_owned())
            }
        }
    }

    /// The folder that a path lies in. No name on the way is followed if it is a link.
    fn parent(&self, path: &Path) -> Result<OwnedFd, Trouble> {
        let mut folder = self.root.try_clone()?;
        for name in path.parent().into_iter().flat_map(Path::iter) {
            folder = openat(&folder, name, FOLDER, Mode::empty())?;
        }
        Ok(folder)
    }

    fn folder(&mut self, path: &Path, mode: u32, modified: i64) -> Result<(), Trouble> {
        mkdirat(self.parent(path)?, name_of(path)?, Mode::from_raw_mode(0o700))?;
        self.folders.push((path.to_owned(), Mode::from_raw_mode(mode), modified));
        self.restored.folders += 1;
        Ok(())
    }

    fn file(
        &mut self,
        path: &Path,
        content: &mut dyn Read,
        size: u64,
        mode: u32,
        modified: Option<i64>,
    ) -> Result<(), Trouble> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(self.parent(path)?, name_of(path)?, flags, Mode::from_raw_mode(0o600))?;
        let mut file = File::from(file);
        if io::copy(&mut content.take(size), &mut file)? != size {
            return Err(Trouble::Hostile("it is cut off".into()));
        }
        self.settle(file.as_fd(), Mode::from_raw_mode(mode), modified)?;
        self.restored.bytes += size;
        self.restored.files += 1;
        Ok(())
    }

    fn link(&mut self, path: &Path, target: &[u8]) -> Result<(), Trouble> {
        if target.is_empty() || target.len() > PATH_MAX || target.contains(&0) {
            return Err(Trouble::Hostile(format!("`{}` leads nowhere", shown(path))));
        }
        let (parent, name) = (self.parent(path)?, name_of(path)?);
        symlinkat(target, &parent, name)?;
        if let Some((uid, gid)) = self.owner {
            chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        self.restored.links += 1;
        Ok(())
    }

    /// Finishes the folders that the next entry is not in; all of them if there is none. The inner ones before the
    /// outer: one that is closed could not be entered any more.
    fn leave(&mut self, next: Option<&Path>) -> Result<(), Trouble> {
        let is_left =
            |(folder, ..): &mut (PathBuf, Mode, i64)| next.is_none_or(|path| !path.starts_with(folder));
        while let Some((path, mode, modified)) = self.folders.pop_if(is_left) {
            let folder = openat(self.parent(&path)?, name_of(&path)?, FOLDER, Mode::empty())?;
            self.settle(folder.as_fd(), mode, Some(modified))?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Restored, Trouble> {
        self.leave(None)?;
        if let Some((uid, gid)) = self.owner {
            fchown(&self.root, Some(uid), Some(gid))?;
        }
        Ok(self.restored)
    }

    fn settle(&self, made: BorrowedFd<'_>, mode: Mode, modified: Option<i64>) -> Result<(), Trouble> {
        if let Some((uid, gid)) = self.owner {
            fchown(made, Some(uid), Some(gid))?;
        }
        // after the owner, whose change would take bits away
        fchmod(made, mode)?;
        if let Some(seconds) = modified {
            let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
            let last_modification = Timespec { tv_sec: seconds, tv_nsec: 0 };
            futimens(made, &Timestamps { last_access, last_modification })?;
        }
        Ok(())
    }
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The long name that the next entry has.
fn long(entry: &mut Entry<'_, Unzipped>) -> Result<Vec<u8>, Trouble> {
    if entry.size() > PATH_MAX as u64 + 1 {
        return Err(Trouble::Hostile(format!("a path is longer than {PATH_MAX} bytes")));
    }
    let mut name = Vec::new();
    entry.read_to_end(&mut name)?;
    if name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

/// A path that stays below where it is joined to.
fn checked(name: &[u8]) -> Result<PathBuf, Trouble> {
    let path = Path::new(OsStr::from_bytes(name));
    let hostile = |reason: &str| Trouble::Hostile(format!("the path `{}` {reason}", shown(path)));
    if name.is_empty() || name.len() > PATH_MAX || name.contains(&0) {
        return Err(hostile("is empty, longer than 4096 bytes, or holds a zero byte"));
    }
    if path.is_absolute() {
        return Err(hostile("is absolute"));
    }
    // `components` would pass over `a/./b` and `a//b`
    let inner = name.strip_suffix(b"/").unwrap_or(name);
    let mut names = inner.split(|byte| *byte == b'/');
    if names.clone().count() > DEPTH_MAX {
        return Err(hostile("is too deep"));
    }
    if names.any(|name| name.is_empty() || name == b"." || name == b"..") {
        return Err(hostile("holds a name that leads elsewhere"));
    }
    Ok(Path::new(OsStr::from_bytes(inner)).to_owned())
}

/// Whether an archive of ours holds such an entry.
fn belongs(path: &Path, kind: EntryType) -> bool {
    let mut names = path.components();
    let Some(Component::Normal(first)) = names.next() else { return false };
    let rest = names.as_path();
    if first == WORKSPACE {
        return !rest.as_os_str().is_empty() || kind == EntryType::Directory;
    }
    if first == BLOBS {
        return if rest.as_os_str().is_empty() {
            kind == EntryType::Directory
        } else {
            kind == EntryType::Regular && is_digest(rest)
        };
    }
    kind == EntryType::Regular && (path == Path::new(JOURNAL) || path == Path::new(DIFF))
}

fn name_of(path: &Path) -> Result<&OsStr, Trouble> {
    path.file_name().ok_or_else(|| Trouble::Hostile("a path has no name".into()))
}

fn shown(path: &Path) -> String {
    one_line(&path.display().to_string(), 200)
}
