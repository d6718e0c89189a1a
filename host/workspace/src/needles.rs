//! Looking for secrets in what commands have left.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use aho_corasick::{AhoCorasick, Input, MatchKind, Span, packed};
use rustix::fs::{Mode, OFlags, open, openat};
use sortie_core::secret::as_path;

use crate::attributes::Attributes;
use crate::traverse::{Found, Kind, Step, traverse};

/// Files, folders and links that are looked through.
const ENTRIES_MAX: u64 = 2_000_000;

/// Bytes that are looked through at a time.
const PIECE: usize = 1 << 20;

/// The most paths that are told.
const TOLD: usize = 20;

/// Bytes at the beginning of a needle that are looked for together with those of all others; the rest of it is
/// compared where they are found. So it takes no memory to speak of, however long a needle is.
const HEAD: usize = 64;

/// Heads that are looked for together at full speed.
const GROUP: usize = 64;

const PLACE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The paths in a folder, relative to it, that hold one of `needles` themselves, or whose bytes, extended attributes or
/// link target do; `.` for the folder itself; at most 20. Files are looked through whole, wherever in them a needle
/// lies; no link is followed.
///
/// # Errors
/// If something cannot be read: then nobody knows what it holds. It names the path as commands named it: what of a
/// needle or of a terminal's language is in that, whoever shows it is to mask before anything of it is cut.
pub fn search_folder(folder: &Path, needles: &[Vec<u8>]) -> io::Result<Vec<PathBuf>> {
    let needles = Needles::new(needles);
    let mut attributes = Attributes::new();
    let mut found_in = Vec::new();
    let root = open(folder, PLACE, Mode::empty())?;
    if attributes.any(root, |bytes| needles.are_in(bytes)).map_err(named(Path::new(".")))? {
        found_in.push(PathBuf::from("."));
    }
    traverse(folder, ENTRIES_MAX, &mut |step| {
        let Step::Found(found) = step else { return Ok(false) };
        if needles.are_at(found, &mut attributes).map_err(named(found.path))? && found_in.len() < TOLD {
            found_in.push(found.path.to_owned());
        }
        Ok(true)
    })?;
    Ok(found_in)
}

fn named(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("cannot look through `{}`: {error}", path.display()))
}

/// Byte strings that are looked for.
pub(crate) struct Needles {
    anywhere: Finder,
    in_paths: Finder,
    longest: usize,
}

impl Needles {
    pub(crate) fn new(needles: &[Vec<u8>]) -> Self {
        let needles: Vec<_> = needles.iter().filter(|needle| !needle.is_empty()).cloned().collect();
        let as_paths = needles.iter().filter_map(|needle| as_path(needle));
        Self {
            in_paths: Finder::new(needles.iter().cloned().chain(as_paths).collect()),
            longest: needles.iter().map(Vec::len).max().unwrap_or_default(),
            anywhere: Finder::new(needles),
        }
    }

    pub(crate) fn are_in(&self, bytes: &[u8]) -> bool {
        self.anywhere.finds_in(bytes)
    }

    /// Whether one is in a path without a slash at its beginning, and not all of it in that of the folder around: a
    /// needle with slashes becomes folders within folders.
    pub(crate) fn are_in_path(&self, path: &[u8]) -> bool {
        let name = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        match name.saturating_sub(self.longest) {
            0 => self.in_paths.finds_in(&[b"/", path].concat()),
            from => self.in_paths.finds_in(&path[from..]),
        }
    }

    fn are_at(&self, found: &Found<'_>, attributes: &mut Attributes) -> io::Result<bool> {
        if matches!(found.kind, Kind::TooDeep) {
            return Err(io::Error::other("it lies below too many folders"));
        }
        if matches!(found.kind, Kind::Closed) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let is_wanted = |bytes: &[u8]| self.are_in(bytes);
        let mut holds = self.are_in_path(found.path.as_os_str().as_bytes());
        if found.kind == Kind::File {
            let file: File = found.open()?.0;
            holds |= attributes.any(&file, is_wanted)?;
            return Ok(holds || self.are_read_from(file)?);
        }
        holds |= attributes.any(openat(found.folder, found.name, PLACE, Mode::empty())?, is_wanted)?;
        Ok(holds || found.kind == Kind::Link && self.are_in(found.target()?.to_bytes()))
    }

    /// Whether one occurs in what is read, also across two pieces of it. What is found ends the reading.
    pub(crate) fn are_read_from(&self, mut reader: impl Read) -> io::Result<bool> {
        let mut buffer = vec![0; PIECE + self.longest];
        let mut kept = 0;
        loop {
            let count = match reader.read(&mut buffer[kept..]) {
                Ok(0) => return Ok(false),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = kept + count;
            if self.are_in(&buffer[..end]) {
                return Ok(true);
            }
            // as much as may be the beginning of one
            let from = end - end.min(self.longest.saturating_sub(1));
            buffer.copy_within(from..end, 0);
            kept = end - from;
        }
    }
}

struct Finder {
    groups: Vec<Group>,
}

/// Needles whose heads are looked for together.
struct Group {
    heads: Heads,
    needles: Vec<Vec<u8>>,
}

enum Heads {
    /// As fast in any text, unlike what chooses by the bytes of its needles.
    Packed(packed::Searcher),
    /// Where the processor does not do that.
    Automaton(AhoCorasick),
}

impl Finder {
    fn new(needles: Vec<Vec<u8>>) -> Self {
        // as many in each: a few take as long as many
        let size = needles.len().div_ceil(needles.len().div_ceil(GROUP).max(1)).max(1);
        Self { groups: needles.chunks(size).map(Group::new).collect() }
    }

    fn finds_in(&self, bytes: &[u8]) -> bool {
        self.groups.iter().any(|group| group.finds_in(bytes))
    }
}

impl Group {
    fn new(needles: &[Vec<u8>]) -> Self {
        let heads: Vec<_> = needles.iter().map(|needle| &needle[..needle.len().min(HEAD)]).collect();
        let packed = packed::Config::new().builder().extend(&heads).build();
        let heads = packed.map(Heads::Packed).unwrap_or_else(|| {
            let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(&heads);
            Heads::Automaton(automaton.expect("they are short"))
        });
        Self { heads, needles: needles.to_vec() }
    }

    fn finds_in(&self, bytes: &[u8]) -> bool {
        let mut from = 0;
        while let Some(start) = self.heads.find(bytes, from) {
            // of several with heads that begin alike, one is told
            if self.needles.iter().any(|needle| bytes[start..].starts_with(needle)) {
                return true;
            }
            from = start + 1;
        }
        false
    }
}

impl Heads {
    fn find(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let span = Span { start: from, end: bytes.len() };
        let found = match self {
            Self::Packed(searcher) => searcher.find_in(bytes, span),
            Self::Automaton(automaton) => automaton.find(Input::new(bytes).span(span)),
        };
        found.map(|found| found.start())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_needle_is_found_in_files_names_and_link_targets_and_no_link_is_followed() {
        let ground = tempfile::tempdir().expect("a folder");
        let (root, outside) = (ground.path().join("root"), ground.path().join("outside"));
        fs::create_dir_all(root.join("deep/er")).expect("is made");
        fs::write(&outside, "a needle").expect("is written");
        fs::write(root.join("deep/er/file"), "hay needle hay").expect("is written");
        fs::write(root.join("hay"), "hay").expect("is written");
        fs::write(root.join("a needle in a name"), "").expect("is written");
        std::os::unix::fs::symlink("/to/needle", root.join("link")).expect("is linked");
        std::os::unix::fs::symlink(&outside, root.join("out")).expect("is linked");
        let found = search_folder(&root, &[b"needle".to_vec()]).expect("is searched");
        let expected = ["a needle in a name", "deep/er/file", "link"];
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[test]
    fn a_needle_that_became_a_path_is_found_whatever_folders_it_lies_in() {
        let ground = tempfile::tempdir().expect("a folder");
        let root = ground.path();
        let deep = "deeper/".repeat(20);
        for path in [
            "a/s3cr3t/v4lue/b",
            ".git/refs/heads/s3cr3t/v4lue",
            &format!("{deep}xs3cr3t/v4luey"),
            "s3cr3t/v4lu/e",
            "b/other//././t0k3n/",
            "c/other/t0k3",
        ] {
            fs::create_dir_all(root.join(path)).expect("is made");
        }
        fs::write(root.join(".git/packed-refs"), "0123abcd refs/heads/s3cr3t/v4lue\n").expect("is written");
        let needles = [b"s3cr3t/v4lue".to_vec(), b"/other//t0k3n/".to_vec(), b"//e/".to_vec()];
        let found = search_folder(root, &needles).expect("is searched");
        let deep = format!("{deep}xs3cr3t/v4luey");
        let expected = [
            ".git/packed-refs",
            ".git/refs/heads/s3cr3t/v4lue",
            "a/s3cr3t/v4lue",
            "a/s3cr3t/v4lue/b",
            "b/other/t0k3n",
            &deep,
        ];
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[test]
    fn a_needle_is_found_in_the_names_and_values_of_extended_attributes() {
        use rustix::fs::{XattrFlags, setxattr};
        let ground = tempfile::tempdir().expect("a folder");
        let root = ground.path();
        let set = |path: &str, name: &str, value: &[u8]| {
            setxattr(root.join(path), name, value, XattrFlags::empty())
        };
        for name in ["empty", "named", "plain"] {
            fs::write(root.join(name), "hay").expect("is written");
        }
        fs::create_dir(root.join("folder")).expect("is made");
        std::os::unix::fs::symlink("empty", root.join("link")).expect("is linked");
        if set("plain", "user.origin", b"hay").is_err_and(|errno| errno == rustix::io::Errno::OPNOTSUPP) {
            eprintln!("not tested: this file system has no extended attributes");
            return;
        }
        set("empty", "user.first", b"hay").expect("is set");
        set("empty", "user.origin", b"https://user:needle@host/\0\n").expect("is set");
        set("named", "user.needle", b"").expect("is set");
        set("folder", "user.origin", b"needle").expect("is set");
        set(".", "user.origin", b"a needle").expect("is set");
        let found = search_folder(root, &[b"needle".to_vec()]).expect("is searched");
        let mut expected = vec![".", "empty", "folder", "named"];
        if rustix::process::geteuid().is_root() {
            // nobody else may give a link some
            let link = root.join("link");
            let given = rustix::fs::lsetxattr(link, "trusted.origin", b"needle", XattrFlags::empty());
            if given.is_ok() {
                expected.insert(3, "link");
            }
        }
        let found_then = search_folder(root, &[b"needle".to_vec()]).expect("is searched");
        assert_eq!(found, [".", "empty", "folder", "named"].map(PathBuf::from));
        assert_eq!(found_then, expected.into_iter().map(PathBuf::from).collect::<Vec<_>>());
    }

    #[test]
    fn long_needles_that_begin_alike_are_told_apart() {
        let long = |end: &str| [b"x".repeat(HEAD + 10), end.as_bytes().to_vec()].concat();
        let wanted = [long("first"), long("second"), b"x".repeat(HEAD + 40)];
        let needles = Needles::new(&wanted);
        assert!(needles.are_in(&long("second")) && needles.are_in(&long("first, and hay")));
        assert!(needles.are_in(&[b"xxx".to_vec(), long("first")].concat()), "from where it begins");
        assert!(needles.are_in(&b"x".repeat(HEAD + 41)) && !needles.are_in(&b"x".repeat(HEAD + 39)));
        assert!(!needles.are_in(&long("third")) && !needles.are_in(b""));
        assert!(!Needles::new(&[]).are_in(b"hay") && !Needles::new(&[Vec::new()]).are_in(b"hay"));
    }

    /// Gives its bytes in pieces of one size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(into.len());
            into[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn a_needle_is_found_wherever_a_file_is_cut() {
        let wanted = [b"needle".to_vec(), b"n".repeat(9)];
        let needles = Needles::new(&wanted);
        for size in 1..20 {
            let read = |text: &[u8]| needles.are_read_from(Pieces(text, size)).expect("is read");
            assert!(read(b"some hay and a needle in it"), "pieces of {size}");
            assert!(read(b"needle") && read(b"0nnnnnnnnn"), "pieces of {size}");
            assert!(!read(b"needl enneedl") && !read(b"nnnnnnnn"), "pieces of {size}");
        }
    }
}
