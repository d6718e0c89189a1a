//! Looking for secrets in what commands have left.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use memchr::memmem;

use crate::traverse::{Kind, Step, traverse};

/// Files, folders and links that are looked through.
const ENTRIES_MAX: u64 = 2_000_000;

/// Bytes that are looked through at a time.
const PIECE: usize = 1 << 20;

/// The most paths that are told.
const TOLD: usize = 20;

/// The paths in a folder, relative to it, whose bytes, name or link target hold one of `needles`; at most 20. Files
/// are looked through whole, wherever in them a needle lies; no link is followed.
///
/// # Errors
/// If something cannot be read: then nobody knows what it holds.
pub fn search_folder(folder: &Path, needles: &[Vec<u8>]) -> io::Result<Vec<PathBuf>> {
    let needles = Needles::new(needles);
    let mut found_in = Vec::new();
    traverse(folder, ENTRIES_MAX, &mut |step| {
        let Step::Found(found) = step else { return Ok(false) };
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot look through `{}`: {error}", found.path.display()))
        };
        let mut holds = needles.are_in(found.name.to_bytes());
        holds |= match found.kind {
            Kind::Folder | Kind::Special => false,
            Kind::File => needles.are_read_from(found.open().map_err(named)?.0).map_err(named)?,
            Kind::Link => needles.are_in(found.target().map_err(named)?.to_bytes()),
            Kind::TooDeep | Kind::Closed => return Err(named(io::ErrorKind::PermissionDenied.into())),
        };
        if holds && found_in.len() < TOLD {
            found_in.push(found.path.to_owned());
        }
        Ok(true)
    })?;
    Ok(found_in)
}

/// Byte strings that are looked for.
pub(crate) struct Needles<'a> {
    finders: Vec<memmem::Finder<'a>>,
    longest: usize,
}

impl<'a> Needles<'a> {
    pub(crate) fn new(needles: &'a [Vec<u8>]) -> Self {
        let needles = || needles.iter().filter(|needle| !needle.is_empty());
        Self {
            finders: needles().map(memmem::Finder::new).collect(),
            longest: needles().map(Vec::len).max().unwrap_or_default(),
        }
    }

    pub(crate) fn are_in(&self, bytes: &[u8]) -> bool {
        self.finders.iter().any(|finder| finder.find(bytes).is_some())
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
