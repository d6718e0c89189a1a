//! What a command costs through init, against a bare fork and exec, in one run.
//!
//! `cargo run --release --example exec_cost -- PATH_OF_SORTIE_INIT [ROUNDS]`

#![expect(clippy::disallowed_methods, reason = "a bare fork and exec is what is compared")]

use std::os::unix::fs::chown;
use std::process::Command;
use std::time::{Duration, Instant};

use sortie_workspace::client::Stdin;
use sortie_workspace::probe::command;
use sortie_workspace::sandbox::{Owner, Sandbox, SandboxConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    sortie_workspace::sandbox::helper_main_if_requested();
    let mut arguments = std::env::args().skip(1);
    let init = std::fs::read(arguments.next().ok_or("usage: exec_cost PATH_OF_SORTIE_INIT [ROUNDS]")?)?;
    let rounds = arguments.next().map_or(Ok(2000), |rounds| rounds.parse())?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(init, rounds))
}

async fn measure(init: Vec<u8>, rounds: usize) -> Result<(), Box<dyn std::error::Error>> {
    let folders = std::env::temp_dir().join(format!("exec-cost-{}", std::process::id()));
    let (work_tree, home) = (folders.join("work"), folders.join("home"));
    let owner = Owner::current();
    for folder in [&work_tree, &home] {
        std::fs::create_dir_all(folder)?;
        chown(folder, Some(owner.uid), Some(owner.gid))?;
    }
    let start = Instant::now();
    let sandbox = Sandbox::start(SandboxConfig::new(init, work_tree, home)).await?;
    println!("start              {:>8.0} µs", micros(start.elapsed()));
    let spec = command(&["/bin/true"], &[]);
    let (mut bare, mut through) = (Vec::new(), Vec::new());
    // By turns, so that what else the machine does falls on both.
    for _ in 0..rounds {
        let start = Instant::now();
        Command::new("/bin/true").env_clear().output()?;
        bare.push(start.elapsed());
        let start = Instant::now();
        let mut running = sandbox.client().spawn(&spec, Stdin::Null, 1 << 20).await?;
        while running.next(Duration::MAX).await?.is_some() {}
        through.push(start.elapsed());
    }
    let (bare, through) = (median(bare), median(through));
    println!("fork and exec      {:>8.0} µs", micros(bare));
    println!("exec through init  {:>8.0} µs", micros(through));
    println!("ratio              {:>8.2}", through.as_secs_f64() / bare.as_secs_f64());
    let start = Instant::now();
    sandbox.stop().await;
    println!("stop               {:>8.0} µs", micros(start.elapsed()));
    std::fs::remove_dir_all(folders)?;
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
