//! `git_status`.

use sortie_sdk::git::ChangeKind;
use sortie_sdk::prelude::*;

use crate::short;

/// Paths that are listed.
const PATHS: usize = 500;

/// Shows the task's branch and what differs from its newest commit.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GitStatus {}

impl Tool for GitStatus {
    const NAME: &'static str = "git_status";
    const TITLE: &'static str = "Git status";
    const EFFECTS: Effects = Effects::READS.union(Effects::IDEMPOTENT);

    fn run(self, _call: &Call) -> Result<Output> {
        let state = git::status()?;
        let mut text =
            format!("branch {}\nhead {}\nbase {}\n", state.branch, short(&state.head), short(&state.base));
        if state.changes.is_empty() {
            text.push_str("[nothing differs from the head]");
        }
        for change in state.changes.iter().take(PATHS) {
            let letter = match change.kind {
                ChangeKind::Added => 'A',
                ChangeKind::Modified => 'M',
                ChangeKind::Deleted => 'D',
            };
            text.push_str(&format!("{letter} {}\n", change.path));
        }
        if let Some(more) = state.changes.len().checked_sub(PATHS + 1) {
            text.push_str(&format!("[{} more paths]", more + 1));
        }
        let details = json!({
            "branch": state.branch, "head": state.head, "base": state.base, "changes": state.changes.len(),
        });
        Ok(Output::text(text).details(details))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sortie_sdk::git::{Change, State};
    use sortie_sdk::testing::Host;

    fn status(changes: Vec<Change>) -> Output {
        let state = State { branch: "sortie/x".into(), base: "a".repeat(40), head: "b".repeat(40), changes };
        Host::new().git(state, "").call::<GitStatus>(json!({})).expect("shows")
    }

    #[test]
    fn changes_are_listed_under_branch_and_commits() {
        let change = |kind, path: &str| Change { kind, path: path.into() };
        let output = status(vec![change(ChangeKind::Added, "a b"), change(ChangeKind::Deleted, "c")]);
        assert_eq!(output.content, "branch sortie/x\nhead bbbbbbbbbbbb\nbase aaaaaaaaaaaa\nA a b\nD c\n");
        assert_eq!(output.details["changes"], 2);
        assert!(status(Vec::new()).content.ends_with("[nothing differs from the head]"));
    }

    #[test]
    fn ten_thousand_changes_are_counted_and_not_listed() {
        let changes =
            (0..10_000).map(|i| Change { kind: ChangeKind::Modified, path: i.to_string() }).collect();
        let output = status(changes);
        assert!(output.content.ends_with("M 499\n[9500 more paths]"), "{}", output.content);
    }
}
