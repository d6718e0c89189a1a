//! Rust packages and workspaces.

use sortie_sdk::Result;

use super::{Plan, section, tree};
use crate::format::Format;

/// Python build systems that wrap a Rust package.
const WRAPPERS: [&str; 2] = ["maturin", "setuptools-rust"];

/// `cargo test`, without the network: set-up has fetched what is needed. All
/// members of a workspace, unless it names the ones to take by default.
pub(super) fn detect() -> Result<Option<Plan>> {
    let Some(manifest) = tree::read("Cargo.toml")? else { return Ok(None) };
    if !section::has_section(&manifest, "package") && !section::has_section(&manifest, "workspace") {
        return Ok(None);
    }
    let python = tree::read("pyproject.toml")?.unwrap_or_default();
    if WRAPPERS.iter().any(|wrapper| python.contains(wrapper)) {
        return Ok(None);
    }
    let mut command = vec!["cargo", "test", "--no-fail-fast", "--offline"];
    let whole = section::has_section(&manifest, "workspace")
        && !section::has_key(&manifest, "workspace", "default-members");
    if whole {
        command.push("--workspace");
    }
    Ok(Some(Plan::new(command, Format::Cargo, "Cargo.toml")))
}
