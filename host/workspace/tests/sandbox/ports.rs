//! The ports of commands and processes, behind a gate that allows everything.

use std::time::Duration;

use sortie_core::Actor;
use sortie_core::action::Exec;
use sortie_policy::Gate;
use sortie_policy::ports::{Chunk, Commands, ErrorCode, Exit, PortError, Process};
use sortie_workspace::commands::{CommandLimits, WorkspaceCommands};

use crate::support::{Box as Inside, LONG, eventually};

fn gate() -> Gate {
    sortie_testing::gate(Vec::new(), sortie_testing::defaults())
}

pub(crate) struct Ports {
    pub(crate) inside: Inside,
    gate: Gate,
    pub(crate) commands: WorkspaceCommands,
}

impl Ports {
    pub(crate) async fn open(limits: CommandLimits) -> Self {
        Self::of(Inside::start().await, limits)
    }

    pub(crate) fn of(inside: Inside, limits: CommandLimits) -> Self {
        let gate = gate();
        let (client, environment) = (inside.sandbox.client().clone(), inside.sandbox.environment().to_vec());
        let commands = WorkspaceCommands::new(client, gate.seal(), environment, limits)
            .with_counters(inside.sandbox.counters());
        Self { inside, gate, commands }
    }

    /// With commands made differently.
    pub(crate) fn change(&mut self, change: impl FnOnce(WorkspaceCommands) -> WorkspaceCommands) {
        let client = self.inside.sandbox.client().clone();
        let none = WorkspaceCommands::new(client, self.gate.seal(), Vec::new(), CommandLimits::default());
        self.commands = change(std::mem::replace(&mut self.commands, none));
    }

    pub(crate) async fn spawn(&self, exec: Exec) -> Result<Box<dyn Process>, PortError> {
        let permit = self.gate.permit(&Actor::Agent, exec).await.expect("the gate allows it");
        self.commands.spawn(permit).await
    }

    async fn sh(&self, script: &str) -> Box<dyn Process> {
        self.spawn(shell(script)).await.expect("it starts")
    }

    async fn in_background(&self, script: &str) -> Box<dyn Process> {
        self.spawn(Exec { background: true, ..shell(script) }).await.expect("it starts")
    }
}

pub(crate) fn shell(script: &str) -> Exec {
    Exec { argv: ["/bin/sh", "-c", script].map(str::to_owned).into(), ..Exec::default() }
}

/// All output and the end.
async fn read(process: &mut Box<dyn Process>) -> (String, Exit, u64) {
    let (mut text, mut skipped) = (Vec::new(), 0);
    loop {
        match process.next(LONG).await.expect("the workspace is there").expect("it goes on") {
            Chunk::Stdout(bytes) | Chunk::Stderr(bytes) => text.extend(bytes),
            Chunk::Skipped(bytes) => skipped += bytes,
            Chunk::Exit(ended) => {
                return (String::from_utf8_lossy(&text).into_owned(), ended.exit, skipped + ended.dropped);
            }
        }
    }
}

pub(crate) fn code<T>(result: Result<T, PortError>) -> Option<ErrorCode> {
    result.err().map(|error| error.code)
}

#[tokio::test]
async fn a_permitted_command_runs_as_it_was_permitted() {
    let ports = Ports::open(CommandLimits::default()).await;
    ports.inside.sh("mkdir sub").await;
    let mut exec = shell("pwd; echo $WORD $HOME");
    exec.cwd = Some("sub".to_owned());
    exec.env =
        [("WORD", "hi"), ("HOME", "/tmp")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let mut process = ports.spawn(exec).await.expect("it starts");
    assert_eq!(read(&mut process).await, ("/workspace/sub\nhi /tmp\n".to_owned(), Exit::Code(0), 0));
}

#[tokio::test]
async fn a_permit_of_another_gate_is_refused() {
    let ports = Ports::open(CommandLimits::default()).await;
    let permit = gate().permit(&Actor::Agent, shell("true")).await.expect("that gate allows it");
    assert_eq!(code(ports.commands.spawn(permit).await), Some(ErrorCode::Denied));
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let ports = Ports::open(CommandLimits::default()).await;
    let named =
        |argv: &[&str]| Exec { argv: argv.iter().map(ToString::to_string).collect(), ..Exec::default() };
    assert_eq!(code(ports.spawn(named(&["no-such"])).await), Some(ErrorCode::NotFound));
    assert_eq!(code(ports.spawn(named(&[])).await), Some(ErrorCode::Invalid));
    assert_eq!(code(ports.spawn(named(&["/etc"])).await), Some(ErrorCode::Invalid));
    let elsewhere = Exec { cwd: Some("no/such".to_owned()), ..shell("true") };
    assert_eq!(code(ports.spawn(elsewhere).await), Some(ErrorCode::NotFound));
    ports.inside.sandbox.stop().await.expect("it ends");
    assert_eq!(code(ports.spawn(shell("true")).await), Some(ErrorCode::Unavailable));
}

#[tokio::test]
async fn an_action_asks_for_less_than_the_limits_and_gets_no_more() {
    let limits = CommandLimits { timeout: Duration::from_millis(200), ..CommandLimits::default() };
    let ports = Ports::open(limits).await;
    for timeout_ms in [None, Some(0), Some(u64::MAX)] {
        let exec = Exec { timeout_ms, ..shell("sleep 1000") };
        assert_eq!(read(&mut ports.spawn(exec).await.expect("it starts")).await.1, Exit::TimedOut);
    }
    let ports = Ports::open(CommandLimits { max_output: 100, ..CommandLimits::default() }).await;
    for (max_output, kept) in [(None, 100), (Some(10), 10), (Some(1000), 100)] {
        let exec = Exec { max_output, ..shell("head -c 500 /dev/zero") };
        let (text, _, dropped) = read(&mut ports.spawn(exec).await.expect("it starts")).await;
        assert_eq!((text.len() as u64, dropped), (kept, 500 - kept));
    }
}

#[tokio::test]
async fn input_goes_where_there_is_some() {
    let ports = Ports::open(CommandLimits::default()).await;
    let mut process = ports.spawn(Exec { stdin: true, ..shell("cat") }).await.expect("it starts");
    process.write(b"word").await.expect("it is open");
    process.close_stdin().await.expect("it is open");
    assert_eq!(read(&mut process).await.0, "word");
    let mut process = ports.sh("sleep 1000").await;
    assert_eq!(code(process.write(b"word").await), Some(ErrorCode::Invalid));
    process.kill().await.expect("the workspace is there");
    assert_eq!(read(&mut process).await.1, Exit::Signal(9));
}

#[tokio::test]
async fn a_terminal_is_given_where_it_is_asked_for() {
    let ports = Ports::open(CommandLimits::default()).await;
    let mut process = ports.spawn(Exec { tty: true, ..shell("tty") }).await.expect("it starts");
    assert!(read(&mut process).await.0.starts_with("/dev/pts/"));
}

#[tokio::test]
async fn a_detached_command_lives_on_and_is_taken_up_again() {
    let ports = Ports::open(CommandLimits::default()).await;
    let exec = Exec { stdin: true, background: true, ..shell("echo one; read line; echo $line") };
    let id = ports.spawn(exec).await.expect("it starts").detach().await.expect("there is room");
    let mut process = ports.commands.attach(&id).await.expect("it lives");
    assert_eq!(code(ports.commands.attach(&id).await), Some(ErrorCode::Conflict));
    process.write(b"two\n").await.expect("it is open");
    assert_eq!(read(&mut process).await.0, "one\ntwo\n");
    drop(process);
    assert_eq!(code(ports.commands.attach(&id).await), Some(ErrorCode::NotFound));
    assert_eq!(code(ports.commands.attach("p0").await), Some(ErrorCode::NotFound));
}

#[tokio::test]
async fn the_end_of_a_detached_command_waits_for_who_attaches() {
    let ports = Ports::open(CommandLimits::default()).await;
    let id = ports.in_background("echo bye; exit 4").await.detach().await.expect("there is room");
    eventually("it has ended", async || ports.commands.background()[0].exit.is_some()).await;
    let mut process = ports.commands.attach(&id).await.expect("its end is kept");
    assert_eq!(read(&mut process).await, ("bye\n".to_owned(), Exit::Code(4), 0));
}

#[tokio::test]
async fn a_detached_command_that_writes_much_is_not_stopped_and_its_newest_words_are_kept() {
    let ports = Ports::open(CommandLimits::default()).await;
    let script = "head -c 8M /dev/zero; echo the end; touch done; sleep 1000";
    let id = ports.in_background(script).await.detach().await.expect("there is room");
    eventually("it has written all", async || ports.inside.folders.work_tree.join("done").exists()).await;
    let mut process = ports.commands.attach(&id).await.expect("it lives");
    process.kill().await.expect("the workspace is there");
    let (text, exit, dropped) = read(&mut process).await;
    assert_eq!(exit, Exit::Signal(9));
    assert!(text.ends_with("the end\n") && text.len() <= 2 << 20, "{}", text.len());
    assert_eq!(text.len() as u64 + dropped, (8 << 20) + 8);
}

#[tokio::test]
async fn detached_commands_end_with_their_workspaces_commands_and_are_counted() {
    let ports = Ports::open(CommandLimits::default()).await;
    for _ in 0..64 {
        ports.in_background("sleep 55555").await.detach().await.expect("there is room");
    }
    let count = async || {
        ports
            .inside
            .sh("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -c '^55555$'")
            .await
            .stdout
    };
    // the last ones may not have become themselves yet
    eventually("all run", async || count().await == "64\n").await;
    assert_eq!(code(ports.in_background("sleep 55555").await.detach().await), Some(ErrorCode::Unavailable));
    drop(ports.commands);
    eventually("they are gone", async || count().await == "0\n").await;
}
