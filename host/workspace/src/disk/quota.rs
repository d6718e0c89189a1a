//! Quotas of the file system: what a workspace may fill of the disk, kept by the kernel to the byte.
//!
//! ext4 and XFS count the files of a *project*, which a folder passes on to all that is made in it. A workspace's
//! folders get a project of their own while they are empty, and the project a limit: whoever passes it gets
//! "No space left on device" or "Disk quota exceeded". That takes a file system with `prjquota`, and root.
//!
//! Projects are numbers that nobody hands out. Ours are from a range that nobody else is likely to use; one is taken
//! that has no files and no limit, and that no administrator named. The folders join it first, then its files are
//! counted: two hosts that take the same number at once both see more than their own, and take others. Only then it is
//! limited. So a project with a limit and without files is nobody's any more, and [`Quota::sweep`] can tell that
//! without asking whose it was.

mod kernel;

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use sortie_policy::ports::{CommandLimit, LimitReached};

use super::limit;
use super::usage::LEAST;
use kernel::Usage;

/// The numbers of our projects.
const OURS: RangeInclusive<u32> = 0x534f_0000..=0x534f_ffff;

/// How many numbers are tried.
const TRIES: u32 = 16;

/// Where administrators name projects: `name:number`, and `number:folder`.
const NAMED: [&str; 2] = ["/etc/projid", "/etc/projects"];

/// A project's limit is reached if less than this is left of it: what is refused may be larger than what would fit.
const NEAR: u64 = 1 << 20;

/// The quota of a workspace's folders. It goes with the folders, not with this value.
#[derive(Debug)]
pub struct Quota {
    folder: File,
    project: u32,
    bytes: u64,
}

impl Quota {
    /// Whether folders on the file system of this one can have quotas, and this process may set them.
    pub fn is_possible(folder: &Path) -> bool {
        File::open(folder).is_ok_and(|folder| is_possible(&folder))
    }

    /// Limits what folders can hold together, which must be empty, on one file system, and nobody's to write yet.
    /// None where that is not possible.
    ///
    /// # Errors
    /// If it should be possible and fails; the folders are then as they were.
    pub fn give(folders: &[PathBuf], bytes: u64) -> io::Result<Option<Self>> {
        let opened = folders.iter().map(File::open).collect::<io::Result<Vec<_>>>()?;
        let Some(first) = opened.first().filter(|first| is_possible(first)) else { return Ok(None) };
        let given = claim(&opened, &mut random).and_then(|project| {
            let folder = first.try_clone()?;
            kernel::limit(folder.as_fd(), project, bytes, files(bytes))?;
            Ok(Self { folder, project, bytes })
        });
        if given.is_err() {
            leave(&opened);
        }
        given.map(Some)
    }

    /// That of folders that have one, limited to so much from now on; none if they have none in common.
    pub fn of(folders: &[PathBuf], bytes: u64) -> Option<Self> {
        let project = project_of(folders.first()?)?;
        if folders.iter().any(|folder| project_of(folder) != Some(project)) {
            return None;
        }
        let folder = File::open(folders.first()?).ok().filter(is_possible)?;
        kernel::limit(folder.as_fd(), project, bytes, files(bytes)).ok()?;
        Some(Self { folder, project, bytes })
    }

    /// The limit, if it is reached: next to nothing can be written any more.
    pub fn reached(&self) -> Option<LimitReached> {
        let used = kernel::usage(self.folder.as_fd(), self.project).ok()?;
        let near = NEAR.min(self.bytes / 16);
        let is_full = used.bytes.saturating_add(near) >= self.bytes || used.files >= files(self.bytes);
        is_full.then(|| limit(CommandLimit::Disk, self.bytes))
    }

    /// Gives back the projects of folders that are gone, on the file system of this folder; returns how many.
    pub fn sweep(folder: &Path) -> usize {
        let Some(folder) = File::open(folder).ok().filter(is_possible) else { return 0 };
        let mut given_back = 0;
        let mut from = *OURS.start();
        while let Ok(Some(found)) = kernel::next(folder.as_fd(), from) {
            if !OURS.contains(&found.project) {
                break;
            }
            if found.files == 0 && found.most_bytes > 0 {
                given_back += usize::from(kernel::limit(folder.as_fd(), found.project, 0, 0).is_ok());
            }
            from = found.project + 1;
        }
        given_back
    }
}

/// Whether what is made in a folder counts for one of our projects.
pub(super) fn is_ours(folder: &Path) -> bool {
    project_of(folder).is_some()
}

fn project_of(folder: &Path) -> Option<u32> {
    let folder = File::open(folder).ok()?;
    kernel::project(folder.as_fd()).ok()?.filter(|project| OURS.contains(project))
}

/// Reading a quota takes the same rights as setting it.
fn is_possible(folder: &File) -> bool {
    kernel::is_enforced(folder.as_fd()) && kernel::usage(folder.as_fd(), *OURS.start()).is_ok()
}

/// Files that may be there, for so many bytes.
fn files(bytes: u64) -> u64 {
    (bytes / LEAST).max(1)
}

/// Has the folders join a project that nobody has, of the numbers that `next` draws.
fn claim(folders: &[File], next: &mut dyn FnMut() -> io::Result<u32>) -> io::Result<u32> {
    let named = NAMED.map(|path| std::fs::read_to_string(path).unwrap_or_default()).concat();
    let first = folders.first().ok_or(io::ErrorKind::InvalidInput)?;
    for _ in 0..TRIES {
        let project = next()?;
        let used = kernel::usage(first.as_fd(), project)?;
        if used != (Usage { project, ..Usage::default() }) || is_named(&named, project) {
            continue;
        }
        for folder in folders {
            kernel::set_project(folder.as_fd(), Some(project))?;
        }
        let used = kernel::usage(first.as_fd(), project)?;
        if used.most_bytes == 0 && usize::try_from(used.files) == Ok(folders.len()) {
            return Ok(project);
        }
        leave(folders);
    }
    Err(io::Error::other("no project's number is free"))
}

/// Has the folders belong to no project.
fn leave(folders: &[File]) {
    for folder in folders {
        if let Err(error) = kernel::set_project(folder.as_fd(), None) {
            tracing::warn!(%error, "a folder stays in a project that it should not be in");
        }
    }
}

fn random() -> io::Result<u32> {
    let mut low = [0; 2];
    getrandom::fill(&mut low).map_err(io::Error::other)?;
    Ok(OURS.start() + u32::from(u16::from_ne_bytes(low)))
}

fn is_named(named: &str, project: u32) -> bool {
    let number = project.to_string();
    named.lines().any(|line| line.split(':').any(|part| part.trim() == number))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "makes and mounts a file system of its own")]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    fn run(program: &str, arguments: &[&str]) -> bool {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    }

    /// An ext4 with quotas, if there can be one here.
    fn mounted() -> Option<(tempfile::TempDir, PathBuf)> {
        let ground = tempfile::tempdir().expect("a folder");
        let (image, at) = (ground.path().join("image"), ground.path().join("at"));
        fs::create_dir(&at).expect("is made");
        File::create(&image).and_then(|file| file.set_len(64 << 20)).expect("is made");
        let [image, place] = [&image, &at].map(|path| path.to_str().expect("plain"));
        let made = run("mkfs.ext4", &["-q", "-O", "project,quota", "-E", "quotatype=prjquota", image])
            && run("mount", &["-o", "loop,prjquota", image, place]);
        made.then_some((ground, at))
    }

    #[test]
    fn a_number_that_is_in_use_or_limited_is_passed_over() {
        let Some((_ground, at)) = mounted() else {
            eprintln!("skipped: no file system with quotas can be mounted");
            return;
        };
        let folder = |name: &str| {
            fs::create_dir(at.join(name)).expect("is made");
            File::open(at.join(name)).expect("opens")
        };
        let (theirs, ours) = (folder("theirs"), folder("ours"));
        let [used, limited, free] = [0x534f_0001, 0x534f_0002, 0x534f_0003];
        kernel::set_project(theirs.as_fd(), Some(used)).expect("joins");
        kernel::limit(theirs.as_fd(), limited, 1 << 20, 0).expect("is limited");
        let mut numbers = [used, limited, free].into_iter();
        let claimed = claim(&[ours], &mut || numbers.next().ok_or(io::ErrorKind::NotFound.into()));
        assert_eq!(claimed.expect("one is free"), free);
        assert_eq!(kernel::usage(theirs.as_fd(), used).expect("is read").files, 1, "theirs alone");
        drop(theirs);
        assert!(run("umount", &["--lazy", at.to_str().expect("plain")]));
    }

    #[test]
    fn a_number_that_an_administrator_named_is_left_alone() {
        let named = "# projects\nweb:1397686273\n1397686274:/srv\n";
        assert!(is_named(named, 1_397_686_273) && is_named(named, 1_397_686_274));
        assert!(!is_named(named, 139_768_627) && !is_named("", 0x534f_0001));
    }

    #[test]
    fn numbers_are_taken_from_our_range_alone() {
        assert!((0..1000).all(|_| OURS.contains(&random().expect("the kernel has some"))));
    }
}
