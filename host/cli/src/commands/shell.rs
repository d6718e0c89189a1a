//! `sortie shell ID`: a person in what a task left.

use std::io::{IsTerminal as _, Read as _};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use sortie_agent::Journal as _;
use sortie_core::action::{Exec, command_line};
use sortie_core::event::Event;
use sortie_core::{Actor, TaskId};
use sortie_orchestrator::{FolderError, Store, StoreError, TaskFolder};
use sortie_policy::ports::{Chunk, ErrorCode, Exit as Ended, Process};
use sortie_workspace::archive::{ArchiveError, Archives, UnpackLimits, What};
use sortie_workspace::sandbox::Owner;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::approver;
use crate::args::{ShellArguments, TaskArguments};
use crate::assemble::{Entered, MadeOf, Visit, enter};
use crate::exit::{Exit, Failure};
use crate::home::Places;
use crate::print;
use crate::signals::Hangup;

/// Bytes of input that are passed on at a time. A pipe takes as few as these
/// whole or not at all, so that they can be offered again; a terminal takes
/// each byte for itself.
const INPUT: usize = 1024;

/// How long input is offered before there is time again to show what the
/// command prints, and for the person to end it.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a command has to end once it was asked to.
const GRACE: Duration = Duration::from_secs(10);

/// Shells, the first that is there.
const SHELLS: [&str; 2] = ["bash", "sh"];

pub(crate) async fn run(places: &Places, arguments: ShellArguments) -> anyhow::Result<Exit> {
    let id = super::logs::known_task(&Store::open(&places.home)?, &arguments.id)?.id;
    let folder = match TaskFolder::place(&places.home, &id).is_dir() {
        true => open(places, &id)?,
        false => open_again(places, &id)?,
    };
    let mut borrowed =
        if folder.has_workspace() { None } else { Some(Borrowed::take(places, &folder, &id)?) };
    let (keep, argv) = (arguments.keep, arguments.command.clone());
    let entered = enter_task(places, &folder, arguments).await?;
    // before anybody works in it: however this ends, nothing of theirs is thrown away
    let kept = borrowed.take_if(|_| keep).map_or(Ok(()), Borrowed::keep);
    let exit = match kept {
        Ok(()) => command(&entered, &argv).await,
        Err(error) => Err(error),
    };
    leave(&entered, exit).await
}

/// How to look at what a task left, if anything is left of it.
pub(super) fn hint(places: &Places, task: &str) -> Option<String> {
    let id = task.parse().ok()?;
    let is_there = || open(places, &id).is_ok_and(|folder| folder.has_workspace());
    (is_there() || archived(places, &id).is_ok())
        .then(|| format!("{} shell {task}   what it left", super::program()))
}

/// The folder of a task that nobody works on.
///
/// # Errors
/// If there is none, or somebody does.
pub(super) fn open(places: &Places, id: &TaskId) -> anyhow::Result<TaskFolder> {
    let owner = Owner::current();
    TaskFolder::open(&places.home, id, (owner.uid, owner.gid)).map_err(known)
}

/// A folder for a task whose own is gone, where there is an archive to fill it
/// from.
fn open_again(places: &Places, id: &TaskId) -> anyhow::Result<TaskFolder> {
    archived(places, id)?;
    let owner = Owner::current();
    TaskFolder::create_bare(&places.home, id, (owner.uid, owner.gid)).map_err(known)
}

/// What the user can mend is a usage error.
pub(super) fn known(error: FolderError) -> anyhow::Error {
    match error {
        FolderError::Taken(id) => Failure::usage(format!(
            "{id} is being worked on; wait for its end (`{} logs -f {id}`), or for that of the other shell",
            super::program()
        )),
        FolderError::None(_) => Failure::usage(error.to_string()),
        error => error.into(),
    }
}

/// Checks that there is an archive to take a workspace from: most of what can
/// be wrong with one shows here.
fn archived(places: &Places, id: &TaskId) -> anyhow::Result<()> {
    let manifest = Archives::new(&places.home).manifest(id);
    manifest.map(drop).map_err(|error| match error {
        ArchiveError::None(_) => Failure::usage(format!(
            "the workspace of {id} was not kept, and there is no archive of it\nhint: `--keep` on `run` keeps the \
             workspace, `keep = \"all\"` below `[archive]` in the settings archives it"
        )),
        error => error.into(),
    })
}

/// Runs a shell, or a command, in the workspace that lies in a task's folder.
///
/// # Errors
/// If the workspace cannot start, or a policy refuses it.
pub(super) async fn run_in(
    places: &Places,
    folder: &TaskFolder,
    arguments: ShellArguments,
) -> anyhow::Result<Exit> {
    let argv = arguments.command.clone();
    let entered = enter_task(places, folder, arguments).await?;
    let exit = command(&entered, &argv).await;
    leave(&entered, exit).await
}

async fn leave(entered: &Entered, exit: anyhow::Result<Exit>) -> anyhow::Result<Exit> {
    let ended = entered.workspace.stop().await;
    let exit = exit?;
    ended.context("the workspace of the shell is not ended")?;
    Ok(exit)
}

async fn enter_task(
    places: &Places,
    folder: &TaskFolder,
    arguments: ShellArguments,
) -> anyhow::Result<Entered> {
    let store = Store::open(&places.home)?;
    let task = super::logs::known_task(&store, &arguments.id)?;
    let visit = Visit {
        folder,
        arguments: TaskArguments {
            workspace: arguments.workspace.or_else(|| backend(&store, &task.id)),
            image: arguments.image,
            network: arguments.network,
            env: arguments.env,
            accept: arguments.accept,
            ..TaskArguments::default()
        },
        approver: approver::for_this_process(None, CancellationToken::new()),
        made_of: MadeOf::of(&store, &task.id)?.unwrap_or_default(),
        task,
    };
    enter(places, visit).await
}

/// The backend that the task had.
fn backend(store: &Store, id: &TaskId) -> Option<String> {
    let first = store.events(id, 0, 1).ok()?.pop()?;
    match serde_json::from_str(&first.body).ok()? {
        Event::TaskStarted { workspace, .. } => Some(workspace),
        _ => None,
    }
}

/// Whether a task's set-up came to its end.
///
/// # Errors
/// If the journal cannot be read.
pub(super) fn is_ready(store: &Store, id: &TaskId) -> Result<bool, StoreError> {
    Ok(MadeOf::of(store, id)?.is_some())
}

/// A work tree from an archive, which goes again when this is dropped.
struct Borrowed<'a>(Option<&'a TaskFolder>);

impl<'a> Borrowed<'a> {
    fn take(places: &Places, folder: &'a TaskFolder, id: &TaskId) -> anyhow::Result<Self> {
        // before anything is made
        archived(places, id)?;
        folder.borrow_workspace()?;
        let borrowed = Self(Some(folder));
        let owner = Owner::current();
        let owner = Some((owner.uid, owner.gid));
        let archives = Archives::new(&places.home);
        archives.restore(id, What::Workspace, &folder.work_tree(), owner, UnpackLimits::default())?;
        print::tell(
            "this is the archived work tree; what is changed here goes with the shell, unless `--keep` is given",
        );
        Ok(borrowed)
    }

    fn keep(mut self) -> anyhow::Result<()> {
        self.0.map_or(Ok(()), TaskFolder::keep_borrowed)?;
        self.0 = None;
        Ok(())
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.map(TaskFolder::return_borrowed) {
            print::tell(format_args!("the restored work tree is not removed: {error}"));
        }
    }
}

/// Runs the command that was given, or a shell, and writes that down.
async fn command(entered: &Entered, command: &[String]) -> anyhow::Result<Exit> {
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let shells: Vec<_> = SHELLS.iter().map(|shell| vec![(*shell).to_owned()]).collect();
    let choices = if command.is_empty() { shells } else { vec![command.to_owned()] };
    let detail = command_line(&choices[0]);
    entered.journal.append(Event::StepStarted { step: "shell".into(), detail: detail.clone() });
    entered.journal.commit().await?;
    let started = Instant::now();
    let ended = match start(entered, choices, terminal).await {
        Ok(process) => attend(process, terminal).await,
        Err(error) => Err(error),
    };
    entered.journal.append(Event::StepEnded {
        step: "shell".into(),
        ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        ok: ended.is_ok(),
        detail: ended.as_ref().map_or_else(ToString::to_string, ToString::to_string),
    });
    entered.journal.commit().await?;
    Ok(Exit::Command(match ended? {
        Ended::Code(code) => code,
        // as a shell tells it
        Ended::Signal(number) => number.saturating_add(128),
        Ended::TimedOut => 124,
    }))
}

async fn start(
    entered: &Entered,
    choices: Vec<Vec<String>>,
    terminal: bool,
) -> anyhow::Result<Box<dyn Process>> {
    let mut last = None;
    for argv in choices {
        let exec = Exec {
            argv,
            env: terminal
                .then(|| std::env::var("TERM").ok())
                .flatten()
                .map(|term| ("TERM".into(), term))
                .into_iter()
                .collect(),
            stdin: true,
            tty: terminal,
            // for as long as the person stays
            background: true,
            ..Exec::default()
        };
        let permit = entered.gate.permit(&Actor::User, exec).await.map_err(Failure::refused)?;
        match entered.workspace.commands().spawn(permit).await {
            Err(error) if error.code == ErrorCode::NotFound => last = Some(error),
            started => return started.map_err(Into::into),
        }
    }
    Err(last.context("there is no command to run")?.into())
}

/// Passes everything on in both directions until the command ends.
async fn attend(mut process: Box<dyn Process>, terminal: bool) -> anyhow::Result<Ended> {
    let raw = terminal.then(Raw::enter).transpose().context("the terminal cannot be set up")?;
    let Signals { mut window, mut ends } = Signals::new()?;
    let mut input = Some(read_input(if terminal { 1 } else { INPUT }));
    // what the command has not taken yet
    let mut typed: Option<Vec<u8>> = None;
    // when its time to end by itself is over
    let mut kill_at = None;
    if terminal {
        resize(&mut *process).await;
    }
    let ended = loop {
        let wait = if typed.is_some() { PAUSE } else { Duration::MAX };
        tokio::select! {
            chunk = process.next(wait) => match chunk? {
                Some(Chunk::Stdout(bytes)) => drop(print::give_bytes(&bytes)),
                Some(Chunk::Stderr(bytes)) => show(std::io::stderr().lock(), &bytes),
                Some(Chunk::Skipped(_)) => {}
                Some(Chunk::Exit(ended)) => break ended.exit,
                None if typed.is_some() => {}
                None => break Ended::Signal(9),
            },
            bytes = receive(&mut input), if typed.is_none() => match bytes {
                Some(bytes) => typed = Some(bytes),
                None => {
                    input = None;
                    // a terminal that is full takes no end either
                    drop(tokio::time::timeout(PAUSE, process.close_stdin()).await);
                }
            },
            _ = window.recv() => resize(&mut *process).await,
            () = ends.next() => {
                if kill_at.replace(Instant::now() + GRACE).is_some() {
                    process.kill().await?;
                } else {
                    process.terminate().await?;
                }
            }
            () = until(kill_at) => {
                kill_at = None;
                process.kill().await?;
            }
        }
        if let Some(bytes) = typed.take()
            && !write(&mut *process, &bytes).await
        {
            typed = Some(bytes);
        }
    };
    drop(raw);
    Ok(ended)
}

/// Writes a piece of input, which is taken whole or not at all; false if there was no room for it yet.
async fn write(process: &mut dyn Process, bytes: &[u8]) -> bool {
    match tokio::time::timeout(PAUSE, process.write(bytes)).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => error.code != ErrorCode::Unavailable,
        Err(_) => false,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

async fn resize(process: &mut dyn Process) {
    if let Ok(size) = tcgetwinsize(std::io::stdin()) {
        // a command that is ending has no use for it
        drop(process.resize(size.ws_row, size.ws_col).await);
    }
}

fn show(mut out: impl std::io::Write, bytes: &[u8]) {
    // who reads may have gone away
    drop(out.write_all(bytes).and_then(|()| out.flush()));
}

/// Standard input, piece by piece, from a thread of its own: a read cannot be
/// given up, and this process does not wait for a thread.
fn read_input(piece: usize) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(8);
    std::thread::spawn(move || {
        let mut buffer = [0; INPUT];
        while let Ok(count @ 1..) = std::io::stdin().lock().read(&mut buffer) {
            for bytes in buffer[..count].chunks(piece) {
                if sender.blocking_send(bytes.to_vec()).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

async fn receive(input: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}

/// The terminal in raw mode: keys go inside as they are, Ctrl-C among them.
struct Raw(Termios);

impl Raw {
    fn enter() -> rustix::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // a terminal that has gone away needs nothing
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// What the terminal and others tell this process.
struct Signals {
    window: Signal,
    ends: Ends,
}

/// Somebody wants this process to end.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    hangup: Hangup,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let ends = Ends {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: Hangup::watch()?,
        };
        Ok(Self { window: signal(SignalKind::window_change())?, ends })
    }
}

impl Ends {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = self.hangup.next() => {}
        }
    }
}
