//! `sortie:host/git`.

use sortie_core::action::{Against, Change, ChangeKind, Commit, FileRead, ReadOperation};
use sortie_policy::ports::{PortError, Repository};

use super::{invalid, too_large};
use crate::bindings::host::git;
use crate::failure::HostError;
use crate::grants::{Wanted, normal};
use crate::limits::CONTENT;
use crate::state::{Call, State};

/// Commits of a log.
const COMMITS: u32 = 1000;
/// Bytes of a commit message.
const MESSAGE: usize = 64 << 10;
/// Paths that a diff may be asked for.
const PATHS: usize = 10_000;

impl git::Host for State {
    async fn status(&mut self) -> Result<git::State, HostError> {
        let call = self.reader("git status")?;
        let repository = repository(&call);
        let state = call.until_cancelled(async {
            let paths = paths(repository.changes(Against::Head).await?);
            let permit = call.permit(FileRead { operation: ReadOperation::Status, paths }).await?;
            let changes = repository.status(permit).await?;
            let state = repository.state().await?;
            let changes = changes.into_iter().map(to_wit).collect();
            Ok(git::State { branch: state.branch, base: state.base, head: state.head, changes })
        });
        Ok(state.await?)
    }

    async fn diff(
        &mut self,
        against: git::Against,
        wanted: Vec<String>,
        max: u32,
    ) -> Result<String, HostError> {
        let call = self.reader("git diff")?;
        let max = bounded(max)?;
        if wanted.len() > PATHS {
            return Err(too_large("a diff is asked for at most 10,000 paths").into());
        }
        let wanted = wanted.iter().map(|path| normal(path)).collect::<Result<Vec<_>, _>>()?;
        let against = match against {
            git::Against::Head => Against::Head,
            git::Against::Base => Against::Base,
        };
        let repository = repository(&call);
        let diff = call.until_cancelled(async {
            let mut paths = paths(repository.changes(against).await?);
            if !wanted.is_empty() {
                paths.retain(|path| wanted.iter().any(|wanted| lies_in(path, wanted)));
            }
            let permit =
                call.permit(FileRead { operation: ReadOperation::Diff { against, max }, paths }).await?;
            repository.diff(permit).await
        });
        Ok(cut(diff.await?, max))
    }

    async fn log(&mut self, max: u32) -> Result<Vec<git::CommitInfo>, HostError> {
        let call = self.reader("git log")?;
        let operation = ReadOperation::Log { max: max.min(COMMITS) };
        let log = call.until_cancelled(async {
            let permit = call.permit(FileRead { operation, paths: Vec::new() }).await?;
            repository(&call).log(permit).await
        });
        let commits = log.await?.into_iter().take(COMMITS as usize);
        Ok(commits
            .map(|commit| git::CommitInfo {
                id: commit.id,
                author: commit.author,
                time: commit.time,
                message: commit.message,
            })
            .collect())
    }

    async fn show(&mut self, rev: String, max: u32) -> Result<String, HostError> {
        let call = self.reader("git show")?;
        let max = bounded(max)?;
        if rev.is_empty() || rev.len() > 200 || rev.starts_with('-') {
            return Err(invalid("a revision is an id or `HEAD`, with `~N` if wanted").into());
        }
        let repository = repository(&call);
        let shown = call.until_cancelled(async {
            let paths = repository.survey_show(&rev).await?;
            let operation = ReadOperation::Show { rev: rev.clone(), max };
            let permit = call.permit(FileRead { operation, paths }).await?;
            repository.show(permit).await
        });
        Ok(cut(shown.await?, max))
    }

    async fn commit(&mut self, message: String) -> Result<String, HostError> {
        let call = self.call()?;
        call.granted(Wanted::GitCommit)?;
        if message.trim().is_empty() || message.len() > MESSAGE || message.contains('\0') {
            return Err(invalid("a commit message is a text of at most 64 KiB that is not empty").into());
        }
        let repository = repository(&call);
        let commit = call.until_cancelled(async {
            let branch = repository.state().await?.branch;
            let changes = repository.changes(Against::Head).await?;
            if changes.is_empty() {
                return Err(invalid("there is nothing to commit: the work tree is as the branch has it"));
            }
            let permit = call.permit(Commit { branch, message, changes }).await?;
            repository.commit(permit).await
        });
        Ok(commit.await?)
    }
}

impl State {
    /// The call, if its plugin may read the task's change.
    fn reader(&self, what: &'static str) -> Result<Call, PortError> {
        let call = self.call()?;
        call.granted(Wanted::GitRead(what))?;
        Ok(call)
    }
}

fn repository(call: &Call) -> &dyn Repository {
    call.task.context.repository.as_ref()
}

fn paths(changes: Vec<Change>) -> Vec<String> {
    changes.into_iter().map(|change| change.path).collect()
}

fn lies_in(path: &str, wanted: &str) -> bool {
    path.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn bounded(max: u32) -> Result<u32, PortError> {
    if max as usize > CONTENT { Err(too_large("at most 8 MiB are returned")) } else { Ok(max) }
}

/// The guest's bound holds whatever the port returns.
fn cut(mut text: String, max: u32) -> String {
    text.truncate(text.floor_char_boundary(max as usize));
    text
}

fn to_wit(change: Change) -> git::Change {
    let kind = match change.kind {
        ChangeKind::Added => git::ChangeKind::Added,
        ChangeKind::Modified => git::ChangeKind::Modified,
        ChangeKind::Deleted => git::ChangeKind::Deleted,
    };
    git::Change { path: change.path, kind }
}
