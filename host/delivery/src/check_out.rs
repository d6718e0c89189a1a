//! Writing the base commit into the work tree, before any command runs there.

#![expect(clippy::disallowed_methods, reason = "keeps the folder of a checkout in the host's own repository")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::time::SystemTime;

use git2::{Index, IndexEntry, IndexTime, Oid, Repository, Tree};
use rustix::fs::Stat;
use sortie_policy::ports::{ErrorCode, PortError};
use tokio_util::sync::CancellationToken;

use crate::blob::{LARGEST, too_large};
use crate::folder::{Folder, Owner};
use crate::names::{check_entry, join, shown};
use crate::stat_cache::StatCache;
use crate::tree::{Entry, Listing, Mode, unreadable};

/// What was written: each path's entry and, for files and links, its stat.
pub(crate) type Written = BTreeMap<Vec<u8>, (Entry, Option<Stat>)>;

/// Bytes of all files that are checked out. A small pack can describe any
/// number of large files.
const MOST_BYTES: u64 = 16 << 30;

/// Writes trees.
pub(crate) struct CheckOut<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) owner: Owner,
    pub(crate) cancel: &'a CancellationToken,
}

impl CheckOut<'_> {
    /// Writes a tree into an empty folder: bytes as they are, no filters, no
    /// conversions; links as links, submodules as empty folders.
    pub(crate) fn write(&self, tree: &Tree<'_>, root: &Folder) -> Result<Written, PortError> {
        if !root.names(1).is_ok_and(|names| names.is_empty()) {
            return Err(PortError::new(ErrorCode::Conflict, "the work tree is not empty"));
        }
        root.give_to(self.owner).map_err(|error| unwritable(b".", error))?;
        let mut written = Written::new();
        self.folder(tree, root, &[], &mut written)?;
        Ok(written)
    }

    fn folder(
        &self,
        tree: &Tree<'_>,
        folder: &Folder,
        path: &[u8],
        written: &mut Written,
    ) -> Result<(), PortError> {
        if self.cancel.is_cancelled() {
            return Err(PortError::new(ErrorCode::Cancelled, "the checkout was cancelled"));
        }
        for entry in tree {
            let name = entry.name_bytes();
            check_entry(path, name)?;
            let path = join(path, name);
            let made = |error| unwritable(&path, error);
            let (mode, id) = (entry.filemode_raw(), entry.id());
            match mode & 0o170_000 {
                0o040_000 => {
                    let inner = self.repository.find_tree(id).map_err(unreadable)?;
                    self.folder(
                        &inner,
                        &folder.make_folder(name, self.owner).map_err(made)?,
                        &path,
                        written,
                    )?;
                }
                0o160_000 => {
                    folder.make_folder(name, self.owner).map_err(made)?;
                    written.insert(path, (Entry { mode: Mode::Submodule, id }, None));
                }
                0o120_000 => {
                    let target = self.content(id)?;
                    folder.make_link(name, target.content(), self.owner).map_err(made)?;
                    let stat = folder.stat(name).map_err(made)?;
                    written.insert(path, (Entry { mode: Mode::Link, id }, Some(stat)));
                }
                _ => {
                    let mode = if mode & 0o100 == 0 { Mode::File } else { Mode::Executable };
                    let stat = self.file(folder, name, &path, Entry { mode, id })?;
                    written.insert(path, (Entry { mode, id }, Some(stat)));
                }
            }
        }
        Ok(())
    }

    fn file(&self, folder: &Folder, name: &[u8], path: &[u8], entry: Entry) -> Result<Stat, PortError> {
        let content = self.content(entry.id)?;
        let permissions = if entry.mode == Mode::Executable { 0o755 } else { 0o644 };
        let mut file = folder.make_file(name, permissions).map_err(|error| unwritable(path, error))?;
        file.write_all(content.content()).map_err(|error| unwritable(path, error))?;
        self.owner.take(&file).map_err(|error| unwritable(path, error))?;
        rustix::fs::fstat(&file).map_err(|error| unwritable(path, error))
    }

    fn content(&self, id: Oid) -> Result<git2::Blob<'_>, PortError> {
        self.repository.find_blob(id).map_err(unreadable)
    }
}

/// Adds the sizes of a commit's files up, before the first one is written.
pub(crate) fn check_sizes(repository: &Repository, listing: &Listing) -> Result<(), PortError> {
    let odb = repository.odb().map_err(unreadable)?;
    let mut total = 0;
    for (path, entry) in listing.iter().filter(|(_, entry)| entry.mode != Mode::Submodule) {
        let (size, _) = odb.read_header(entry.id).map_err(unreadable)?;
        if size as u64 > LARGEST {
            return Err(PortError::new(ErrorCode::TooLarge, too_large(&shown(path), size as u64)));
        }
        total += size as u64;
        if total > MOST_BYTES {
            let most = MOST_BYTES >> 30;
            return Err(crate::tree::too_large(&format!("the commit's files have more than {most} GiB")));
        }
    }
    Ok(())
}

/// Remembers the files that were just written, so that they are not read again
/// before they change. No command has run in the work tree yet.
pub(crate) fn remember(written: &Written, cache: &mut StatCache) {
    let now = SystemTime::now();
    for (path, (entry, stat)) in written {
        if let Some(stat) = stat.as_ref().filter(|_| entry.mode != Mode::Link) {
            cache.put(path, stat, *entry, now);
        }
    }
}

/// The work tree's own `.git`: for the model's Git commands. It holds copies of
/// the fetched packs and shares no file with anything; the host never reads it.
pub(crate) struct PlainGit<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) branch: &'a str,
    pub(crate) commit: Oid,
    pub(crate) author: (String, String),
    pub(crate) exclude: &'a [String],
    pub(crate) owner: Owner,
}

impl PlainGit<'_> {
    /// Writes it, with an index that matches what was checked out.
    pub(crate) fn write(&self, root: &Folder, written: &Written) -> Result<(), PortError> {
        let failed = |error: std::io::Error| {
            PortError::internal(format!("the work tree's `.git` cannot be written: {error}"))
        };
        self.files(root, written).map_err(failed)
    }

    fn files(&self, root: &Folder, written: &Written) -> std::io::Result<()> {
        let make = |parent: &Folder, name: &str| parent.make_folder(name.as_bytes(), self.owner);
        let git = make(root, ".git")?;
        let objects = make(&git, "objects")?;
        let (pack, info) = (make(&objects, "pack")?, make(&git, "info")?);
        let refs = make(&git, "refs")?;
        for (parent, name) in [(&objects, "info"), (&refs, "heads"), (&refs, "tags")] {
            make(parent, name)?;
        }
        self.packs(&pack)?;
        if let Ok(shallow) = std::fs::read(self.repository.path().join("shallow")) {
            self.file(&git, "shallow", &shallow)?;
        }
        self.file(&git, "config", self.config().as_bytes())?;
        self.file(&info, "exclude", format!("{}\n", self.exclude.join("\n")).as_bytes())?;
        let header = "# pack-refs with: peeled fully-peeled sorted \n";
        self.file(
            &git,
            "packed-refs",
            format!("{header}{} refs/heads/{}\n", self.commit, self.branch).as_bytes(),
        )?;
        self.file(&git, "index", &self.index(written)?)?;
        self.file(&git, "HEAD", format!("ref: refs/heads/{}\n", self.branch).as_bytes())
    }

    fn config(&self) -> String {
        let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        format!(
            "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n\
             [user]\n\tname = {}\n\temail = {}\n",
            quoted(&self.author.0),
            quoted(&self.author.1)
        )
    }

    /// Copies the packs by their bytes: a link would let the workspace write
    /// to the host's own.
    fn packs(&self, to: &Folder) -> std::io::Result<()> {
        for entry in std::fs::read_dir(self.repository.path().join("objects/pack"))? {
            let entry = entry?;
            let name = entry.file_name();
            let wanted =
                std::path::Path::new(&name).extension().is_some_and(|kind| kind == "pack" || kind == "idx");
            if wanted && entry.file_type()?.is_file() {
                let mut copy = to.make_file(name.as_encoded_bytes(), 0o444)?;
                std::io::copy(&mut File::open(entry.path())?, &mut copy)?;
                self.owner.take(&copy)?;
            }
        }
        Ok(())
    }

    fn file(&self, folder: &Folder, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let mut file = folder.make_file(name.as_bytes(), 0o644)?;
        file.write_all(bytes)?;
        self.owner.take(&file)?;
        Ok(())
    }

    /// The index, made outside of the work tree.
    fn index(&self, written: &Written) -> std::io::Result<Vec<u8>> {
        let failed = |error: git2::Error| std::io::Error::other(error.message().to_owned());
        let folder = tempfile::tempdir_in(self.repository.path())?;
        let path = folder.path().join("index");
        let mut index = Index::open(&path).map_err(failed)?;
        for (path, (entry, stat)) in written {
            index.add(&index_entry(path, *entry, stat.as_ref())).map_err(failed)?;
        }
        index.write().map_err(failed)?;
        std::fs::read(path)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_lossless,
    clippy::unnecessary_cast,
    reason = "an index holds the low 32 bits of each number"
)]
fn index_entry(path: &[u8], entry: Entry, stat: Option<&Stat>) -> IndexEntry {
    let time = |seconds: i64, fraction: i64| IndexTime::new(seconds as i32, fraction as u32);
    let number = |pick: fn(&Stat) -> u64| stat.map_or(0, |stat| pick(stat) as u32);
    IndexEntry {
        ctime: stat.map_or_else(|| time(0, 0), |stat| time(stat.st_ctime as i64, stat.st_ctime_nsec as i64)),
        mtime: stat.map_or_else(|| time(0, 0), |stat| time(stat.st_mtime as i64, stat.st_mtime_nsec as i64)),
        dev: number(|stat| stat.st_dev as u64),
        ino: number(|stat| stat.st_ino as u64),
        mode: entry.mode.bits().cast_unsigned(),
        uid: number(|stat| stat.st_uid as u64),
        gid: number(|stat| stat.st_gid as u64),
        file_size: number(|stat| stat.st_size as u64),
        id: entry.id,
        flags: 0,
        flags_extended: 0,
        path: path.to_vec(),
    }
}

fn unwritable(path: &[u8], error: impl std::fmt::Display) -> PortError {
    PortError::internal(format!("`{}` cannot be checked out: {error}", shown(path)))
}
