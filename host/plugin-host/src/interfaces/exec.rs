//! `sortie:host/exec`.

use std::collections::BTreeMap;
use std::time::Duration;

use sortie_core::action::Exec;
use sortie_policy::ports::{self, ErrorCode, PortError};
use wasmtime::component::Resource;

use super::{invalid, too_large};
use crate::bindings::host::exec;
use crate::failure::HostError;
use crate::grants::Wanted;
use crate::limits::CONTENT;
use crate::state::{Call, State};

/// Commands that one call may hold at once.
const HELD: usize = 32;
/// Arguments of a command.
const ARGUMENTS: usize = 4096;
/// Bytes of a command's arguments, and of its variables.
const BYTES: usize = 1 << 20;
/// Variables of a command.
const VARIABLES: usize = 1024;
/// Bytes that one `write` may pass.
const WRITE: usize = 1 << 20;

/// A command that a guest holds. Dropping it kills the command.
#[expect(unreachable_pub, reason = "the generated bindings export it again")]
pub struct Handle {
    /// None once it was detached.
    process: Option<Box<dyn ports::Process>>,
    /// Whether it was detached before, and so has its place.
    attached: bool,
}

impl exec::Host for State {
    async fn spawn(&mut self, command: exec::Command) -> Result<Resource<Handle>, HostError> {
        let call = self.call()?;
        let action = action(command, &call)?;
        call.granted(Wanted::Exec(&action.argv))?;
        self.check_room()?;
        let spawned = call.until_cancelled(async {
            let permit = call.permit(action).await?;
            call.task.context.commands.spawn(permit).await
        });
        let process = spawned.await?;
        self.hold(process, false)
    }

    async fn attach(&mut self, id: String) -> Result<Resource<Handle>, HostError> {
        let call = self.call()?;
        call.task.check_owner(&id, &call.plugin.id)?;
        self.check_room()?;
        let process = call.until_cancelled(call.task.context.commands.attach(&id)).await?;
        self.hold(process, true)
    }

    async fn list_background(&mut self) -> Result<Vec<exec::Background>, HostError> {
        let call = self.call()?;
        Ok(call.task.background_of(&call.plugin.id).into_iter().map(background_to_wit).collect())
    }
}

impl exec::HostProcess for State {
    async fn next(
        &mut self,
        handle: Resource<Handle>,
        wait_ms: u32,
    ) -> Result<Option<exec::Chunk>, HostError> {
        let call = self.call()?;
        let process = self.process(&handle)?;
        let wait = Duration::from_millis(wait_ms.into());
        let chunk = call.until_cancelled(process.next(wait)).await?;
        Ok(chunk.map(to_wit))
    }

    async fn write(&mut self, handle: Resource<Handle>, data: Vec<u8>) -> Result<(), HostError> {
        let call = self.call()?;
        if data.len() > WRITE {
            return Err(too_large(format!("{} bytes in one write are more than 1 MiB", data.len())).into());
        }
        let process = self.process(&handle)?;
        Ok(call.until_cancelled(process.write(&data)).await?)
    }

    async fn close_stdin(&mut self, handle: Resource<Handle>) -> Result<(), HostError> {
        let call = self.call()?;
        let process = self.process(&handle)?;
        Ok(call.until_cancelled(process.close_stdin()).await?)
    }

    async fn terminate(&mut self, handle: Resource<Handle>) -> Result<(), HostError> {
        // also after the task was cancelled, as `kill` is
        let process = self.process(&handle)?;
        Ok(process.terminate().await?)
    }

    async fn kill(&mut self, handle: Resource<Handle>) -> Result<(), HostError> {
        // also after the task was cancelled: it ends something
        let process = self.process(&handle)?;
        Ok(process.kill().await?)
    }

    async fn detach(&mut self, handle: Resource<Handle>) -> Result<String, HostError> {
        let call = self.call()?;
        let held = self.table.get_mut(&handle)?;
        if !held.attached {
            call.task.check_room()?;
        }
        let process = held.process.take().ok_or_else(spent)?;
        self.processes -= 1;
        let id = call.until_cancelled(process.detach()).await?;
        call.task.detached(&id, &call.plugin.id);
        Ok(id)
    }

    async fn drop(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        if self.table.delete(handle)?.process.is_some() {
            self.processes -= 1;
        }
        Ok(())
    }
}

impl State {
    fn check_room(&self) -> Result<(), PortError> {
        if self.processes < HELD {
            return Ok(());
        }
        Err(PortError::new(
            ErrorCode::Unavailable,
            format!("this call holds {HELD} commands, which is the most; drop or detach one first"),
        ))
    }

    fn hold(
        &mut self,
        process: Box<dyn ports::Process>,
        attached: bool,
    ) -> Result<Resource<Handle>, HostError> {
        let handle = self.table.push(Handle { process: Some(process), attached })?;
        self.processes += 1;
        Ok(handle)
    }

    fn process(&mut self, handle: &Resource<Handle>) -> Result<&mut Box<dyn ports::Process>, HostError> {
        Ok(self.table.get_mut(handle)?.process.as_mut().ok_or_else(spent)?)
    }
}

fn spent() -> PortError {
    invalid("this command was detached; its handle is spent")
}

/// Checks what the guest asks for against the bounds of the contract.
fn action(command: exec::Command, call: &Call) -> Result<Exec, PortError> {
    let exec::Command { argv, cwd, env, stdin, tty, background, timeout_ms, idle_timeout_ms, max_output } =
        command;
    if argv.is_empty() || argv[0].is_empty() {
        return Err(invalid("a command names a program"));
    }
    if argv.len() > ARGUMENTS || argv.iter().map(String::len).sum::<usize>() > BYTES {
        return Err(too_large("a command has at most 4096 arguments, together of at most 1 MiB"));
    }
    if env.len() > VARIABLES
        || env.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > BYTES
    {
        return Err(too_large("a command has at most 1024 variables, together of at most 1 MiB"));
    }
    let texts = argv.iter().chain(env.iter().flat_map(|(name, value)| [name, value])).chain(&cwd);
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(invalid("arguments, variables and directories contain no NUL"));
    }
    if env.iter().any(|(name, _)| name.is_empty() || name.contains('=')) {
        return Err(invalid("a variable's name is not empty and contains no `=`"));
    }
    if cwd.as_ref().is_some_and(|cwd| cwd.len() > 4096) {
        return Err(invalid("a working directory is a path of at most 4096 bytes"));
    }
    let left = u64::try_from(call.remaining().as_millis()).unwrap_or(u64::MAX);
    Ok(Exec {
        argv,
        cwd,
        env: BTreeMap::from_iter(env),
        stdin,
        tty,
        background,
        // in the background the call's time and the bound on its output mean nothing
        timeout_ms: timeout_ms.or((!background).then_some(left)),
        idle_timeout_ms,
        max_output: (!background).then(|| max_output.unwrap_or(u64::MAX).min(CONTENT as u64)),
    })
}

fn to_wit(chunk: ports::Chunk) -> exec::Chunk {
    match chunk {
        ports::Chunk::Stdout(bytes) => exec::Chunk::Stdout(bytes),
        ports::Chunk::Stderr(bytes) => exec::Chunk::Stderr(bytes),
        ports::Chunk::Skipped(bytes) => exec::Chunk::Skipped(bytes),
        ports::Chunk::Exit(ports::Ended { exit, dropped, limits }) => {
            let limits = limits.into_iter();
            let limits = limits
                .map(|reached| exec::Limit { name: reached.limit.name().into(), value: reached.value })
                .collect();
            exec::Chunk::Exit(exec::Ended { exit: exit_to_wit(exit), dropped, limits })
        }
    }
}

fn exit_to_wit(exit: ports::Exit) -> exec::Exit {
    match exit {
        ports::Exit::Code(code) => exec::Exit::Code(code),
        ports::Exit::Signal(signal) => exec::Exit::Signal(signal),
        ports::Exit::TimedOut => exec::Exit::TimedOut,
    }
}

fn background_to_wit(of: ports::Background) -> exec::Background {
    exec::Background {
        id: of.id,
        command: of.command,
        age_ms: u64::try_from(of.age.as_millis()).unwrap_or(u64::MAX),
        exit: of.exit.map(exit_to_wit),
    }
}
