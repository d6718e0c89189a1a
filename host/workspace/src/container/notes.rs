//! Notes beside the folder that a container sees of ours, for whoever clears up after a host that was killed.
//!
//! Both are files, written before what they tell of, and removed once it is over for certain:
//!
//! - `-made`: the engine may have containers of this task;
//! - `-root`: commands are root in work tree and home, which nobody touches before they are given back. It names the
//!   image of those commands.

#![expect(clippy::disallowed_methods, reason = "the notes are files of ours beside the folders")]

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an engine may take to make a container that its host asked for as it was killed. Until then none may be
/// listed, and there may be one a moment later.
const SETTLED: Duration = Duration::from_secs(30);

/// Bytes of a note; an image's name has 512 at most.
const NOTE: u64 = 1024;

/// The notes of containers with one folder of ours.
#[derive(Debug)]
pub(super) struct Notes<'a>(&'a Path);

impl<'a> Notes<'a> {
    pub(super) fn beside(folder: &'a Path) -> Self {
        Self(folder)
    }

    /// Writes down that the engine is about to be asked for a container.
    pub(super) fn make(&self) -> io::Result<()> {
        std::fs::write(self.made(), "")
    }

    /// Whether the engine may have containers of a host that was killed.
    pub(super) fn is_made(&self) -> bool {
        self.made().exists()
    }

    /// Whether each container that a host asked for before it was killed is there by now.
    pub(super) fn is_settled(&self) -> bool {
        let written = self.made().metadata().and_then(|note| note.modified());
        // a clock that went back shall not keep it for ever
        written.is_ok_and(|at| at.elapsed().map_or(true, |age| age >= SETTLED))
    }

    /// Notes that the engine has none any more.
    pub(super) fn unmake(&self) -> io::Result<()> {
        gone(std::fs::remove_file(self.made()))
    }

    /// Writes down that commands are about to be root.
    pub(super) fn become_root(&self, image: &str) -> io::Result<()> {
        std::fs::write(self.root(), image)
    }

    /// The image of commands that are, or were, root; none if none were.
    pub(super) fn root_image(&self) -> io::Result<Option<String>> {
        let note = match File::open(self.root()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut image = String::new();
        note.take(NOTE).read_to_string(&mut image)?;
        Ok(Some(image))
    }

    /// Whether commands are, or were, root.
    pub(super) fn is_root(&self) -> bool {
        // one that cannot be looked at is there
        !matches!(self.root().try_exists(), Ok(false))
    }

    /// Notes that the folders are their owner's again, or gone.
    pub(super) fn give_up_root(&self) -> io::Result<()> {
        gone(std::fs::remove_file(self.root()))
    }

    fn made(&self) -> PathBuf {
        beside(self.0, "-made")
    }

    fn root(&self) -> PathBuf {
        beside(self.0, "-root")
    }
}

pub(super) fn beside(folder: &Path, ending: &str) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn what_a_killed_host_asked_for_may_still_come_for_a_while() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("container");
        let notes = Notes::beside(&folder);
        assert!(!notes.is_made() && !notes.is_root());
        notes.make().expect("is written");
        assert!(notes.is_made() && !notes.is_settled());
        let written = |at: SystemTime| {
            let note = File::options().write(true).open(notes.made()).expect("opens");
            note.set_modified(at).expect("is set");
        };
        written(SystemTime::now() - SETTLED);
        assert!(notes.is_settled());
        written(SystemTime::now() + 10 * SETTLED);
        assert!(notes.is_settled(), "a clock that went back");
        notes.unmake().expect("is removed");
        notes.unmake().expect("a second time has nothing to do");
        assert!(!notes.is_made());
    }
}
