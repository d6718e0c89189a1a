//! Makefiles.

use sortie_sdk::Result;

use super::{Plan, tree};
use crate::format::Format;

/// `make test`, or else `make check`.
pub(super) fn detect() -> Result<Option<Plan>> {
    for file in ["GNUmakefile", "makefile", "Makefile"] {
        let Some(text) = tree::read(file)? else { continue };
        let target = ["test", "check", "tests"].into_iter().find(|target| has_target(&text, target));
        return Ok(
            target.map(|target| Plan::new(["make", target], Format::Plain, format!("{file}: {target}")))
        );
    }
    Ok(None)
}

/// Whether a rule makes the target.
fn has_target(text: &str, target: &str) -> bool {
    text.lines().filter(|line| !line.starts_with(['\t', ' ', '#', '.'])).any(|line| {
        let Some((targets, rest)) = line.split_once(':') else { return false };
        !rest.starts_with('=') && targets.split_whitespace().any(|name| name == target)
    })
}
