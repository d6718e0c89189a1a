//! The ways out that are closed, by what they lead through. Each check is named; where it can be, the same attempt is
//! made outside, where it must not fail the same way, so that a check that can not fail would be noticed.

mod calls;
mod files;
mod network;
mod privileges;
mod processes;

use std::process::Command;

use crate::support::Outcome;

/// Collects what went wrong, by the name of the check.
#[derive(Default)]
pub(crate) struct Checks(Vec<String>);

impl Checks {
    pub(crate) fn expect(&mut self, name: &str, holds: bool, seen: impl std::fmt::Debug) {
        if !holds {
            self.0.push(format!("{name}: {seen:?}"));
        }
    }

    pub(crate) fn done(self) {
        assert!(self.0.is_empty(), "open ways:\n{}", self.0.join("\n"));
    }
}

pub(crate) fn number(outcome: &Outcome) -> i32 {
    outcome.stdout.trim().parse().unwrap_or_else(|_| panic!("no number: {outcome:?}"))
}

pub(crate) fn outside(arguments: &[&str]) -> i32 {
    let output =
        Command::new("/proc/self/exe").arg("--probe").args(arguments).output().expect("the prober runs");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
