//! Starting a program as the leader of a session of its own.
//!
//! The kernel may share processors out by session, and who is in one may say how much it gets
//! (`/proc/self/autogroup`): process 1 and the keepers are in another than any command. And who leads a session leaves
//! neither it nor its group, so that the end of the group is always the end of the command.
//!
//! The standard library can start a session only in a forked copy of this process, which costs an exec a sixth of its
//! time. `posix_spawn` does it without.

#![expect(unsafe_code, reason = "the standard library has no stable way to start a session without a fork")]

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use rustix::process::Pid;

/// What the child does on its way: no signal is blocked, SIGPIPE (which the standard library ignores for us) ends it as it
/// ends everybody, and it leads a session.
const FLAGS: i32 = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF | SETSID;
const SETSID: i32 = libc::POSIX_SPAWN_SETSID as i32;

/// Starts a program with these as its input, output and error, in our working directory.
pub(super) fn spawn(
    program: &Path,
    argv: &[OsString],
    env: &[(OsString, OsString)],
    streams: &[OwnedFd; 3],
) -> io::Result<Pid> {
    let program = CString::new(program.as_os_str().as_bytes())?;
    let argv: Vec<CString> =
        argv.iter().map(|word| CString::new(word.as_bytes())).collect::<Result<_, _>>()?;
    let env: Vec<CString> = unique(env)
        .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<Result<_, _>>()?;
    let (argv, env) = (pointers(&argv), pointers(&env));
    let (actions, attributes) = (Actions::new(streams)?, Attributes::new()?);
    let mut pid = 0;
    // SAFETY: actions and attributes were initialised by `new`; program, arguments and environment are strings with
    // their NUL, the two lists end with a null pointer, and all of them outlive the call, which keeps none.
    let status = unsafe {
        let (actions, attributes) = (actions.0.as_ptr(), attributes.0.as_ptr());
        libc::posix_spawn(&raw mut pid, program.as_ptr(), actions, attributes, argv.as_ptr(), env.as_ptr())
    };
    check(status)?;
    Ok(Pid::from_raw(pid).expect("a child has a process id"))
}

/// Each name once, with the value that comes last.
fn unique(env: &[(OsString, OsString)]) -> impl Iterator<Item = (&OsStr, &OsStr)> {
    let last: std::collections::BTreeMap<&OsStr, &OsStr> =
        env.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str())).collect();
    last.into_iter()
}

/// As C has a list of strings. They must outlive it.
fn pointers(strings: &[CString]) -> Vec<*mut libc::c_char> {
    strings.iter().map(|string| string.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
}

/// The calls tell of a failure by returning its number.
fn check(status: libc::c_int) -> io::Result<()> {
    if status == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(status)) }
}

/// Has the child take up its streams.
struct Actions(MaybeUninit<libc::posix_spawn_file_actions_t>);

impl Actions {
    fn new(streams: &[OwnedFd; 3]) -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: it is given room of this size, and fills it in.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        let mut actions = Self(actions);
        for (stream, number) in streams.iter().zip(0..) {
            // SAFETY: it was initialised above; the descriptors are numbers, and open until the child is there.
            check(unsafe {
                libc::posix_spawn_file_actions_adddup2(actions.0.as_mut_ptr(), stream.as_raw_fd(), number)
            })?;
        }
        Ok(actions)
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: who made this has initialised it, and nobody uses it after.
        unsafe { libc::posix_spawn_file_actions_destroy(self.0.as_mut_ptr()) };
    }
}

struct Attributes(MaybeUninit<libc::posix_spawnattr_t>);

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: it is given room of this size, and fills it in.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        let mut attributes = Self(attributes);
        let own = attributes.0.as_mut_ptr();
        let flags = libc::c_short::try_from(FLAGS).expect("they are small");
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `own` was initialised above, and `sigemptyset` fills the set in before anything reads it.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            check(libc::posix_spawnattr_setsigmask(own, set.as_ptr()))?;
            libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE);
            check(libc::posix_spawnattr_setsigdefault(own, set.as_ptr()))?;
            check(libc::posix_spawnattr_setflags(own, flags))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: who made this has initialised it, and nobody uses it after.
        unsafe { libc::posix_spawnattr_destroy(self.0.as_mut_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use rustix::process::{WaitOptions, waitpid};

    use super::*;

    /// What a shell says, as the leader of a session, and its number.
    fn say(script: &str, env: &[(OsString, OsString)]) -> (String, i32) {
        let (mut reader, writer) = io::pipe().expect("pipes can be made");
        let writer = OwnedFd::from(writer);
        let nothing = std::fs::File::open("/dev/null").expect("it is there").into();
        let streams = [nothing, writer.try_clone().expect("copied"), writer];
        let argv = ["a shell", "-c", script].map(OsString::from);
        let pid = spawn("/bin/sh".as_ref(), &argv, env, &streams).expect("it starts");
        drop(streams);
        let mut said = String::new();
        reader.read_to_string(&mut said).expect("letters");
        let (_, status) = waitpid(Some(pid), WaitOptions::empty()).expect("it is ours").expect("it ended");
        assert_eq!(status.exit_status(), Some(0), "{said}");
        (said, pid.as_raw_pid())
    }

    #[test]
    fn a_command_leads_a_session_and_has_its_words_its_streams_and_its_variables_alone() {
        let env = [("A", "1"), ("B", "=2 3"), ("A", "4")].map(|(name, value)| (name.into(), value.into()));
        // its group and its session; streams; what a shell adds is not what it was given
        let script = "echo $0 $A $B; cut -d' ' -f5,6 /proc/$$/stat; cat; echo error >&2
            tr '\\0' '\\n' </proc/$$/environ; ls /proc/$$/fd | grep -c '^[0-2]$'";
        let (said, own) = say(script, &env);
        assert_eq!(said, format!("a shell 4 =2 3\n{own} {own}\nerror\nA=4\nB==2 3\n3\n"));
    }

    #[test]
    fn no_signal_is_blocked_and_a_closed_pipe_ends_a_command() {
        let (masks, _) =
            say("grep -E '^Sig(Blk|Ign)' /proc/self/status", &[("PATH".into(), "/usr/bin:/bin".into())]);
        let mask = |name: &str| {
            let line = masks.lines().find_map(|line| line.strip_prefix(name)).expect("it is there");
            u64::from_str_radix(line.trim(), 16).expect("a mask")
        };
        // whoever started the tests may have others ignored
        assert_eq!((mask("SigBlk:"), mask("SigIgn:") & 1 << (libc::SIGPIPE - 1)), (0, 0), "{masks}");
    }

    #[test]
    fn what_cannot_be_run_or_is_no_string_is_said() {
        let nothing = || OwnedFd::from(std::fs::File::open("/dev/null").expect("it is there"));
        let streams = [nothing(), nothing(), nothing()];
        let error = |program: &str, argv: &str| {
            let argv = [OsString::from(argv)];
            spawn(program.as_ref(), &argv, &[], &streams).expect_err("it does not run").raw_os_error()
        };
        assert_eq!(error("/no/such/program", "x"), Some(libc::ENOENT));
        assert_eq!(error("/etc/passwd", "x"), Some(libc::EACCES));
        assert_eq!(error("/bin/sh", "a\0b"), None);
    }
}
