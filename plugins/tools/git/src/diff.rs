//! `git_diff`.

use sortie_sdk::git::Against;
use sortie_sdk::prelude::*;

/// Bytes of a diff. The host shortens further for the model.
const MAX: u32 = 1 << 20;

/// Shows what the work tree changes, as a unified diff.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GitDiff {
    /// What to compare with: `head`, the newest commit of the task's branch, or `base`, the commit that
    /// the task started from. The default is `base`.
    against: Option<Side>,
    /// Paths to show. The default is all.
    paths: Option<Vec<String>>,
}

/// What to compare with.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Side {
    Head,
    Base,
}

impl Tool for GitDiff {
    const NAME: &'static str = "git_diff";
    const TITLE: &'static str = "Git diff";
    const EFFECTS: Effects = Effects::READS.union(Effects::IDEMPOTENT);

    fn run(self, _call: &Call) -> Result<Output> {
        let (against, name) = match self.against {
            Some(Side::Head) => (Against::Head, "head"),
            Some(Side::Base) | None => (Against::Base, "base"),
        };
        let mut diff = git::diff(against, &self.paths.unwrap_or_default(), MAX)?;
        let bytes = diff.len();
        if diff.is_empty() {
            diff = format!("[nothing differs from the {name}]");
        } else if bytes >= MAX as usize {
            diff.push_str("\n[the diff is longer; name some paths]");
        }
        Ok(Output::text(diff).details(json!({"against": name, "bytes": bytes})))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sortie_sdk::testing::Host;

    fn diff(diff: &str, arguments: Value) -> Result<Output> {
        let state = Host::new().enter(git::status).expect("has a state");
        Host::new().git(state, diff).call::<GitDiff>(arguments)
    }

    #[test]
    fn a_diff_is_shown_as_it_is_and_its_absence_said() {
        let output = diff("--- a/x\n", json!({"against": "head", "paths": ["x"]})).expect("shows");
        assert_eq!(output.content, "--- a/x\n");
        assert_eq!(output.details["against"], "head");
        assert_eq!(diff("", json!({})).expect("shows").content, "[nothing differs from the base]");
    }

    #[test]
    fn a_long_diff_says_that_it_is_cut() {
        let output = diff(&"x".repeat(2 << 20), json!({})).expect("shows");
        assert!(output.content.ends_with("x\n[the diff is longer; name some paths]"));
    }

    #[test]
    fn there_are_two_sides_to_compare_with() {
        assert!(diff("", json!({"against": "HEAD~1"})).is_err());
    }
}
