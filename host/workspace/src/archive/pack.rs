//! From a workspace to an archive.
//!
//! The workspace is walked twice: once to learn what the archive will hold, which its first file says, and once to
//! write it. Both walks ask the same [`Choice`], so they agree unless somebody on the host changes the folder
//! meanwhile, and then there is no archive.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use rustix::fs::Stat;
use sortie_core::text::one_line;
use tar::{Builder, EntryType, Header};

use super::manifest::{Contents, Manifest};
use crate::traverse::{Found, Kind, Step, traverse};

/// Bytes of a path in an archive, and of a link's target.
pub(super) const PATH_MAX: usize = 4096;

/// Paths that the manifest names of what was left out.
const NAMED: usize = 20;

/// Names of the files in an archive.
pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const JOURNAL: &str = "journal.jsonl";
pub(super) const DIFF: &str = "changes.diff";
pub(super) const BLOBS: &str = "blobs";
pub(super) const WORKSPACE: &str = "workspace";

/// What an archive is made from.
pub struct Parts<'a> {
    /// Root of the work tree. Nothing runs in it any more.
    pub work_tree: &'a Path,
    /// Says of a path in the work tree that it is to be left out, with all below it.
    pub masked: &'a (dyn Fn(&Path) -> bool + Sync),
    /// The task's events, a line each, from its start.
    pub journal: &'a File,
    /// The change of the task; need not be there.
    pub diff: &'a Path,
    /// Folder of large outputs; need not be there.
    pub blobs: &'a Path,
}

/// What an archive may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackLimits {
    /// Bytes of one file of the workspace; a larger one is left out. Holes count.
    pub file: u64,
    /// Bytes of all files of the workspace; those beyond are left out.
    pub total: u64,
    /// Files and folders; with more there is no archive.
    pub entries: u64,
    /// Bytes of the archive itself; if it becomes larger there is none.
    pub archive: u64,
}

/// What becomes of a name.
enum Chosen {
    Folder,
    File(File, Stat),
    Link,
    Nothing,
}

/// Chooses and counts.
struct Choice<'a> {
    masked: &'a (dyn Fn(&Path) -> bool + Sync),
    limits: PackLimits,
    contents: Contents,
}

impl<'a> Choice<'a> {
    fn new(parts: &'a Parts<'_>, limits: PackLimits) -> Self {
        Self { masked: parts.masked, limits, contents: Contents::default() }
    }

    fn choose(&mut self, found: &Found<'_>) -> Chosen {
        if (self.masked)(found.path) {
            self.contents.masked += 1;
            return Chosen::Nothing;
        }
        // the kernel sets a bound to a path that is named, not to one that is walked name by name
        if WORKSPACE.len() + 1 + found.path.as_os_str().len() > PATH_MAX {
            self.contents.unreadable += 1;
            return self.leave_out(found);
        }
        match found.kind {
            Kind::Folder => {
                self.contents.folders += 1;
                Chosen::Folder
            }
            Kind::File => self.file(found),
            Kind::Link => {
                self.contents.links += 1;
                Chosen::Link
            }
            Kind::Special => {
                self.contents.special += 1;
                Chosen::Nothing
            }
            Kind::TooDeep | Kind::Closed => {
                self.contents.unreadable += 1;
                self.leave_out(found)
            }
        }
    }

    fn file(&mut self, found: &Found<'_>) -> Chosen {
        let Ok((file, stat)) = found.open() else {
            self.contents.unreadable += 1;
            return self.leave_out(found);
        };
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        let bytes = self.contents.bytes.saturating_add(size);
        if size > self.limits.file || bytes > self.limits.total {
            self.contents.too_large += 1;
            return self.leave_out(found);
        }
        self.contents.files += 1;
        self.contents.bytes = bytes;
        Chosen::File(file, stat)
    }

    fn leave_out(&mut self, found: &Found<'_>) -> Chosen {
        if self.contents.left_out.len() < NAMED {
            self.contents.left_out.push(one_line(&found.path.display().to_string(), 200));
        }
        Chosen::Nothing
    }
}

/// What an archive would hold of a workspace.
pub(super) fn survey(parts: &Parts<'_>, limits: PackLimits) -> io::Result<Contents> {
    let mut choice = Choice::new(parts, limits);
    traverse(parts.work_tree, limits.entries, &mut |step| {
        let Step::Found(found) = step else { return Ok(false) };
        Ok(matches!(choice.choose(found), Chosen::Folder))
    })?;
    Ok(choice.contents)
}

/// Writes an archive of what [`survey`] found.
pub(super) fn pack(out: &File, manifest: &Manifest, parts: &Parts<'_>, limits: PackLimits) -> io::Result<()> {
    let out =
        Bounded { out: BufWriter::with_capacity(256 << 10, out), left: limits.archive, most: limits.archive };
    let mut packed = zstd::stream::write::Encoder::new(out, 3)?;
    packed.include_checksum(true)?;
    let mut tar = Builder::new(packed);
    let text = serde_json::to_vec_pretty(manifest).map_err(io::Error::other)?;
    let mut header = header(EntryType::Regular, 0o600, 0);
    header.set_size(text.len() as u64);
    tar.append_data(&mut header, MANIFEST, text.as_slice())?;
    let mut journal = parts.journal;
    io::Seek::rewind(&mut journal)?;
    file(&mut tar, JOURNAL.as_ref(), parts.journal, &rustix::fs::fstat(parts.journal)?)?;
    ours(&mut tar, parts)?;
    let mut choice = Choice::new(parts, limits);
    folder(&mut tar, WORKSPACE.as_ref(), 0o755, 0)?;
    traverse(parts.work_tree, limits.entries, &mut |step| {
        let Step::Found(found) = step else { return Ok(false) };
        let path = Path::new(WORKSPACE).join(found.path);
        match choice.choose(found) {
            Chosen::Folder => {
                folder(&mut tar, &path, found.stat.st_mode & 0o777, modified(&found.stat))?;
                return Ok(true);
            }
            Chosen::File(open, stat) => file(&mut tar, &path, &open, &stat)?,
            Chosen::Link => link(&mut tar, &path, found)?,
            Chosen::Nothing => {}
        }
        Ok(false)
    })?;
    if choice.contents != manifest.contents {
        return Err(io::Error::other("the workspace was changed meanwhile"));
    }
    tar.into_inner()?.finish()?.out.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(())
}

/// The host's own files beside the workspace.
fn ours(tar: &mut Builder<impl Write>, parts: &Parts<'_>) -> io::Result<()> {
    match File::open(parts.diff) {
        Ok(diff) => file(tar, DIFF.as_ref(), &diff, &rustix::fs::fstat(&diff)?)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if !parts.blobs.is_dir() {
        return Ok(());
    }
    folder(tar, BLOBS.as_ref(), 0o700, 0)?;
    traverse(parts.blobs, u64::MAX, &mut |step| {
        if let Step::Found(found) = step
            && found.kind == Kind::File
            && is_digest(found.path)
        {
            let (open, stat) = found.open()?;
            file(tar, &Path::new(BLOBS).join(found.path), &open, &stat)?;
        }
        Ok(false)
    })
}

/// What names a blob: 64 hexadecimal digits. Others in that folder are on their way to be one.
pub(super) fn is_digest(name: &Path) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.to_str().is_some_and(|name| name.len() == 64 && name.bytes().all(hex))
}

fn file(tar: &mut Builder<impl Write>, path: &Path, file: &File, stat: &Stat) -> io::Result<()> {
    let mut header = header(EntryType::Regular, stat.st_mode & 0o777, modified(stat));
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    header.set_size(size);
    // a file that shrinks meanwhile would shift all that follows
    tar.append_data(&mut header, path, Whole { file, left: size })
}

fn folder(tar: &mut Builder<impl Write>, path: &Path, mode: u32, modified: u64) -> io::Result<()> {
    tar.append_data(&mut header(EntryType::Directory, mode, modified), path, io::empty())
}

fn link(tar: &mut Builder<impl Write>, path: &Path, found: &Found<'_>) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let target = found.target()?;
    let target = Path::new(std::ffi::OsStr::from_bytes(target.to_bytes()));
    let mut header = header(EntryType::Symlink, 0o777, modified(&found.stat));
    tar.append_link(&mut header, path, target)
}

fn header(kind: EntryType, mode: u32, modified: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(modified);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}

fn modified(stat: &Stat) -> u64 {
    u64::try_from(stat.st_mtime).unwrap_or(0)
}

/// Reads exactly as many bytes as the header says.
struct Whole<'a> {
    file: &'a File,
    left: u64,
}

impl Read for Whole<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(io::Error::other("a file of the workspace shrank meanwhile"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Fails once more is written than may be.
struct Bounded<W> {
    out: W,
    left: u64,
    most: u64,
}

impl<W: Write> Write for Bounded<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::other(format!(
                "the archive would be larger than {} MiB (`archive.max_mb`)",
                self.most >> 20
            ))
        })?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
