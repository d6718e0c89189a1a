//! The ways out that are closed, by what they lead through. Each check is named; where it can be, the same attempt is
//! made outside, where it must not fail the same way, so that a check that can not fail would be noticed.

mod calls;
mod files;
mod network;
mod privileges;
mod processes;

use std::net::{IpAddr, UdpSocket};
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

/// Answers each datagram that comes to this address of the host's, at the port that it returns.
pub(crate) fn answer_datagrams(address: IpAddr) -> String {
    let socket = UdpSocket::bind((address, 0)).expect("the address is ours");
    let target = socket.local_addr().expect("it has one").to_string();
    std::thread::spawn(move || {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 8]) {
            socket.send_to(b"hello", from).expect("somebody waits for it");
        }
    });
    target
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
