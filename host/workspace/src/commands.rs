//! The [`Commands`] port over a workspace's init: permitted commands in, processes out.

mod detached;
mod process;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sortie_core::action::{Exec, command_line};
use sortie_core::text::one_line;
use sortie_policy::ports::{Background, Commands, ErrorCode, PortError, Process};
use sortie_policy::{Permit, Seal};
use tokio::time::Instant;

use crate::client::{Bounds, Client, ClientError, Spec, Stdin, Step, Window};
use crate::counters::Counters;
use crate::disk::DiskReached;
use crate::sandbox::WORKSPACE;

use detached::Detached;
use process::{CommandProcess, Origin};

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

/// Time in which a command in the background takes nothing of its input until writing to it fails: waiting for the
/// end of the call would end the command with it.
const UNREAD: Duration = Duration::from_secs(5);

/// The size of terminals, as programs expect it.
const WINDOW: Window = Window { rows: 24, columns: 80 };

/// Starts permitted commands in one workspace.
#[derive(Debug)]
pub struct WorkspaceCommands {
    client: Client,
    seal: Seal,
    environment: Vec<(String, String)>,
    limits: CommandLimits,
    counters: Option<Arc<Counters>>,
    disks: Vec<Arc<DiskReached>>,
    detached: Arc<Detached>,
}

/// Is told when a command in the background begins and ends. Must not block.
pub trait BackgroundWatch: Send + Sync {
    /// A command runs in the background from now on.
    fn started(&self, command: &Background);

    /// It has ended: by itself, because somebody ended it, or with the workspace.
    fn ended(&self, command: &Background);
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
        Self {
            client,
            seal,
            environment,
            limits,
            counters: None,
            disks: Vec::new(),
            detached: Arc::default(),
        }
    }

    /// Has the ends of commands name the limits of the workspace that were reached meanwhile.
    #[must_use]
    pub fn with_counters(self, counters: Option<Arc<Counters>>) -> Self {
        Self { counters, ..self }
    }

    /// Has the ends of commands name the limits of a disk that were reached meanwhile, and none start where each made it
    /// worse. May be called for several.
    #[must_use]
    pub fn with_disk(mut self, disk: Arc<DiskReached>) -> Self {
        self.disks.push(disk);
        self
    }

    /// Has somebody told of the commands in the background.
    #[must_use]
    pub fn with_watch(self, watch: Arc<dyn BackgroundWatch>) -> Self {
        self.detached.set_watch(watch);
        self
    }

    /// Why a command did not start; with the value, if it was for a limit.
    fn not_started(&self, error: ClientError) -> PortError {
        let for_want_of_processes = matches!(error, ClientError::Refused { step: Step::Fork, .. });
        let mut error = port_error(error);
        let counters = self.counters.as_ref().filter(|_| for_want_of_processes);
        if let Some(limit) = counters.and_then(|counters| counters.processes()) {
            error.message.push_str(&format!(" ({limit}): end something that runs in the background"));
        }
        error
    }

    fn spec(&self, exec: &Exec) -> Result<Spec, PortError> {
        if exec.argv.first().is_none_or(String::is_empty) {
            return Err(PortError::new(ErrorCode::Invalid, "the command names no program"));
        }
        let asked = exec.timeout_ms.map(Duration::from_millis);
        // In the background it lives as long as the task, unless it asks for less.
        let most = if exec.background { Duration::MAX } else { self.limits.timeout };
        let overridden = |name: &String| exec.env.contains_key(name);
        let base = self.environment.iter().filter(|(name, _)| !overridden(name));
        let env = base.map(|(name, value)| (name, value)).chain(&exec.env);
        Ok(Spec {
            argv: exec.argv.iter().map(Into::into).collect(),
            env: env.map(|(name, value)| (name.into(), value.into())).collect(),
            // Joining an absolute path gives that path: a command may start anywhere inside.
            cwd: std::path::Path::new(WORKSPACE).join(exec.cwd.as_deref().unwrap_or_default()),
            // A time of zero is none to init.
            timeout: match asked {
                None if exec.background => Duration::ZERO,
                asked => asked.unwrap_or(most).min(most).max(Duration::from_millis(1)),
            },
            terminal: exec.tty.then_some(WINDOW),
        })
    }
}

#[async_trait]
impl Commands for WorkspaceCommands {
    async fn spawn(&self, permit: Permit<Exec>) -> Result<Box<dyn Process>, PortError> {
        let exec = permit.redeem(self.seal)?;
        let spec = self.spec(&exec)?;
        if let Some(limit) = self.disks.iter().find_map(|disk| disk.closed()) {
            let text = format!(
                "the workspace's limit {limit} is reached, and commands only made it worse: none is started until \
                 files have been removed (by the tools for files)"
            );
            return Err(PortError::new(ErrorCode::Unavailable, text));
        }
        let stdin = if exec.stdin { Stdin::Pipe } else { Stdin::Null };
        let max_output = match exec.max_output {
            // What is kept of it is the newest.
            _ if exec.background => u64::MAX,
            asked => asked.unwrap_or(u64::MAX).min(self.limits.max_output),
        };
        let counters = self.counters.as_ref().map(|counters| (Arc::clone(counters), counters.now()));
        let disks = self.disks.iter().map(|disk| (Arc::clone(disk), disk.now())).collect();
        let started = Instant::now();
        let mut running =
            self.client.spawn(&spec, stdin, max_output).await.map_err(|error| self.not_started(error))?;
        running.set_bounds(Bounds {
            timeout: (!spec.timeout.is_zero()).then_some(spec.timeout),
            idle: exec.idle_timeout_ms.map(|idle| Duration::from_millis(idle.max(1))),
            input: exec.background.then_some(UNREAD),
            counters,
            disks,
        });
        let origin = if exec.background {
            Origin::Background { command: one_line(&command_line(&exec.argv), Background::COMMAND), started }
        } else {
            Origin::Foreground
        };
        Ok(Box::new(CommandProcess::new(running, self.detached.clone(), origin)))
    }

    async fn attach(&self, id: &str) -> Result<Box<dyn Process>, PortError> {
        let running = self.detached.take(id).await?;
        let origin = Origin::Detached(id.to_owned());
        Ok(Box::new(CommandProcess::new(running, self.detached.clone(), origin)))
    }

    fn background(&self) -> Vec<Background> {
        self.detached.list()
    }

    async fn end_background(&self) -> Vec<Background> {
        self.detached.end_all().await
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
