//! Landlock, where the kernel has it: the mounts' rules once more, kept by another part of the kernel.

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope, path_beneath_rules,
};

use super::environment::{HOME, WORKSPACE};
use super::error::Failure;

/// What we know and ask for; an older kernel applies what it knows.
const ASKED: ABI = ABI::V6;

/// Folders that commands write to. Which of these may be written is the mounts' business.
const WRITABLE: [&str; 6] = [WORKSPACE, HOME, "/tmp", "/run", "/dev", "/proc"];

/// Restricts this process for good. Returns the version that applies; none if the kernel has no Landlock.
pub(super) fn restrict() -> Result<Option<u32>, Failure> {
    let failed = |error: landlock::RulesetError| Failure {
        step: format!("restrict itself with Landlock ({error})"),
        errno: 0,
    };
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ASKED))
        .map_err(failed)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)
        .map_err(failed)?
        .create()
        .map_err(failed)?
        .add_rules(path_beneath_rules(["/"], AccessFs::from_read(ASKED)))
        .map_err(failed)?
        .add_rules(path_beneath_rules(WRITABLE, AccessFs::from_all(ASKED)))
        .map_err(failed)?;
    let status = ruleset.restrict_self().map_err(failed)?;
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => Some(effective_abi as u32),
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{self, ErrorKind};
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

    use rustix::process::{getppid, test_kill_process};

    use super::*;

    /// In a workspace, mounts and namespaces keep the same things out. So it is asked where there are none: it holds for
    /// the thread that restricts itself, and for no other.
    #[test]
    fn nothing_but_the_folders_of_commands_is_written_and_nobody_outside_is_reached() {
        let tried = std::thread::spawn(|| {
            // opened to be written, and left as it is
            let write = |path: &str| File::options().write(true).open(path).map(drop);
            if write("/etc/passwd").is_err() {
                return eprintln!("skipped: whoever runs this may not write there anyway");
            }
            let name = format!("sortie-landlock-{}", std::process::id());
            let name = SocketAddr::from_abstract_name(name).expect("it is short");
            let listener = UnixListener::bind_addr(&name).expect("nobody else has the name");
            let connect = || UnixStream::connect_addr(&name).map(drop);
            let parent = getppid().expect("the tests were started by somebody");
            let signal = || test_kill_process(parent).map_err(io::Error::from);
            connect().expect("control: nothing is restricted yet");
            signal().expect("control: nothing is restricted yet");
            let Some(version) = restrict().expect("it can be") else {
                return eprintln!("skipped: this kernel has no Landlock");
            };
            let refused =
                |tried: io::Result<()>| tried.is_err_and(|e| e.kind() == ErrorKind::PermissionDenied);
            assert!(refused(write("/etc/passwd")), "it is none of the commands' files");
            File::open("/etc/passwd").expect("it may be read");
            write("/dev/null").expect("it may be written");
            // what older kernels do not know
            if version >= 6 {
                assert!(refused(connect()) && refused(signal()), "nobody outside is reached");
            }
            drop(listener);
        });
        tried.join().expect("it holds");
    }
}
