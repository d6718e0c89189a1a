//! The `run_tests` tool: finds out how a repository runs its tests, runs
//! them, and returns numbers and failures. The model calls it, and so does
//! the host, for the baseline and for the verification.
//!
//! The way of a call is `tool` (what was asked), `detect` (a plan: a command
//! and the format of its results), `format` (how that runner is asked for
//! results, and how they are read), `report` (text for the model, JSON for the
//! host). Nothing is installed and the network is not reached.
//!
//! Settings, all optional: `command`, an argument vector to run instead of what
//! is found, and `format`, one of `cargo`, `pytest`, `unittest`, `jest`,
//! `vitest`, `mocha`, `node`, `go`, `tap`, `plain` (the default: known summary
//! lines in the output, or the exit status alone). The host passes the same two
//! keys in the call's details, under `fixed`, to run a plan again.
//!
//! The output's details: `command` and `format` as a later call takes them,
//! `counts` (`passed`, `failed`, `skipped`; `null` if there are no tests),
//! `failures` (at most 100, each a `name` and a `message`), `exit_code` (`null`
//! if the command did not exit by itself), `timed_out`, `detected_by`, `note`.
//! What keeps tests from running counts as a failure, named `build` where the
//! code does not compile and `run` otherwise.

mod detect;
mod format;
mod report;
mod run;
mod text;
mod tool;
