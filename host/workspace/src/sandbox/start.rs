//! Starting: checks, cgroups, the helper, its report, and init's first word.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::MemfdFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use sortie_init::descriptors;
use sortie_init::protocol::READY;

use super::cgroup::{Cgroup, Cgroups};
use super::life::Life;
use super::limits::{Enforced, Keeper};
use super::plan::{HELPER_ARGUMENT, MAX_REPORT, Plan, Report};
use super::{Sandbox, SandboxConfig, SandboxError, environment, layout};
use crate::client::Client;
use crate::counters::Counters;

/// Starting takes milliseconds; on a machine that takes this long something hangs.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn start(config: SandboxConfig) -> Result<Sandbox, SandboxError> {
    let environment = environment::variables(&config);
    let cgroup = Cgroup::create(&config.limits);
    let enforced = enforced(&config, cgroup.as_ref().map_err(String::as_str))?;
    let cgroup = cgroup.ok();
    let plan = layout::plan(&config, cgroup.is_none())?;
    let (control, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(io::Error::from)?;
    rustix::io::ioctl_fionbio(&control, true).map_err(io::Error::from)?;
    let by_init = || Arc::new(Counters::of_init(config.limits.memory, config.limits.processes));
    let counters = cgroup.as_ref().map_or_else(by_init, Cgroup::counters);
    let life = Life::new(spawn(&config, theirs)?, cgroup);
    // Before the plan goes out, for which the helper waits: nothing is started outside of the cgroup.
    let limited = life.limit();
    let mut life = Guard(Some(life));
    limited?;
    send_plan(&control, &plan, &config.init)?;
    let client = Client::new(control)?;
    let heard = tokio::time::timeout(TIMEOUT, hear(&client)).await;
    let hangs = heard.is_err();
    match heard.unwrap_or_else(|_| Err(SandboxError::Io(io::ErrorKind::TimedOut.into()))) {
        Ok((unprotected, landlock)) => Ok(Sandbox {
            client,
            life: Mutex::new(life.0.take()),
            enforced: Enforced { landlock, ..enforced },
            counters,
            unprotected,
            environment,
        }),
        Err(error) => {
            client.hang_up();
            let mut life = life.0.take().expect("it was put there above");
            if hangs {
                life.kill();
            }
            let words = tokio::task::spawn_blocking(move || life.last_words()).await.unwrap_or_default();
            match error {
                SandboxError::Helper(_) => Err(SandboxError::Helper(words)),
                error => Err(error),
            }
        }
    }
}

/// Ends what was started if starting fails or is given up half-way.
struct Guard(Option<Life>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(life) = self.0.take() {
            std::thread::spawn(move || life.end());
        }
    }
}

fn enforced(config: &SandboxConfig, cgroup: Result<&Cgroup, &str>) -> Result<Enforced, SandboxError> {
    let keeper = if cgroup.is_ok() { Keeper::Cgroup } else { Keeper::Process };
    let cpus = cgroup.is_ok_and(Cgroup::limits_cpus);
    Cgroups::check(&config.limits, cgroup.map(Cgroup::limits_cpus))?;
    Ok(Enforced { memory: keeper, processes: keeper, cpus, landlock: None })
}

fn spawn(config: &SandboxConfig, control: OwnedFd) -> Result<Child, SandboxError> {
    // No environment: the host's may hold keys, and the helper stays.
    #[expect(clippy::disallowed_methods, reason = "starts the helper that makes the sandbox")]
    let helper = Command::new(&config.helper)
        .arg(HELPER_ARGUMENT)
        .env_clear()
        .current_dir("/")
        .stdin(control)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    Ok(helper)
}

fn send_plan(control: &OwnedFd, plan: &Plan, init: &[u8]) -> Result<(), SandboxError> {
    let plan = serde_json::to_vec(plan).map_err(io::Error::other)?;
    let files = [file("sortie-plan", &plan)?, file("sortie-init", init)?];
    let [plan, init] = files.each_ref().map(File::as_fd);
    descriptors::send(control, b"P", &[plan, init]).map_err(io::Error::from)?;
    Ok(())
}

/// A file in memory, which nobody else can change.
fn file(name: &str, bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file)
}

/// The helper's report, then init's first word.
async fn hear(client: &Client) -> Result<(Vec<PathBuf>, Option<u32>), SandboxError> {
    let mut buffer = vec![0; MAX_REPORT];
    let mut done = None;
    loop {
        let count = client.packet(&mut buffer).await?;
        if let (true, Some(done)) = (buffer[..count] == READY, done.take()) {
            return Ok(done);
        }
        match serde_json::from_slice(&buffer[..count]) {
            Ok(Report::Done { unprotected, landlock }) => done = Some((unprotected, landlock)),
            Ok(Report::Failed(failure)) => return Err(failure.into_error()),
            // The end, or a word that nobody of ours says.
            Err(_) => return Err(SandboxError::Helper(String::new())),
        }
    }
}
