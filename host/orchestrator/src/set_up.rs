//! Set-up: in a workspace of its own, which ends before the agent's begins,
//! and once for all tasks that would do the same.
//!
//! ```text
//! what is it made of?  --identify-->  the key: image, commands, manifests, lock files
//!   a snapshot of this key?   yes: copied into the work tree and the home
//!                             no:  set-up's commands, in a workspace that has the secrets
//!                                  secrets left behind?  the task ends
//!                                  a snapshot, for the next task
//!   maintenance, in such a workspace as well
//! the agent's workspace begins
//! ```
//!
//! Secrets are variables of the commands in that workspace and nothing else.
//! No process of it is left when the agent's begins; what it wrote is searched
//! for them before anything of it is kept or shown.

mod key;
mod secrets;
mod snapshots;

use std::sync::Arc;
use std::time::Duration;

use sortie_agent::shorten;
use sortie_core::action::{Exec, SecretUse, Stage, WorkspaceCreate};
use sortie_core::digest::Digest;
use sortie_core::event::SetUpState;
use sortie_core::text::one_line;
use sortie_core::{Actor, TaskId};
use sortie_policy::ports::{Identity, PortError, Workspace, WorkspaceSpec};
use sortie_workspace::snapshot::{Listing, Snapshot};

use crate::environment::{Decided, SANDBOX, SetUpCommand};
use crate::run::{RunError, TaskRun, port};

/// Characters of a failed set-up that the model is told of; with every turn
/// again.
const FAILURE_SHOWN: usize = 2000;

/// How the names of images begin that a set-up made, and that go with it.
const SNAPSHOT_IMAGE: &str = "sortie-snapshot";
const TASK_IMAGE: &str = "sortie-task";

/// How the names of those images begin that a task's set-up made, and that are
/// not kept for others, each made from the one that stands before it by name.
/// They are there as long as the task's workspace is.
///
/// Ids of tasks are known to who sees their branches: what follows is not, so
/// that no repository can name the image of another one's task as its own.
pub fn task_images(id: &TaskId) -> String {
    format!("{TASK_IMAGE}:{id}-")
}

/// What set-up came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct SetUp {
    /// The image that the agent's workspace begins from, by id.
    pub(crate) image_id: Option<String>,
    /// What became of it.
    pub(crate) state: SetUpState,
    /// What the model is told.
    pub(crate) told: String,
    /// What that image goes with: nobody removes either before the agent's
    /// workspace has begun.
    pub(crate) snapshot: Option<Arc<Snapshot>>,
}

/// What a set-up is done in, and with.
struct Site<'a> {
    decided: &'a Decided,
    identity: Identity,
    key: Digest,
}

/// What there is of a set-up until it has ended, for whoever has to end it.
struct Made<'a> {
    up: &'a mut Option<Arc<dyn Workspace>>,
    own_images: &'a mut Vec<String>,
}

impl TaskRun {
    /// Brings the work tree and the home to where the work begins. `up` and
    /// `own_images` hold what is made as soon as it is there.
    pub(crate) async fn set_up(
        &self,
        decided: &Decided,
        up: &mut Option<Arc<dyn Workspace>>,
        own_images: &mut Vec<String>,
    ) -> Result<SetUp, RunError> {
        let mut made = Made { up, own_images };
        let is_idle = decided.setup.is_empty() && decided.maintenance.is_empty();
        if is_idle && self.plan.backend == SANDBOX {
            return Ok(SetUp::default());
        }
        let identity = self.identify(decided).await?;
        let nothing = SetUp { image_id: identity.image.clone(), ..SetUp::default() };
        if is_idle {
            return Ok(nothing);
        }
        let key = self.key(decided, &identity).await?;
        let site = Site { decided, identity, key };
        let mut done = match self.take_up(&site).await? {
            Some(done) => done,
            None if decided.setup.is_empty() => nothing,
            None => self.make(&site, &mut made).await?,
        };
        if !decided.maintenance.is_empty() {
            self.maintain(&site, &mut done, &mut made).await?;
        }
        Ok(done)
    }

    fn creation(&self, decided: &Decided, stage: Stage, image_id: Option<String>) -> WorkspaceCreate {
        WorkspaceCreate {
            backend: self.plan.backend.clone(),
            image: decided.image.clone(),
            image_id,
            build: decided.build.clone(),
            stage,
            root: decided.root && stage == Stage::SetUp,
            services: decided.services.clone(),
            setup_network: self.gate.defaults().setup_network.to_string(),
            agent_network: self.gate.defaults().agent_network.to_string(),
        }
    }

    fn spec(&self, decided: &Decided) -> WorkspaceSpec {
        WorkspaceSpec {
            work_tree: self.folder.work_tree(),
            home: self.folder.home(),
            variables: decided.variables.clone(),
            secrets: Vec::new(),
            images_of_repository: decided.images_of_repository.clone(),
            limits: decided.limits,
        }
    }

    async fn identify(&self, decided: &Decided) -> Result<Identity, RunError> {
        let shown = decided.image.clone().unwrap_or_else(|| match &decided.build {
            Some(build) => build.dockerfile.clone(),
            None => self.plan.backend.clone(),
        });
        let create = self.creation(decided, Stage::SetUp, None);
        let described = |identity: &Identity| identity.image.clone().unwrap_or_default();
        self.step("environment", shown, described, async {
            let permit = self.gate.permit(&Actor::Host, create).await?;
            let spec = self.spec(decided);
            self.workspaces.identify(permit, &spec).await.map_err(port("find what the workspace is made of"))
        })
        .await
    }

    /// Starts the agent's workspace.
    pub(crate) async fn start_workspace(
        &self,
        decided: &Decided,
        image_id: Option<String>,
    ) -> Result<Arc<dyn Workspace>, RunError> {
        let create = self.creation(decided, Stage::Work, image_id);
        let spec = self.spec(decided);
        self.step("workspace", self.plan.backend.clone(), |_| String::new(), async {
            let permit = self.gate.permit(&Actor::Host, create).await?;
            self.workspaces.create(permit, spec).await.map_err(port("start the workspace"))
        })
        .await
    }

    /// Starts a workspace for set-up, with its secrets.
    async fn start_set_up(
        &self,
        site: &Site<'_>,
        image_id: Option<String>,
        made: &mut Made<'_>,
    ) -> Result<Arc<dyn Workspace>, RunError> {
        for (name, _) in &self.plan.secrets {
            let environment = site.decided.name.clone();
            let secret_use = SecretUse { name: name.clone(), environment };
            // the value is in our hands already: the permission itself is all that is wanted
            drop(self.gate.permit(&Actor::Host, secret_use).await?);
        }
        if !self.plan.secrets.is_empty() {
            self.folder
                .suspect()
                .map_err(PortError::internal)
                .map_err(port("note that secrets are given"))?;
        }
        let create = self.creation(site.decided, Stage::SetUp, image_id);
        let spec = WorkspaceSpec { secrets: self.plan.secrets.clone(), ..self.spec(site.decided) };
        let shown = format!("{}, for set-up", self.plan.backend);
        let workspace = self
            .step("workspace", shown, |_| String::new(), async {
                let permit = self.gate.permit(&Actor::Host, create).await?;
                self.workspaces.create(permit, spec).await.map_err(port("start the workspace"))
            })
            .await?;
        *made.up = Some(Arc::clone(&workspace));
        Ok(workspace)
    }

    /// Runs set-up, and keeps what it made for the next task.
    async fn make(&self, site: &Site<'_>, made: &mut Made<'_>) -> Result<SetUp, RunError> {
        let work_tree = self.folder.work_tree();
        let before = tokio::task::spawn_blocking(move || Listing::of(&work_tree));
        let before = joined(before.await).map_err(port("look through the work tree"))?;
        // after the listing: what comes of a cache is no file of the repository
        self.take_up_caches(site).await?;
        let workspace = self.start_set_up(site, site.identity.image.clone(), made).await?;
        let mut done = SetUp { image_id: site.identity.image.clone(), ..SetUp::default() };
        let mut whole = true;
        for command in &site.decided.setup {
            whole &= self.set_up_command(&*workspace, command, site, &mut done.told).await?;
        }
        let name = match whole && self.plan.snapshots {
            // of this task as well: another one that does the same must not take its name
            true => format!("{SNAPSHOT_IMAGE}:{}-{}", site.key, self.plan.id),
            false => self.own_image(made),
        };
        self.leave(&*workspace, &name, &mut done, made).await?;
        done.state = SetUpState::Ran;
        if whole && self.plan.snapshots {
            done.snapshot = self.keep(site, before, done.image_id.clone()).await?.map(Arc::new);
        }
        if done.snapshot.is_some() {
            // it goes with the snapshot
            made.own_images.clear();
            done.state = SetUpState::Kept;
        }
        Ok(done)
    }

    fn own_image(&self, made: &Made<'_>) -> String {
        let secret = [TaskId::random(), TaskId::random(), TaskId::random(), TaskId::random()];
        let secret: String = secret.iter().map(TaskId::short).collect();
        format!("{}{}-{secret}", task_images(&self.plan.id), made.own_images.len())
    }

    /// Ends a workspace of set-up, and keeps its root file system as an image.
    /// Until it has ended, the folders may be those of its root.
    async fn leave(
        &self,
        workspace: &dyn Workspace,
        image: &str,
        done: &mut SetUp,
        made: &mut Made<'_>,
    ) -> Result<(), RunError> {
        if !self.plan.secrets.is_empty() && self.plan.backend != SANDBOX {
            let search = self.search_root(workspace);
            self.step("search", "what set-up wrote for secrets", |()| String::new(), search).await?;
        }
        if self.plan.backend != SANDBOX {
            // before it is there: a task that ends meanwhile removes it by this name
            made.own_images.push(image.to_owned());
            let id = self
                .step("image", "what set-up made", |_| String::new(), async {
                    workspace.commit(image).await.map_err(port("keep what set-up made"))
                })
                .await?;
            done.image_id = id.or(done.image_id.take());
        }
        // if it has not, nobody looks into them, nor keeps anything of them
        workspace.stop().await.map_err(port("end the workspace of set-up"))?;
        *made.up = None;
        self.search_folders().await
    }

    /// Runs what is to run before each task.
    async fn maintain(&self, site: &Site<'_>, done: &mut SetUp, made: &mut Made<'_>) -> Result<(), RunError> {
        let workspace = self.start_set_up(site, done.image_id.clone(), made).await?;
        for line in &site.decided.maintenance {
            let command = SetUpCommand { line: line.clone(), may_fail: false };
            self.set_up_command(&*workspace, &command, site, &mut done.told).await?;
        }
        let image = self.own_image(made);
        self.leave(&*workspace, &image, done, made).await
    }

    /// Runs a command. Whether it succeeded; one that must is an error otherwise.
    async fn set_up_command(
        &self,
        workspace: &dyn Workspace,
        command: &SetUpCommand,
        site: &Site<'_>,
        told: &mut String,
    ) -> Result<bool, RunError> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).ok();
        let exec = Exec {
            argv: vec!["sh".into(), "-c".into(), command.line.clone()],
            timeout_ms: ms(site.decided.time),
            idle_timeout_ms: site.decided.idle.and_then(ms),
            ..Exec::default()
        };
        let shown = one_line(&command.line, 300);
        let ran = self
            .step("install", shown.clone(), |()| shown.clone(), async {
                let finished = self.command(workspace, exec).await?;
                if finished.succeeded() {
                    return Ok(());
                }
                Err(RunError::SetUp { command: shown.clone(), failure: finished.failure() })
            })
            .await;
        match ran {
            Ok(()) => told.push_str(&format!("Set-up ran `{shown}`.\n")),
            Err(RunError::SetUp { failure, .. }) if command.may_fail => {
                self.warn(format!("the task goes on without `{}`", one_line(&command.line, 120)));
                let failure = shorten(&failure, FAILURE_SHOWN).text;
                told.push_str(&format!("Set-up ran `{shown}`, which failed: {failure}\n"));
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

fn joined<T, E: std::fmt::Display>(
    result: Result<Result<T, E>, tokio::task::JoinError>,
) -> Result<T, PortError> {
    result.map_err(PortError::internal)?.map_err(PortError::internal)
}
