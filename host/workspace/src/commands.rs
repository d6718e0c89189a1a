//! The [`Commands`] port over a workspace's init: permitted commands in, processes out.

mod detached;
mod process;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sortie_core::action::Exec;
use sortie_policy::ports::{Commands, ErrorCode, PortError, Process};
use sortie_policy::{Permit, Seal};

use crate::client::{Client, ClientError, Spec, Stdin, Step, Window};
use crate::sandbox::WORKSPACE;

use detached::Detached;
use process::CommandProcess;

/// What a command gets that asks for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandLimits {
    /// Time until it is killed, unless the action says less. One hour.
    pub timeout: Duration,
    /// Bytes of output kept, unless the action says less. 64 MiB.
    pub max_output: u64,
}

impl Default for CommandLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(3600), max_output: 64 << 20 }
    }
}

/// The size of terminals, as programs expect it.
const WINDOW: Window = Window { rows: 24, columns: 80 };

/// Starts permitted commands in one workspace.
#[derive(Debug)]
pub struct WorkspaceCommands {
    client: Client,
    seal: Seal,
    environment: Vec<(String, String)>,
    limits: CommandLimits,
    detached: Arc<Detached>,
}

impl WorkspaceCommands {
    /// For permits that bear `seal`. `environment` is what every command starts with, in which an action's own
    /// variables take their places: the sandbox's, and the proxy's if there is one.
    pub fn new(
        client: Client,
        seal: Seal,
        environment: Vec<(String, String)>,
        limits: CommandLimits,
    ) -> Self {
        Self { client, seal, environment, limits, detached: Arc::default() }
    }

    fn spec(&self, exec: &Exec) -> Result<Spec, PortError> {
        if exec.argv.first().is_none_or(String::is_empty) {
            return Err(PortError::new(ErrorCode::Invalid, "the command names no program"));
        }
        let asked = exec.timeout_ms.map_or(self.limits.timeout, Duration::from_millis);
        let overridden = |name: &String| exec.env.contains_key(name);
        let base = self.environment.iter().filter(|(name, _)| !overridden(name));
        let env = base.map(|(name, value)| (name, value)).chain(&exec.env);
        Ok(Spec {
            argv: exec.argv.iter().map(Into::into).collect(),
            env: env.map(|(name, value)| (name.into(), value.into())).collect(),
            // Joining an absolute path gives that path: a command may start anywhere inside.
            cwd: std::path::Path::new(WORKSPACE).join(exec.cwd.as_deref().unwrap_or_default()),
            // A time of zero would be none to init.
            timeout: asked.min(self.limits.timeout).max(Duration::from_millis(1)),
            terminal: exec.tty.then_some(WINDOW),
        })
    }
}

#[async_trait]
impl Commands for WorkspaceCommands {
    async fn spawn(&self, permit: Permit<Exec>) -> Result<Box<dyn Process>, PortError> {
        let exec = permit.redeem(self.seal)?;
        let spec = self.spec(&exec)?;
        let stdin = if exec.stdin { Stdin::Pipe } else { Stdin::Null };
        let max_output =
            exec.max_output.map_or(self.limits.max_output, |asked| asked.min(self.limits.max_output));
        let running = self.client.spawn(&spec, stdin, max_output).await.map_err(port_error)?;
        Ok(Box::new(CommandProcess::new(running, self.detached.clone())))
    }

    async fn attach(&self, id: &str) -> Result<Box<dyn Process>, PortError> {
        let running = self.detached.take(id).await?;
        Ok(Box::new(CommandProcess::attached(running, self.detached.clone(), id.to_owned())))
    }
}

fn port_error(error: ClientError) -> PortError {
    let code = match &error {
        ClientError::Gone => ErrorCode::Unavailable,
        ClientError::TooLong => ErrorCode::Invalid,
        ClientError::Refused { step, source, .. } => match (step, source.raw_os_error()) {
            (Step::Directory | Step::Program, Some(libc::ENOENT | libc::ENOTDIR)) => ErrorCode::NotFound,
            (Step::Directory | Step::Program | Step::Spec, _) => ErrorCode::Invalid,
            (Step::Terminal | Step::Fork | Step::Listen, _) => ErrorCode::Unavailable,
        },
        ClientError::Io(_) => ErrorCode::Internal,
    };
    PortError::new(code, error.to_string())
}
