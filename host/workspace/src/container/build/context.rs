//! What a build sees of the work tree: one archive, spooled to a file without a name.

#![expect(
    clippy::disallowed_methods,
    reason = "spools an archive of the work tree, and opens what goes into it"
)]

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use sha2::{Digest as _, Sha256};
use sortie_core::action::ImageBuild;
use tar::{EntryType, Header};
use tokio_util::sync::CancellationToken;

use crate::container::shape::plain;
use crate::traverse::{Kind, Step, traverse};

/// Bytes of the archive.
const BYTES: u64 = 2 << 30;
/// Files, folders and links in it.
const ENTRIES: u64 = 500_000;
/// Bytes of a Dockerfile.
const TEXT: u64 = 1 << 20;
/// Bytes and lines of a list of what is to be left out: each path is held against all of them.
const LIST: u64 = 64 << 10;
const LINES: usize = 1000;
/// The repository's own, in the root of the work tree: no two tasks have the same there.
const REPOSITORY: &str = ".git";
/// What a Dockerfile from beside the context is called in it.
const OUTSIDE: &str = ".sortie-dockerfile";

/// A Dockerfile of the work tree, and where the context is.
pub(super) struct Source {
    /// The folder that the build sees.
    root: PathBuf,
    /// The same, relative to the work tree.
    beneath: PathBuf,
    /// The Dockerfile's name in the context.
    pub(super) name: String,
    /// Its text.
    pub(super) text: String,
}

impl Source {
    /// Reads the Dockerfile. Nothing is followed on the way to it or to the context.
    pub(super) fn read(work_tree: &Path, build: &ImageBuild) -> Result<Self, String> {
        let (file, beneath) = (relative(&build.dockerfile)?, relative(&build.context)?);
        let root = work_tree.join(&beneath);
        if beneath.components().next().is_some() && plain(work_tree, &beneath) != Some(true) {
            return Err(format!("its context `{}` is no folder of the work tree", build.context));
        }
        if plain(work_tree, &file) != Some(false) {
            return Err("it is no file of the work tree".to_owned());
        }
        let text = text(&work_tree.join(&file), TEXT).map_err(|error| error.to_string())?;
        let name = file.strip_prefix(&beneath).ok().and_then(Path::to_str).unwrap_or(OUTSIDE).to_owned();
        Ok(Self { root, beneath, name, text })
    }
}

/// A path of plain parts alone.
fn relative(path: &str) -> Result<PathBuf, String> {
    let parts = Path::new(path).components().filter(|part| *part != Component::CurDir);
    let parts: Vec<_> = parts.collect();
    match parts.iter().all(|part| matches!(part, Component::Normal(_))) {
        true => Ok(parts.iter().collect()),
        false => Err(format!("`{path}` is no path beneath the work tree")),
    }
}

fn text(path: &Path, most: u64) -> io::Result<String> {
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).expect("it is a flag of the kernel's");
    let file = File::options().read(true).custom_flags(no_follow).open(path)?;
    let mut text = String::new();
    if file.take(most + 1).read_to_string(&mut text)? as u64 > most {
        return Err(io::Error::other(format!("`{}` has more than {most} bytes", path.display())));
    }
    Ok(text)
}

/// The archive, at its beginning, and a digest of it.
pub(super) struct Context {
    pub(super) archive: File,
    pub(super) digest: [u8; 32],
}

impl Context {
    /// As [`Context::pack`], on a thread of its own. Cancel-safe: dropping it says `stop`, at which that thread ends.
    pub(super) async fn pack_aside(
        source: Source,
        masks: Vec<PathBuf>,
        spool: PathBuf,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let _stop = stop.clone().drop_guard();
        let packed = tokio::task::spawn_blocking(move || Self::pack(&source, &masks, &spool, &stop));
        packed.await.map_err(io::Error::other)?
    }

    /// Packs it by way of `spool`, a path of ours that is nothing again afterwards. `masks` are paths of the
    /// work tree that nothing inside may see. What nobody waits for any more ends at the next name or piece.
    fn pack(source: &Source, masks: &[PathBuf], spool: &Path, stop: &CancellationToken) -> io::Result<Self> {
        // of a host that was killed between the two
        match std::fs::remove_file(spool) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(spool)?;
        std::fs::remove_file(spool)?;
        let hashed = Hashed { file, hash: Sha256::new(), left: BYTES, stop: stop.clone() };
        let mut archive = tar::Builder::new(hashed);
        append(&mut archive, source, masks, stop)?;
        let Hashed { mut file, hash, .. } = archive.into_inner()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Self { archive: file, digest: hash.finalize().into() })
    }
}

fn append(
    archive: &mut tar::Builder<Hashed>,
    source: &Source,
    masks: &[PathBuf],
    stop: &CancellationToken,
) -> io::Result<()> {
    let left_out = left_out(&source.root)?;
    // of each folder around, the innermost last, whether it is left out
    let mut around = vec![false];
    let is_hidden = |path: &Path| {
        let path = source.beneath.join(path);
        path.starts_with(REPOSITORY)
            || masks.iter().any(|mask| path.starts_with(mask.strip_prefix(".").unwrap_or(mask)))
    };
    traverse(&source.root, ENTRIES, &mut |step| {
        let Step::Found(found) = step else {
            around.pop();
            return Ok(false);
        };
        check(stop)?;
        let is_folder = found.kind == Kind::Folder;
        // its text goes in below, as it was looked at
        if found.path == Path::new(&source.name) || is_hidden(found.path) {
            return Ok(false);
        }
        // what no line speaks of is as the folder that it lies in
        let is_left_out = match left_out.matched(found.path, is_folder) {
            Match::None => around.last().is_some_and(|is_left_out| *is_left_out),
            matched => matched.is_ignore(),
        };
        // what is left out may hold what is not
        let is_entered = is_folder && (!is_left_out || left_out.num_whitelists() > 0);
        if is_entered {
            around.push(is_left_out);
        }
        if is_left_out {
            return Ok(is_entered);
        }
        let mut header = header(found.stat.st_mode);
        match found.kind {
            Kind::Folder => {
                header.set_entry_type(EntryType::Directory);
                archive.append_data(&mut header, found.path, io::empty())?;
            }
            Kind::File => {
                let (file, stat) = found.open()?;
                let size = u64::try_from(stat.st_size).unwrap_or_default();
                header.set_size(size);
                archive.append_data(&mut header, found.path, file.take(size))?;
            }
            Kind::Link => {
                header.set_entry_type(EntryType::Symlink);
                let target = found.target()?;
                archive.append_link(
                    &mut header,
                    found.path,
                    Path::new(std::ffi::OsStr::from_bytes(target.to_bytes())),
                )?;
            }
            Kind::Special => {}
            Kind::TooDeep | Kind::Closed => {
                return Err(io::Error::other(format!("`{}` cannot be read", found.path.display())));
            }
        }
        Ok(true)
    })?;
    let mut header = header(0o644);
    header.set_size(source.text.len() as u64);
    archive.append_data(&mut header, &source.name, source.text.as_bytes())
}

/// The same for the same files, whoever has them and since when.
fn header(mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(mode & 0o777);
    header.set_size(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// What `.dockerignore` says: paths from the context's root, unlike those of git, the last line that fits counts.
fn left_out(root: &Path) -> io::Result<Gitignore> {
    let path = root.join(".dockerignore");
    let text = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => text(&path, LIST)?,
        _ => String::new(),
    };
    let mut builder = GitignoreBuilder::new("");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    if lines.clone().count() > LINES {
        return Err(io::Error::other(format!("its `.dockerignore` has more than {LINES} lines")));
    }
    for line in lines {
        let (not, pattern) = line.strip_prefix('!').map_or(("", line), |pattern| ("!", pattern.trim()));
        let pattern = pattern.trim_start_matches("./").trim_matches('/');
        if !matches!(pattern, "" | ".") {
            builder.add_line(None, &format!("{not}/{pattern}")).map_err(io::Error::other)?;
        }
    }
    builder.build().map_err(io::Error::other)
}

fn check(stop: &CancellationToken) -> io::Result<()> {
    match stop.is_cancelled() {
        true => Err(io::Error::other("nobody waits for it any more")),
        false => Ok(()),
    }
}

/// Counts and hashes what is written.
struct Hashed {
    file: File,
    hash: Sha256,
    left: u64,
    stop: CancellationToken,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        check(&self.stop)?;
        let too_large = || {
            io::Error::other(format!(
                "its context has more than {BYTES} bytes; `.dockerignore` can leave some out"
            ))
        };
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(too_large)?;
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path, build: &ImageBuild, masks: &[PathBuf]) -> Vec<String> {
        let source = Source::read(root, build).expect("it is read");
        let spool = root.join("spool");
        std::fs::write(&spool, "of a host that was killed").expect("written");
        let context = Context::pack(&source, masks, &spool, &CancellationToken::new()).expect("it is packed");
        assert!(!spool.exists());
        let mut archive = tar::Archive::new(context.archive);
        let entries = archive.entries().expect("it is an archive");
        entries
            .map(|entry| entry.expect("it is whole").path().expect("a path").display().to_string())
            .collect()
    }

    #[test]
    fn the_context_is_what_is_there_but_for_what_is_left_out_and_links_are_links() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        for folder in ["app/docs", "app/node_modules/x", "app/src", "dev", "secret"] {
            std::fs::create_dir_all(root.join(folder)).expect("made");
        }
        for file in [
            "app/a",
            "app/b.log",
            "app/docs/no",
            "app/docs/README",
            "app/node_modules/x/y",
            "app/src/b.log",
            "app/key",
            "dev/Dockerfile",
            "secret/file",
        ] {
            std::fs::write(root.join(file), file).expect("written");
        }
        std::os::unix::fs::symlink("/etc/passwd", root.join("app/src/link")).expect("linked");
        let ignore = "# what is not needed\n*.log\n/node_modules/\ndocs\n!docs/README\n";
        std::fs::write(root.join("app/.dockerignore"), ignore).expect("written");
        let build = ImageBuild {
            dockerfile: "dev/Dockerfile".into(),
            context: "./app".into(),
            ..ImageBuild::default()
        };
        let expected =
            [".dockerignore", "a", "docs/README", "src", "src/b.log", "src/link", ".sortie-dockerfile"];
        assert_eq!(names(root, &build, &["app/key".into()]), expected);
        let inside = ImageBuild { dockerfile: "dev/Dockerfile".into(), ..ImageBuild::default() };
        let all = names(root, &inside, &["secret".into(), "./app".into()]);
        assert_eq!(all, ["dev", "dev/Dockerfile"]);
    }

    #[test]
    fn nothing_outside_of_the_work_tree_is_a_dockerfile_or_a_context() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        std::fs::write(root.join("Dockerfile"), "FROM a").expect("written");
        std::os::unix::fs::symlink("/etc", root.join("etc")).expect("linked");
        std::os::unix::fs::symlink("/etc/passwd", root.join("passwd")).expect("linked");
        for (dockerfile, context) in [
            ("../x", ""),
            ("/etc/passwd", ""),
            ("passwd", ""),
            ("etc/passwd", ""),
            ("none", ""),
            ("Dockerfile", ".."),
            ("Dockerfile", "/"),
            ("Dockerfile", "etc"),
            ("Dockerfile", "Dockerfile"),
            (".", ""),
        ] {
            let build = ImageBuild {
                dockerfile: dockerfile.into(),
                context: context.into(),
                ..ImageBuild::default()
            };
            assert!(Source::read(root, &build).is_err(), "{dockerfile}, {context}");
        }
        // before anything looks at what is there
        for path in ["../x", "/x", "a/../x"] {
            assert!(relative(path).is_err(), "{path}");
        }
    }

    #[test]
    fn what_git_keeps_in_the_root_of_the_work_tree_is_not_in_the_context() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        for folder in [".git/objects", "app/.git"] {
            std::fs::create_dir_all(root.join(folder)).expect("made");
        }
        for file in ["Dockerfile", ".git/HEAD", ".gitignore", "app/.git/HEAD", "app/Dockerfile"] {
            std::fs::write(root.join(file), "FROM a").expect("written");
        }
        let all = ImageBuild { dockerfile: "Dockerfile".into(), ..ImageBuild::default() };
        let mut found = names(root, &all, &[]);
        found.sort();
        assert_eq!(found, [".gitignore", "Dockerfile", "app", "app/.git", "app/.git/HEAD", "app/Dockerfile"]);
        let own = ImageBuild { context: ".git".into(), ..all };
        assert_eq!(names(root, &own, &[]), [OUTSIDE]);
    }

    #[test]
    fn what_no_line_speaks_of_is_as_the_folder_around_it() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        for folder in ["a/b/c", "a/d/e", "f", "g/h"] {
            std::fs::create_dir_all(root.join(folder)).expect("made");
        }
        for file in ["Dockerfile", "a/b/c/in", "a/b/out", "a/d/e/out", "f/in", "g/h/out"] {
            std::fs::write(root.join(file), "FROM a").expect("written");
        }
        std::fs::write(root.join(".dockerignore"), "a/b\na/d\n!a/b/c\ng\n").expect("written");
        let build = ImageBuild { dockerfile: "Dockerfile".into(), ..ImageBuild::default() };
        assert_eq!(
            names(root, &build, &["spool".into()]),
            [".dockerignore", "a", "a/b/c", "a/b/c/in", "f", "f/in", "Dockerfile"]
        );
    }

    /// A work tree with this list of what is to be left out.
    fn listing(list: &str) -> (tempfile::TempDir, Source) {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::write(root.path().join("Dockerfile"), "FROM a").expect("written");
        std::fs::write(root.path().join(".dockerignore"), list).expect("written");
        let build = ImageBuild { dockerfile: "Dockerfile".into(), ..ImageBuild::default() };
        let source = Source::read(root.path(), &build).expect("it is read");
        (root, source)
    }

    #[test]
    fn a_list_that_each_path_would_be_held_against_for_long_is_refused() {
        let pack = |list: &str| {
            let (root, source) = listing(list);
            let packed = Context::pack(&source, &[], &root.path().join("spool"), &CancellationToken::new());
            packed.map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(pack(&"# not one of them\n\na\n".repeat(1000)), Ok(()));
        let error = pack(&"a\n".repeat(1001)).expect_err("it has too many");
        assert_eq!(error, "its `.dockerignore` has more than 1000 lines");
        let error = pack(&"a*".repeat(33_000)).expect_err("it is too long");
        assert!(error.ends_with(".dockerignore` has more than 65536 bytes"), "{error}");
    }

    #[tokio::test]
    async fn nobody_packs_on_for_whom_nobody_waits() {
        let (root, source) = listing("");
        let spool = root.path().join("spool");
        let stop = CancellationToken::new();
        let mut packed = Box::pin(Context::pack_aside(source, Vec::new(), spool.clone(), stop.clone()));
        let begun = std::future::poll_fn(|context| std::task::Poll::Ready(packed.as_mut().poll(context)));
        drop((begun.await, packed));
        assert!(stop.is_cancelled());
        let (_root, source) = listing("");
        let error = Context::pack(&source, &[], &spool, &stop).map(drop).expect_err("it ends");
        assert_eq!(error.to_string(), "nobody waits for it any more");
        let mut hashed = Hashed {
            file: tempfile::tempfile().expect("a file"),
            hash: Sha256::new(),
            left: 9,
            stop: stop.clone(),
        };
        assert!(hashed.write(b"x").is_err(), "nor in the middle of a file");
        (hashed.stop, hashed.left) = (CancellationToken::new(), 1 << 20);
        let (_root, source) = listing("*\n");
        let appended = append(&mut tar::Builder::new(hashed), &source, &[], &stop);
        assert!(appended.is_err(), "nor where all of it is left out");
    }

    #[test]
    fn the_digest_is_the_files_alone() {
        let digest = |text: &str| {
            let root = tempfile::tempdir().expect("a folder");
            std::fs::write(root.path().join("Dockerfile"), "FROM a").expect("written");
            std::fs::write(root.path().join("file"), text).expect("written");
            let build = ImageBuild { dockerfile: "Dockerfile".into(), ..ImageBuild::default() };
            let source = Source::read(root.path(), &build).expect("it is read");
            let (spool, stop) = (root.path().join("spool"), CancellationToken::new());
            Context::pack(&source, &[], &spool, &stop).expect("it is packed").digest
        };
        assert_eq!(digest("a"), digest("a"));
        assert_ne!(digest("a"), digest("b"));
    }
}
