//! The port: one task's repository and work tree.

mod effects;
mod reading;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use ignore::gitignore::Gitignore;
use sortie_core::action::{Against, Change, Commit, FileRead, Push, ReadOperation, RepositoryFetch};
use sortie_policy::ports::{BranchState, CommitInfo, ErrorCode, PortError, Repository};
use sortie_policy::{Permit, Seal};
use tokio_util::sync::CancellationToken;

use crate::branch::check_branch_name;
use crate::folder::Owner;
use crate::git::Git;
use crate::ignore_rules::{Compiled, matcher};
use crate::message::Identity;
use crate::mirror::Mirrors;
use crate::set_up::SetUp;
use crate::source::Source;
use crate::stat_cache::StatCache;
use crate::store::Store;
use crate::tree::Listings;

/// What a task's repository needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the host's bare repository is or will be: in the task's folder,
    /// which the workspace does not see.
    pub host_repository: PathBuf,
    /// Root of the work tree; an empty folder until the checkout.
    pub work_tree: PathBuf,
    /// What is worked on.
    pub source: Source,
    /// The task's branch, without `refs/heads/`.
    pub branch: String,
    /// Whether the branch will be pushed: the fetch then makes sure that its
    /// name is free.
    pub deliver: bool,
    /// Author of the commits, and of the model's own in the work tree.
    pub author: Identity,
    /// Who commits.
    pub committer: Identity,
    /// Lines at the end of each message, such as `("Sortie-Task", "task-7k2m9q")`.
    pub trailers: Vec<(String, String)>,
    /// Who owns the files in the work tree (uid, gid), where the host is root
    /// and the workspace is not.
    pub owner: Option<(u32, u32)>,
    /// Build output that is never part of a change, as lines of a `.gitignore`;
    /// usually [`crate::BUILD_OUTPUT`].
    pub build_output: Vec<String>,
    /// Variables added to the environment of the `git` command, such as
    /// `GIT_SSH_COMMAND`. What the host's own environment has holds, too.
    pub environment: Vec<(OsString, OsString)>,
    /// What remotes sent before; none to fetch everything anew. Repositories
    /// of this machine need none.
    pub mirrors: Option<Mirrors>,
    /// Whose permits are honoured.
    pub seal: Seal,
    /// Ends what is under way, Git's network calls included.
    pub cancel: CancellationToken,
}

/// The repository of one task. Cheap to clone; operations on the same one
/// happen one after the other.
#[derive(Clone)]
pub struct TaskRepository(Arc<Inner>);

struct Inner {
    config: Config,
    owner: Owner,
    git: Git,
    build_output: Arc<Gitignore>,
    state: Mutex<State>,
}

/// What is kept between operations.
#[derive(Default)]
struct State {
    cache: StatCache,
    compiled: Compiled,
    listings: Listings,
    /// Read from the host's repository when it is first needed.
    set_up: Option<SetUp>,
    notices: Vec<String>,
    told: BTreeSet<String>,
}

impl State {
    fn tell(&mut self, notices: Vec<String>) {
        for notice in notices {
            if self.told.len() < 1000 && self.told.insert(notice.clone()) {
                self.notices.push(notice);
            }
        }
    }
}

impl fmt::Debug for TaskRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskRepository").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl TaskRepository {
    /// Makes the host's repository, or takes up the one of an earlier run of
    /// the same task. The caller holds the lock of the task's folder.
    ///
    /// # Errors
    /// `Invalid` if the branch's name or an identity cannot be used,
    /// `Internal` if the disk does not allow it.
    pub fn open(config: Config) -> Result<Self, PortError> {
        check_branch_name(&config.branch)?;
        config.author.signature()?;
        config.committer.signature()?;
        Store::create(&config.host_repository)?;
        let git = Git {
            directory: config.host_repository.clone(),
            environment: config.environment.clone(),
            cancel: config.cancel.clone(),
        };
        let build_output = Arc::new(matcher(config.build_output.iter().map(String::as_str)));
        let owner = Owner::new(config.owner);
        Ok(Self(Arc::new(Inner { config, owner, git, build_output, state: Mutex::default() })))
    }

    /// What was left out of changes so far and why, each once, for the user:
    /// fifos, repositories within the work tree, files that cannot be read.
    /// Takes them: the next call gives later ones.
    pub fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner).notices)
    }

    /// Content of a file as the base has it; none if there is no such file, or
    /// it is larger than `max` bytes.
    ///
    /// # Errors
    /// `Unavailable` before the fetch, `Internal` if the host's repository
    /// cannot be read.
    pub async fn base_file(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>, PortError> {
        let path = path.to_owned();
        self.blocking(move |inner, state| inner.base_file(state, path.as_bytes(), max)).await
    }

    /// Runs an operation on a thread that may block, alone on this task's repository.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Inner, &mut State) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let inner = Arc::clone(&self.0);
        let run = move || operation(&inner, &mut inner.state.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(run).await.map_err(PortError::internal)?
    }

    fn read_permit(&self, permit: Permit<FileRead>) -> Result<FileRead, PortError> {
        Ok(permit.redeem(self.0.config.seal)?)
    }
}

#[async_trait]
impl Repository for TaskRepository {
    fn take_notices(&self) -> Vec<String> {
        Self::take_notices(self)
    }

    async fn fetch(&self, permit: Permit<RepositoryFetch>) -> Result<String, PortError> {
        let action = permit.redeem(self.0.config.seal)?;
        self.fetch_base(action).await
    }

    async fn fetch_other(&self, permit: Permit<RepositoryFetch>) -> Result<String, PortError> {
        let action = permit.redeem(self.0.config.seal)?;
        self.fetch_other_base(action).await
    }

    async fn check_out(&self) -> Result<(), PortError> {
        self.blocking(Inner::check_out).await
    }

    async fn mark_set_up(&self) -> Result<(), PortError> {
        self.blocking(Inner::mark_set_up).await
    }

    async fn changes(&self, against: Against) -> Result<Vec<Change>, PortError> {
        self.blocking(move |inner, state| inner.changes(state, against)).await
    }

    async fn state(&self) -> Result<BranchState, PortError> {
        self.blocking(|inner, _| {
            let standing = inner.store()?.fetched()?;
            Ok(BranchState {
                branch: inner.config.branch.clone(),
                base: standing.base.to_string(),
                head: standing.head.to_string(),
            })
        })
        .await
    }

    async fn status(&self, permit: Permit<FileRead>) -> Result<Vec<Change>, PortError> {
        let action = self.read_permit(permit)?;
        let ReadOperation::Status = action.operation else { return Err(mismatch("status")) };
        self.blocking(move |inner, state| inner.status(state, &action.paths)).await
    }

    async fn diff(&self, permit: Permit<FileRead>) -> Result<String, PortError> {
        let action = self.read_permit(permit)?;
        let ReadOperation::Diff { against, max } = action.operation else { return Err(mismatch("diff")) };
        self.blocking(move |inner, state| inner.diff(state, against, &action.paths, max)).await
    }

    async fn log(&self, permit: Permit<FileRead>) -> Result<Vec<CommitInfo>, PortError> {
        let action = self.read_permit(permit)?;
        let ReadOperation::Log { max } = action.operation else { return Err(mismatch("log")) };
        self.blocking(move |inner, _| inner.log(max)).await
    }

    async fn survey_show(&self, rev: &str) -> Result<Vec<String>, PortError> {
        let rev = rev.to_owned();
        self.blocking(move |inner, _| inner.survey_show(&rev)).await
    }

    async fn show(&self, permit: Permit<FileRead>) -> Result<String, PortError> {
        let action = self.read_permit(permit)?;
        let ReadOperation::Show { rev, max } = action.operation else { return Err(mismatch("show")) };
        self.blocking(move |inner, _| inner.show(&rev, &action.paths, max)).await
    }

    async fn commit(&self, permit: Permit<Commit>) -> Result<String, PortError> {
        let action = permit.redeem(self.0.config.seal)?;
        self.blocking(move |inner, state| inner.commit(state, &action)).await
    }

    async fn planned_push(&self) -> Result<Option<Push>, PortError> {
        self.blocking(Inner::planned_push).await
    }

    async fn push(&self, permit: Permit<Push>) -> Result<(), PortError> {
        let action = permit.redeem(self.0.config.seal)?;
        self.push_branch(action).await
    }
}

fn mismatch(operation: &str) -> PortError {
    PortError::new(ErrorCode::Invalid, format!("the permit is not for `{operation}`"))
}
