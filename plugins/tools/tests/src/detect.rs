//! How a repository runs its tests, read off its files.
//!
//! The root of the work tree decides, by the first of these that fits:
//!
//! 1. `Cargo.toml`, unless a Python build wraps it (maturin, setuptools-rust);
//! 2. `go.mod`;
//! 3. Python, where its manifest (`pyproject.toml`, `setup.py`, `setup.cfg`,
//!    `tox.ini`, `pytest.ini`) lies beside tests;
//! 4. `package.json` with a test script, a runner's settings, or tests that
//!    use node's own runner;
//! 5. Python tests without a manifest;
//! 6. a Makefile's `test` or `check`.
//!
//! Many packages name no runner: then the tests themselves are the evidence.

mod cargo;
mod make;
mod node;
mod python;
mod script;
mod section;
mod tree;

use sortie_sdk::Result;

use crate::format::Format;

/// How to run the tests.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// Program and arguments, without what makes the results readable.
    pub(crate) command: Vec<String>,
    /// How the results are read.
    pub(crate) format: Format,
    /// The file that told, with a word on what it said.
    pub(crate) detected_by: String,
}

impl Plan {
    fn new<S: Into<String>>(
        command: impl IntoIterator<Item = S>,
        format: Format,
        detected_by: impl Into<String>,
    ) -> Self {
        let command = command.into_iter().map(Into::into).collect();
        Self { command, format, detected_by: detected_by.into() }
    }
}

/// Reads the work tree for a way to run its tests; none if there is none.
///
/// # Errors
/// If the host's file interface fails. A file that a policy keeps from
/// us counts as absent.
pub(crate) fn detect() -> Result<Option<Plan>> {
    if let Some(plan) = cargo::detect()? {
        return Ok(Some(plan));
    }
    if let Some(manifest) = tree::read("go.mod")?
        && manifest.lines().any(|line| line.starts_with("module "))
        && !tree::glob("**/*_test.go", 1)?.is_empty()
    {
        return Ok(Some(Plan::new(["go", "test", "./..."], Format::Go, "go.mod")));
    }
    let python = python::detect()?;
    if let Some((plan, true)) = python {
        return Ok(Some(plan));
    }
    if let Some(plan) = node::detect()? {
        return Ok(Some(plan));
    }
    match python {
        Some((plan, _)) => Ok(Some(plan)),
        None => make::detect(),
    }
}

#[cfg(test)]
mod tests;
