//! Looking for secrets in what a container has changed beside its mounts.
//!
//! The engine lists the changes and gives the files as one archive, which is read as it comes. So the search sees what
//! [`Container::commit`] would keep, and no program inside has a part in it.

use std::collections::HashSet;
use std::io::{self, Read};

use bollard::models::ChangeType;
use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use super::Container;
use super::error::{ContainerError, step};
use crate::needles::Needles;

/// Changed names.
const CHANGES: usize = 4_000_000;
/// Bytes of changed files.
const BYTES: u64 = 64 << 30;
/// The most paths that are told.
const TOLD: usize = 20;
/// Pieces of the archive on their way.
const PIECES: usize = 16;

impl Container {
    /// The paths of files, folders and links in the container's own changes that hold one of `needles` themselves, or
    /// whose bytes, extended attributes or link target do; at most 20, whole. Work tree, home and `/tmp` are not among
    /// them.
    ///
    /// # Errors
    /// If the engine does not give them, or there is more than can be looked through: nobody knows then what they
    /// hold. As of the paths, whoever shows it is to mask what of a needle or of a terminal's language is in it.
    pub async fn search_root(&self, needles: &[Vec<u8>]) -> Result<Vec<String>, ContainerError> {
        const STEP: &str = "give what the container changed";
        let changes = self.engine.api.container_changes(&self.id).await;
        let changes = changes.map_err(|error| step(STEP, &error))?.unwrap_or_default();
        if changes.len() > CHANGES {
            let reason = format!("there are more than {CHANGES} changes to look through");
            return Err(ContainerError::Step { step: STEP, reason });
        }
        let there = changes.into_iter().filter(|change| change.kind != ChangeType::_2);
        let changed: HashSet<String> = there.map(|change| comparable(&change.path)).collect();
        if changed.is_empty() {
            return Ok(Vec::new());
        }
        let (sender, receiver) = mpsc::channel(PIECES);
        let needles = needles.to_vec();
        let search =
            tokio::task::spawn_blocking(move || search(Pieces::new(receiver), &changed, &needles, BYTES));
        let mut archive = self.engine.api.export_container(&self.id);
        while let Some(piece) = archive.next().await {
            let piece = piece.map_err(|error| step(STEP, &error))?;
            // nobody listens any more once the search has failed, which its result says
            if sender.send(Piece::Bytes(piece)).await.is_err() {
                break;
            }
        }
        let _ = sender.send(Piece::End).await;
        let found = search.await.map_err(io::Error::other)?;
        found.map_err(|error| ContainerError::Step { step: STEP, reason: error.to_string() })
    }
}

fn search(
    archive: impl Read,
    changed: &HashSet<String>,
    needles: &[Vec<u8>],
    most: u64,
) -> io::Result<Vec<String>> {
    let needles = Needles::new(needles);
    let mut found = Vec::new();
    let mut archive = tar::Archive::new(archive);
    let mut left = most;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path_bytes().into_owned();
        let shown = format!("/{}", String::from_utf8_lossy(&path));
        if !changed.contains(&comparable(shown.trim_end_matches('/'))) {
            continue;
        }
        let mut holds = needles.are_in_path(path.strip_suffix(b"/").unwrap_or(&path));
        holds |= are_in_attributes(&needles, &mut entry).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot look through the attributes of `{shown}`: {error}"))
        })?;
        holds |= entry.link_name_bytes().is_some_and(|target| needles.are_in(&target));
        left = left.checked_sub(entry.size()).ok_or_else(|| {
            io::Error::other(format!("there are more than {most} bytes to look through, with `{shown}`"))
        })?;
        holds |= needles.are_read_from(&mut entry)?;
        if holds && found.len() < TOLD {
            found.push(shown);
        }
    }
    Ok(found)
}

/// Whether one is in an extended attribute, where the engine's archives have those: what they have, its images have.
fn are_in_attributes(needles: &Needles, entry: &mut tar::Entry<'_, impl Read>) -> io::Result<bool> {
    let mut holds = false;
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        // path and target are looked through for themselves
        if extension.key_bytes().starts_with(b"SCHILY.xattr.") {
            holds |= needles.are_in(extension.key_bytes()) || needles.are_in(extension.value_bytes());
        }
    }
    Ok(holds)
}

/// A path in the one form that is the same in the engine's list and in its archive: the list has a sign in the place
/// of what is no text, in its own number.
fn comparable(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != char::REPLACEMENT_CHARACTER || !out.ends_with(c) {
            out.push(c);
        }
    }
    out
}

enum Piece {
    Bytes(Bytes),
    /// All of it came. Without this word, the engine or the host gave up.
    End,
}

/// The archive as it comes.
struct Pieces {
    receiver: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

impl Pieces {
    fn new(receiver: mpsc::Receiver<Piece>) -> Self {
        Self { receiver, current: Bytes::new(), ended: false }
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.current = bytes,
                Some(Piece::End) => self.ended = true,
                None => return Err(io::Error::other("the archive of the container ends in the middle")),
            }
        }
        let count = into.len().min(self.current.len());
        self.current.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            let path =
                std::path::Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path));
            builder.append_data(&mut header, path, *text).expect("it is memory");
        }
        builder.into_inner().expect("it is memory")
    }

    fn changed(paths: &[&str]) -> HashSet<String> {
        paths.iter().map(|path| comparable(path)).collect()
    }

    #[test]
    fn only_changed_files_are_looked_through_whatever_bytes_their_names_have() {
        let needles = [b"needle".to_vec()];
        // what is cut off in the middle of a character is one sign to us and two to the engine
        let archive = archive(&[(b"old", b"needle"), (b"new", b"a needle"), (b"odd-\xe2\x82x", b"needle")]);
        let changed = changed(&["/new", "/odd-\u{fffd}\u{fffd}x", "/gone"]);
        let found = search(archive.as_slice(), &changed, &needles, 1000).expect("it is whole");
        assert_eq!(found, ["/new", "/odd-\u{fffd}x"]);
        let cut = &archive[..archive.len() - 1500];
        assert!(search(cut, &changed, &needles, 1000).is_err(), "nobody knows what is missing");
        assert!(search(archive.as_slice(), &changed, &needles, 10).is_err(), "nor what is too much");
    }

    #[test]
    fn a_path_is_told_whole_for_whoever_has_to_mask_it() {
        let path = format!("{}/a\u{1b}[1m\nneedle", "x".repeat(490));
        let archive = archive(&[(path.as_bytes(), b"hay")]);
        let path = format!("/{path}");
        let found = search(archive.as_slice(), &changed(&[&path]), &[b"needle".to_vec()], 1000);
        assert_eq!(found.expect("it is whole"), [path]);
    }

    #[test]
    fn needles_are_found_in_attributes_and_across_the_names_of_a_path() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |path: &str, attributes: &[(&str, &[u8])]| {
            builder.append_pax_extensions(attributes.iter().copied()).expect("it is memory");
            let mut header = tar::Header::new_gnu();
            header.set_size(3);
            builder.append_data(&mut header, path, &b"hay"[..]).expect("it is memory");
        };
        add("value", &[("SCHILY.xattr.user.a", b"hay"), ("SCHILY.xattr.user.b", b"\xffa nee/dle\0")]);
        add("name", &[("SCHILY.xattr.user.nee/dle", b"hay")]);
        add("hay", &[("SCHILY.xattr.user.a", b"nee"), ("mtime", b"1.5")]);
        add("opt/nee/dle.d/file", &[]);
        let whole = builder.into_inner().expect("it is memory");
        let paths = ["/value", "/name", "/hay", "/opt/nee/dle.d/file"];
        let needles = [b"nee/dle".to_vec()];
        let found = search(whole.as_slice(), &changed(&paths), &needles, 1000).expect("it is whole");
        assert_eq!(found, ["/value", "/name"], "what is around is told for itself");
        let needles = [b"dle.d/file".to_vec()];
        let found = search(whole.as_slice(), &changed(&paths), &needles, 1000).expect("it is whole");
        assert_eq!(found, ["/opt/nee/dle.d/file"]);
        let mut torn = tar::Builder::new(Vec::new());
        torn.append_pax_extensions([("SCHILY.xattr.user.a", &b"two\nlines"[..])]).expect("it is memory");
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        torn.append_data(&mut header, "torn", &b""[..]).expect("it is memory");
        let torn = torn.into_inner().expect("it is memory");
        let error = search(torn.as_slice(), &changed(&["/torn"]), &needles, 1000).expect_err("nobody knows");
        assert!(error.to_string().contains("attributes of `/torn`"), "{error}");
    }

    #[test]
    fn an_archive_that_ends_without_its_last_word_is_no_archive() {
        let (sender, receiver) = mpsc::channel(1);
        drop(sender);
        assert!(Pieces::new(receiver).read(&mut [0; 8]).is_err());
    }
}
