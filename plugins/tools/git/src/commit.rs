//! `git_commit`.

use sortie_sdk::prelude::*;

use crate::short;

/// Commits all changes of the work tree to the task's branch. Ignored files, build output and what set-up
/// made are left out. Delivery pushes the branch: there is no need to push, and no tool to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GitCommit {
    /// The message: a line of at most 72 characters in the imperative; if there is more to say, an empty
    /// line and the rest.
    message: String,
}

impl Tool for GitCommit {
    const NAME: &'static str = "git_commit";
    const TITLE: &'static str = "Git commit";
    const EFFECTS: Effects = Effects::READS.union(Effects::WRITES);

    fn run(self, _call: &Call) -> Result<Output> {
        let message = self.message.trim();
        if message.is_empty() {
            return Err(Error::invalid("`message` is empty"));
        }
        if message.len() > 64 << 10 {
            return Err(Error::too_large("`message` has more than 64 KiB"));
        }
        let id = git::commit(message)?;
        let subject = message.lines().next().unwrap_or_default();
        let text = format!("committed {} {subject}", short(&id));
        Ok(Output::text(text).details(json!({ "commit": id })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sortie_sdk::git::{Change, ChangeKind};
    use sortie_sdk::testing::Host;

    fn host() -> Host {
        let mut state = Host::new().enter(git::status).expect("has a state");
        state.changes.push(Change { path: "a".into(), kind: ChangeKind::Added });
        Host::new().git(state, "")
    }

    #[test]
    fn a_commit_is_made_and_named() {
        let host = host();
        let output = host.call::<GitCommit>(json!({"message": "\nFix it\n\nBecause.\n"})).expect("commits");
        assert_eq!(output.content, "committed 000000000000 Fix it");
        assert_eq!(host.commits(), ["Fix it\n\nBecause."]);
    }

    #[test]
    fn nothing_to_say_or_nothing_to_commit_is_an_error() {
        let empty = host().call::<GitCommit>(json!({"message": " \n"})).expect_err("says nothing");
        assert_eq!(empty.message, "`message` is empty");
        let long = "x".repeat((64 << 10) + 1);
        assert!(host().call::<GitCommit>(json!({ "message": long })).is_err());
        let unchanged = Host::new().call::<GitCommit>(json!({"message": "m"})).expect_err("nothing differs");
        assert_eq!(unchanged.message, "nothing differs");
    }
}
