//! What this machine can enforce, found out by starting a sandbox and looking.

mod clock;

use std::path::Path;
use std::time::Duration;

use crate::client::{Client, ClientError, Spec, Stdin};
use crate::sandbox::{Enforced, Owner, Sandbox, SandboxConfig, SandboxError, WORKSPACE};

pub use clock::Clock;

/// How long a command may take that only shows whether commands run.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a trial showed.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Who keeps which limit.
    pub enforced: Enforced,
    /// Whom commands run as.
    pub owner: Owner,
    /// The kernel's release.
    pub kernel: String,
}

/// Why this machine has no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It does not start.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// It starts, but commands do not run in it.
    #[error("commands do not run in the sandbox: {0}")]
    Command(#[from] ClientError),
    /// It starts, but `/bin/true` fails in it.
    #[error("`/bin/true` fails in the sandbox")]
    Fails,
}

/// Starts the sandbox of `config`, runs `/bin/true` in it, and stops it.
///
/// # Errors
/// What is in the way and, if the machine's settings tell, what to do about it.
pub async fn probe(config: SandboxConfig) -> Result<Probe, ProbeError> {
    let sandbox = Sandbox::start(config).await?;
    let tried = try_command(sandbox.client(), sandbox.environment()).await;
    let enforced = sandbox.enforced();
    sandbox.stop().await;
    tried?;
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    Ok(Probe { enforced, owner: Owner::current(), kernel })
}

async fn try_command(client: &Client, environment: &[(String, String)]) -> Result<(), ProbeError> {
    use sortie_policy::ports::{Chunk, Exit};
    let mut running = client.spawn(&command(&["/bin/true"], environment), Stdin::Null, 0).await?;
    match running.next(TIMEOUT).await? {
        Some(Chunk::Exit(ended)) if ended.exit == Exit::Code(0) => Ok(()),
        _ => Err(ProbeError::Fails),
    }
}

/// A command at the root of the work tree, without limits of its own.
pub fn command(argv: &[&str], environment: &[(String, String)]) -> Spec {
    Spec {
        argv: argv.iter().map(Into::into).collect(),
        env: environment.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        cwd: Path::new(WORKSPACE).to_owned(),
        timeout: Duration::ZERO,
        terminal: None,
    }
}
