//! A command through init in a running sandbox, against a fork and exec on
//! the host.

use std::os::unix::fs::chown;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use sortie_policy::ports::{Chunk, Exit};
use sortie_workspace::Isolated;
use sortie_workspace::client::Stdin;
use sortie_workspace::probe::command;
use sortie_workspace::sandbox::{Owner, Sandbox, SandboxConfig};

use crate::table::{Table, Times, micros, millis, ratio};

/// Times that each thing is done.
const ROUNDS: usize = 2000;
/// Sandboxes that are started.
const SANDBOXES: usize = 11;
/// Bytes of output that are kept: the shell tool's.
const OUTPUT: u64 = 1 << 20;

pub(crate) async fn measure(table: &mut Table) -> anyhow::Result<()> {
    let folders = tempfile::tempdir()?;
    let (work_tree, home) = (folders.path().join("work"), folders.path().join("home"));
    let owner = Owner::current();
    for folder in [&work_tree, &home] {
        std::fs::create_dir(folder)?;
        chown(folder, Some(owner.uid), Some(owner.gid))?;
    }
    let config = SandboxConfig::new(sortie_bundle::init(), work_tree, home);

    let mut starts = Times::default();
    for _ in 0..SANDBOXES {
        let sandbox = starts.time(first_exec(config.clone())).await?;
        sandbox.stop().await;
    }
    let sandbox = Sandbox::start(config).await?;
    let (mut bare, mut through) = (Times::default(), Times::default());
    // by turns, so that what else the machine does falls on both
    for _ in 0..ROUNDS {
        bare.time(on_the_host()).await?;
        through.time(through_init(&sandbox)).await?;
    }
    sandbox.stop().await;

    let (bare, through) = (bare.median(), through.median());
    table.note("exec of /bin/true through init in a running sandbox", micros(through), "µs");
    table.note("  fork and exec of it on the host", micros(bare), "µs");
    table.target("  exec through init against fork and exec", ratio(through, bare), "times", 1.3);
    table.target("start of a sandbox with its first exec", millis(starts.median()), "ms", 10.0);
    Ok(())
}

async fn first_exec(config: SandboxConfig) -> anyhow::Result<Sandbox> {
    let sandbox = Sandbox::start(config).await?;
    through_init(&sandbox).await?;
    Ok(sandbox)
}

/// Both streams are read to their end, as those of a sandboxed command are.
pub(crate) async fn on_the_host() -> anyhow::Result<()> {
    let output = Command::new("/bin/true").env_clear().output()?;
    ensure!(output.status.success(), "/bin/true ended with {}", output.status);
    Ok(())
}

pub(crate) async fn through_init(inside: &dyn Isolated) -> anyhow::Result<()> {
    let mut running = inside.client().spawn(&command(&["/bin/true"], &[]), Stdin::Null, OUTPUT).await?;
    let mut exit = None;
    while let Some(chunk) = running.next(Duration::MAX).await? {
        if let Chunk::Exit(ended) = chunk {
            exit = Some(ended.exit);
        }
    }
    ensure!(exit == Some(Exit::Code(0)), "/bin/true inside ended with {exit:?}");
    Ok(())
}
