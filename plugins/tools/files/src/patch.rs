//! `apply_patch`.

mod apply;
mod begin;
mod lines;
mod model;
mod plan;
mod unified;

use sortie_sdk::prelude::*;

use model::Change;

/// What the model is told. A doc comment would lose the spaces at the start of lines.
const DESCRIPTION: &str = "\
Changes several files at once. Takes the format below, or a unified diff as git writes it. \
All of it is applied, or nothing.

*** Begin Patch
*** Update File: path/of/file
@@ a line above the change, such as the function's first line (may be left out)
 a line that stays
-a line that goes
+a line that comes
*** Add File: path/of/new/file
+each of its lines
*** Delete File: path/of/old/file
*** End Patch

Below `*** Update File:`, the line `*** Move to: path` renames the file. Give about three lines that \
stay around each change, and the changes of a file from its top to its bottom.";

/// The arguments of `apply_patch`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApplyPatch {
    /// The patch.
    patch: String,
}

impl Tool for ApplyPatch {
    const NAME: &'static str = "apply_patch";
    const TITLE: &'static str = "Apply patch";
    const DESCRIPTION: &'static str = DESCRIPTION;
    const EFFECTS: Effects = Effects::READS.union(Effects::WRITES);

    fn run(self, _call: &Call) -> Result<Output> {
        let plan = plan::Plan::of(&parse(&self.patch)?)?;
        plan.carry_out()
    }
}

/// Reads a patch in either format.
fn parse(patch: &str) -> Result<Vec<Change>> {
    let lines: Vec<&str> = patch.lines().collect();
    let changes = match lines.iter().position(|line| line.trim() == begin::FIRST) {
        Some(first) => begin::parse(&lines[first + 1..])?,
        None => unified::parse(&lines)?,
    };
    if changes.is_empty() {
        return Err(Error::invalid(
            "the patch changes no file: it must start with `*** Begin Patch`, or be a unified diff with `---` and `+++`",
        ));
    }
    Ok(changes)
}

#[cfg(test)]
mod tests;
