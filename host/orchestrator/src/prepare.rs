//! Prepare: clone, workspace up, set-up, baseline tests.

use std::sync::Arc;
use std::time::Duration;

use sortie_agent::{Limits, shorten};
use sortie_core::Actor;
use sortie_core::action::{Exec, RepositoryFetch, TaskSubmit, WorkspaceCreate};
use sortie_core::text::one_line;
use sortie_policy::ports::{Tools, Workspace, WorkspaceSpec};

use crate::run::{Install, RunError, TaskRun, Toolmaker, port};
use crate::tests_run::TestRun;

/// The longest that a set-up may take.
const SETUP_TIME: Duration = Duration::from_secs(30 * 60);

/// Characters of a failed set-up that the model is told of; with every turn
/// again.
const FAILURE_SHOWN: usize = 2000;

/// What the work begins with.
pub(crate) struct Prepared {
    pub(crate) workspace: Arc<dyn Workspace>,
    pub(crate) tools: Arc<dyn Tools>,
    pub(crate) limits: Limits,
    pub(crate) baseline: Option<TestRun>,
    /// What the model is told of set-up and baseline.
    pub(crate) situation: String,
}

impl TaskRun {
    /// `up` holds the workspace as soon as it runs, so that it is stopped
    /// whatever happens afterwards.
    pub(crate) async fn prepare(
        &self,
        tools: &dyn Toolmaker,
        up: &mut Option<Arc<dyn Workspace>>,
    ) -> Result<Prepared, RunError> {
        self.submit().await?;
        let base = self.clone_repository().await?;
        let adopted =
            self.adopt.adopt(self.plan.limits).await.map_err(port("read the repository's settings"))?;
        let workspace = self.start_workspace().await?;
        *up = Some(Arc::clone(&workspace));
        self.learn_registries(&*workspace, adopted.wants_registries).await?;
        let tools = tools.tools(&workspace).await.map_err(port("load the tools"))?;
        let mut situation =
            format!("The base commit is {base}; the task's branch is {}.\n", self.plan.branch);
        let install = adopted.install.as_ref().unwrap_or(&self.plan.install);
        situation.push_str(&self.install(&*workspace, install, adopted.limits.setup_idle).await?);
        let baseline = self.run_tests(&*tools, None, "baseline").await?;
        situation.push_str(&baseline.as_ref().map_or_else(
            || "Baseline: no tests were found.\n".to_owned(),
            |run| format!("Baseline tests, before any change: {}\n", run.describe()),
        ));
        self.repository.mark_set_up().await.map_err(port("read the work tree"))?;
        Ok(Prepared { workspace, tools, limits: adopted.limits, baseline, situation })
    }

    async fn submit(&self) -> Result<(), RunError> {
        let submit = TaskSubmit {
            prompt: self.plan.prompt.clone(),
            repository: self.plan.repository.clone(),
            model: format!("{}/{}", self.model.provider(), self.model.name()),
        };
        // the task is in our hands already: the permission itself is all that is wanted
        drop(self.gate.permit(&Actor::User, submit).await?);
        Ok(())
    }

    async fn clone_repository(&self) -> Result<String, RunError> {
        let fetch = RepositoryFetch { url: self.plan.repository.clone(), reference: self.plan.base.clone() };
        self.step("clone", self.plan.repository.clone(), |base: &String| base.clone(), async {
            let permit = self.gate.permit(&Actor::Host, fetch).await?;
            let base = self.repository.fetch(permit).await.map_err(port("clone"))?;
            drop(self.base.set(base.clone()));
            self.repository.check_out().await.map_err(port("check out"))?;
            Ok::<_, RunError>(base)
        })
        .await
    }

    async fn start_workspace(&self) -> Result<Arc<dyn Workspace>, RunError> {
        let create = WorkspaceCreate {
            backend: self.plan.backend.clone(),
            image: self.plan.image.clone(),
            setup_network: self.gate.defaults().setup_network.to_string(),
            agent_network: self.gate.defaults().agent_network.to_string(),
        };
        let spec = WorkspaceSpec { work_tree: self.folder.work_tree(), home: self.folder.home() };
        self.step("workspace", self.plan.backend.clone(), |_| String::new(), async {
            let permit = self.gate.permit(&Actor::Host, create).await?;
            self.workspaces.create(permit, spec).await.map_err(port("start the workspace"))
        })
        .await
    }

    /// Installs dependencies; returns what the model is told of it.
    async fn install(
        &self,
        workspace: &dyn Workspace,
        install: &Install,
        idle: Option<Duration>,
    ) -> Result<String, RunError> {
        let commands: Vec<String> = match install {
            Install::Skip => Vec::new(),
            Install::Command(command) => vec![command.clone()],
            Install::Detect => {
                let detected = self.detect_install(workspace).await?.into_iter();
                detected
                    .inspect(|found| {
                        tracing::debug!(found.command, found.because, "detected an install command")
                    })
                    .map(|found| found.command)
                    .collect()
            }
        };
        let mut told = String::new();
        for command in commands {
            match self.install_with(workspace, &command, idle).await {
                Ok(()) => told.push_str(&format!("Set-up ran `{command}`.\n")),
                // a guess may fail where the task can still be done; a command that somebody set may not
                Err(RunError::SetUp(failure)) if *install == Install::Detect => {
                    self.warn(format!("the task goes on without `{}`", one_line(&command, 120)));
                    let failure = shorten(&failure, FAILURE_SHOWN).text;
                    told.push_str(&format!("Set-up ran `{command}`, which failed: {failure}\n"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(told)
    }

    async fn install_with(
        &self,
        workspace: &dyn Workspace,
        command: &str,
        idle: Option<Duration>,
    ) -> Result<(), RunError> {
        let exec = Exec {
            argv: vec!["sh".into(), "-c".into(), command.into()],
            timeout_ms: u64::try_from(SETUP_TIME.as_millis()).ok(),
            idle_timeout_ms: idle.and_then(|idle| u64::try_from(idle.as_millis()).ok()),
            ..Exec::default()
        };
        self.step("install", command, |()| command.to_owned(), async {
            let finished = self.command(workspace, exec).await?;
            if finished.succeeded() { Ok(()) } else { Err(RunError::SetUp(finished.failure())) }
        })
        .await
    }
}
