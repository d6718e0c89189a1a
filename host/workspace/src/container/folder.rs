//! What a container is shown of ours, read-only, at `/.sortie`: init, the filter of system calls, certificates,
//! the socket that init calls on, and nothing to cover things with.

#![expect(clippy::disallowed_methods, reason = "makes what a container sees of the host's")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::sandbox::{Limits, Owner, groups, users};

/// Where it is inside.
pub(super) const INSIDE: &str = "/.sortie";

pub(super) const INIT: &str = "init";
const CONTROL: &str = "control";
const FILTER: &str = "filter";
const CERTIFICATES: &str = "certificates.pem";
const USERS: &str = "passwd";
const GROUPS: &str = "group";
const NO_FILE: &str = "no-file";
const NO_FOLDER: &str = "no-folder";

/// The folder on the host. Removed when dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    certificates: bool,
}

impl Folder {
    /// Makes it, with a listener in it that takes no connection yet.
    pub(super) fn make(
        path: &Path,
        init: &[u8],
        filter: &[u8],
        certificates: Option<&Path>,
        user: Owner,
    ) -> io::Result<(Self, OwnedFd)> {
        // of an earlier container of the same workspace, which has ended
        remove(path)?;
        std::fs::DirBuilder::new().mode(0o755).create(path)?;
        let folder = Self { path: path.to_owned(), certificates: certificates.is_some() };
        folder.write(INIT, init, 0o755)?;
        folder.write(FILTER, filter, 0o644)?;
        folder.write(NO_FILE, b"", 0o000)?;
        std::fs::DirBuilder::new().mode(0o000).create(path.join(NO_FOLDER))?;
        folder.write(USERS, users(user).as_bytes(), 0o644)?;
        folder.write(GROUPS, groups(user).as_bytes(), 0o644)?;
        if let Some(certificates) = certificates {
            folder.write(CERTIFICATES, &std::fs::read(certificates)?, 0o644)?;
        }
        let listener = folder.listen()?;
        Ok((folder, listener))
    }

    fn write(&self, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        let path = self.path.join(name);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        io::Write::write_all(&mut file, bytes)?;
        // past the umask
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        if name == INIT { sortie_lock::close_program(file, &path) } else { Ok(()) }
    }

    fn listen(&self) -> io::Result<OwnedFd> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        // an address has 108 bytes, and a path may have more
        let folder =
            rustix::fs::open(&self.path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let short = format!("/proc/self/fd/{}/{CONTROL}", folder.as_raw_fd());
        rustix::net::bind(&socket, &SocketAddrUnix::new(short)?)?;
        // the box's user is another one than ours; who may come here at all is the folders' above to say
        std::fs::set_permissions(self.path.join(CONTROL), std::fs::Permissions::from_mode(0o666))?;
        rustix::net::listen(&socket, 1)?;
        Ok(socket)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What covers a file, or a folder.
    pub(super) fn cover(&self, folder: bool) -> PathBuf {
        self.path.join(if folder { NO_FOLDER } else { NO_FILE })
    }

    /// The names of users, and of groups: commands want one for whoever they are.
    pub(super) fn users(&self) -> PathBuf {
        self.path.join(USERS)
    }

    pub(super) fn groups(&self) -> PathBuf {
        self.path.join(GROUPS)
    }

    /// Takes the socket's path away, once the call on it has come.
    pub(super) fn no_more_calls(&self) {
        // nobody listens any more, so that it is of no use to anybody either way
        let _ = std::fs::remove_file(self.path.join(CONTROL));
    }

    /// Where the certificates are inside.
    pub(super) fn certificates(&self) -> Option<String> {
        self.certificates.then(|| format!("{INSIDE}/{CERTIFICATES}"))
    }

    /// Process 1, with its arguments.
    pub(super) fn process_1(limits: &Limits) -> Vec<String> {
        let arguments = [
            ("--dial", format!("{INSIDE}/{CONTROL}")),
            ("--filter", format!("{INSIDE}/{FILTER}")),
            // not by the engine: it cannot set more than it has itself, and fails then
            ("--open-files", limits.open_files.to_string()),
            ("--file-size", limits.file.to_string()),
            ("--core-size", "0".to_owned()),
        ];
        let arguments = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        std::iter::once(format!("{INSIDE}/{INIT}")).chain(arguments).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // what is left is found and removed at the next start
        let _ = remove(&self.path);
    }
}

fn remove(path: &Path) -> io::Result<()> {
    // one that nobody may look into cannot be emptied either
    let _ = std::fs::set_permissions(path.join(NO_FOLDER), std::fs::Permissions::from_mode(0o700));
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
