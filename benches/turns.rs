//! 50 shell turns of `sortie run` with a scripted model.

use std::path::Path;

use crate::table::{Table, Times, millis};
use crate::task::Site;

/// Turns of a task.
const TURNS: u32 = 50;
/// Turns of a short task: what the long one commits beyond it, it commits for turns.
const FEW: u32 = 10;
/// Tasks that are measured, of each length.
const TASKS: usize = 3;

pub(crate) fn measure(cache: &Path, table: &mut Table) -> anyhow::Result<()> {
    let site = Site::new(cache)?;
    // compiles the components, if nobody has yet
    site.run("warm-up", 1, false)?;
    let (mut turns, mut calls, mut starts) = (Times::default(), Times::default(), Times::default());
    let (mut many, mut few) = (0, 0);
    for round in 0..TASKS {
        let long = site.run(&format!("long-{round}"), TURNS, false)?;
        let short = site.run(&format!("short-{round}"), FEW, false)?;
        turns.extend(long.turns);
        calls.extend(long.calls);
        starts.extend([long.first_request, short.first_request]);
        (many, few) = (long.commits, short.commits);
    }
    let peak = site.run("watched", TURNS, true)?.peak;

    table.target("a turn with `echo`, from request to request", millis(turns.median()), "ms", 5.0);
    table.note("  95 of 100 turns take at most", millis(turns.percentile(95)), "ms");
    table.note("  of it the tool call with its permits", millis(calls.median()), "ms");
    table.note("  synced commits of a turn", per_turn(many, few), "");
    table.target(
        "start to the first request, without clone and baseline",
        millis(starts.median()),
        "ms",
        150.0,
    );
    table.target("peak memory of the host's process", megabytes(peak.host), "MB", 80.0);
    table.note("  with helper, init and commands, shared pages in each", megabytes(peak.all), "MB");
    Ok(())
}

fn per_turn(many: u64, few: u64) -> f64 {
    many.saturating_sub(few) as f64 / f64::from(TURNS - FEW)
}

fn megabytes(kilobytes: u64) -> f64 {
    kilobytes as f64 * 1024.0 / 1e6
}
