//! The helper: our own binary, run again with one thread, on its way to become init.

#![expect(clippy::disallowed_methods, reason = "runs inside, before the first command")]

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::{Pid, WaitOptions, geteuid, waitpid};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use sortie_init::descriptors;

use super::environment::WORKSPACE;
use super::error::{FORK, Failure, Step, UNSHARE};
use super::mounts::{self, Sources};
use super::plan::{HELPER_ARGUMENT, MAX_REPORT, Plan, Report};
use super::{confine, identity, landlock, seccomp, seeds};

/// Becomes the sandbox's helper, and never returns, if the first argument asks for it.
///
/// The first thing that `main` must call: it forks and makes namespaces, for which there must be one thread.
pub fn helper_main_if_requested() {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == HELPER_ARGUMENT) {
        let Err(failure) = help();
        report(&Report::Failed(failure));
        std::process::exit(1);
    }
}

/// A type without values: what never returns, returns this.
enum Never {}

fn help() -> Result<Never, Failure> {
    // A session of our own: no terminal of the user's can be reached from inside.
    rustix::process::setsid().step("lead a session")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    close_inherited()?;
    let (plan, init) = receive()?;
    let mut sources = None;
    if geteuid().is_root() {
        // Only root reaches what lies below its own folders, so before it becomes somebody else.
        sources = Some(Sources::take(&plan)?);
        identity::drop_root(plan.owner)?;
    }
    unshare()?;
    identity::map(plan.owner)?;
    if let Some(inside) = fork()? {
        wait_for(inside);
    }
    mounts::make_private()?;
    let sources = match sources {
        Some(sources) => sources,
        // A namespace's owner can copy its own mounts alone: after the unshare, then.
        None => Sources::take(&plan)?,
    };
    let unprotected = mounts::build(&plan, sources, &init)?;
    confine::rename_host()?;
    confine::raise_loopback()?;
    confine::limit(&plan.limits, plan.bound_memory)?;
    confine::give_up_privileges()?;
    seeds::plant(&plan.seeds);
    let landlock = landlock::restrict()?;
    seccomp::restrict()?;
    report(&Report::Done { unprotected, landlock });
    become_init(&plan)
}

fn close_inherited() -> Result<(), Failure> {
    #[expect(unsafe_code, reason = "neither std nor rustix closes ranges")]
    // SAFETY: nothing in this process has opened a descriptor yet; what is above 2 was left open by a parent.
    let status = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    if status == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }.step("close what it inherited")
}

/// The plan and init's bytes, each in a file that came over the control socket.
fn receive() -> Result<(Plan, Vec<u8>), Failure> {
    let (_, files) = descriptors::receive(rustix::stdio::stdin(), &mut [0]).step("receive its plan")?;
    let [plan, init] = <[OwnedFd; 2]>::try_from(files)
        .map_err(|_| Failure { step: "receive its plan".to_owned(), errno: libc::EBADF })?;
    let plan = read(plan).step("read its plan")?;
    let plan = serde_json::from_slice(&plan)
        .map_err(|error| Failure { step: format!("understand its plan ({error})"), errno: 0 })?;
    Ok((plan, read(init).step("read init")?))
}

fn read(file: OwnedFd) -> std::io::Result<Vec<u8>> {
    let mut file = File::from(file);
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unshare() -> Result<(), Failure> {
    let flags = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWCGROUP;
    #[expect(unsafe_code, reason = "unshare can split descriptor tables between threads")]
    // SAFETY: the descriptor table is not among the flags, and there is one thread.
    let result = unsafe { unshare_unsafe(flags) };
    result.step(UNSHARE)
}

/// Forks; none in the child, which is process 1 of the new namespace.
fn fork() -> Result<Option<Pid>, Failure> {
    #[expect(unsafe_code, reason = "a process namespace begins with a fork")]
    // SAFETY: there is one thread, so the child is a whole copy with no lock held by another.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(std::io::Error::last_os_error()).step(FORK);
    }
    Ok(Pid::from_raw(pid))
}

/// The helper's second life: carries the end of process 1 to the host.
fn wait_for(inside: Pid) -> ! {
    // Only the control socket's two ends may hold it open, or its end would go unnoticed; and the host reads our
    // standard error to its end.
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
    let status = rustix::io::retry_on_intr(|| waitpid(Some(inside), WaitOptions::empty()));
    let code = status.ok().flatten().and_then(|(_, status)| status.exit_status());
    std::process::exit(code.unwrap_or(1))
}

fn become_init(plan: &Plan) -> Result<Never, Failure> {
    #[expect(clippy::disallowed_methods, reason = "the helper becomes init, inside of the sandbox")]
    let mut init = Command::new(mounts::INIT);
    init.arg0("sortie-init").env_clear().current_dir(WORKSPACE);
    if plan.bound_memory {
        init.arg("--memory").arg(plan.limits.memory.to_string());
    }
    Err(init.exec()).step("become init")
}

/// Tells the host. If the host is gone, nobody needs to know.
fn report(report: &Report) {
    let mut bytes = serde_json::to_vec(report).unwrap_or_default();
    if let (true, Report::Done { landlock, .. }) = (bytes.len() > MAX_REPORT, report) {
        let short = Report::Done { unprotected: Vec::new(), landlock: *landlock };
        bytes = serde_json::to_vec(&short).unwrap_or_default();
    }
    let _ = descriptors::send(rustix::stdio::stdin(), &bytes, &[]);
}
