//! What the platform costs, against what else one would use, in one run:
//!
//! - `calls`: a tool call and a policy call in a fresh instance, against the
//!   same work in a long-lived child process that speaks JSON-RPC over pipes;
//! - `exec`: a command through init in a running sandbox, against a fork and
//!   exec on the host;
//! - `containers`: the same in a container of the image that `SORTIE_IMAGE`
//!   names, its start against `docker run`, and a command against
//!   `docker exec`;
//! - `proxy`: bytes through the egress proxy, against none, on loopback;
//! - `environments`: the second task of an environment against the first, up
//!   to the first turn; it installs real packages, from the index that pip is
//!   set to, and runs if it is asked for by name;
//! - `turns`: 50 shell turns of `sortie run` with a scripted model: time and
//!   synced commits of a turn, time to the first request, memory.
//!
//! `cargo bench --bench platform` runs all that need no network, names of
//! parts after `--` run those; `--strict` makes a missed target an error. docs/benchmarks.md
//! says how to read the numbers.

mod calls;
mod child;
mod containers;
mod cores;
mod environments;
mod exec;
mod memory;
mod proxy;
mod table;
mod task;
mod turns;
mod world;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use table::Table;

// as the command has it
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The parts. `turns` is first: it is the one that looks at memory, and a
/// process starts with a trace of its parent's.
const PARTS: [&str; 6] = ["turns", "exec", "containers", "proxy", "calls", NETWORK];
/// The part that needs a network.
const NETWORK: &str = "environments";

fn main() -> anyhow::Result<ExitCode> {
    // the sandbox re-executes this program as its helper; that must come before any thread exists
    sortie_workspace::sandbox::helper_main_if_requested();
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == child::ARGUMENT) {
        child::serve()?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut strict = false;
    let mut wanted = Vec::new();
    for argument in &arguments {
        match argument.as_str() {
            // cargo says so to every benchmark
            "--bench" => {}
            "--strict" => strict = true,
            part if PARTS.contains(&part) => wanted.push(part),
            other => bail!("no part is named `{other}`; there are: {}", PARTS.join(", ")),
        }
    }
    if wanted.is_empty() {
        wanted.extend(PARTS.iter().filter(|part| **part != NETWORK));
    }
    let missed = run(&wanted)?;
    Ok(if strict && missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs the parts, and says whether a target was missed.
fn run(parts: &[&str]) -> anyhow::Result<bool> {
    // kept from run to run, as users' are
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-components");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut table = Table::new();
    for part in PARTS.into_iter().filter(|part| parts.contains(part)) {
        eprintln!("{part} …");
        match part {
            "turns" => turns::measure(&cache, &mut table),
            "exec" => runtime.block_on(exec::measure(&mut table)),
            "containers" => runtime.block_on(containers::measure(&mut table)),
            "proxy" => proxy::measure(&mut table),
            NETWORK => environments::measure(&cache, &mut table),
            _ => runtime.block_on(calls::measure(&cache, &mut table)),
        }
        .with_context(|| format!("`{part}` failed"))?;
    }
    table.print();
    Ok(table.missed())
}
