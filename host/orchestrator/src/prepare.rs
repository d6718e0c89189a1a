//! Prepare: clone, workspace up, set-up, baseline tests.

use std::sync::Arc;

use sortie_agent::Limits;
use sortie_core::Actor;
use sortie_core::action::{Push, RepositoryFetch, TaskSubmit};
use sortie_core::event::Event;
use sortie_policy::ports::{PortError, Tools, Workspace};

use crate::environment::Decided;
use crate::run::{Adopted, Progress, RunError, TaskRun, port};
use crate::set_up::SetUp;
use crate::tests_run::TestRun;

/// What the work begins with.
pub(crate) struct Prepared {
    pub(crate) workspace: Arc<dyn Workspace>,
    pub(crate) tools: Arc<dyn Tools>,
    pub(crate) limits: Limits,
    pub(crate) baseline: Option<TestRun>,
    /// What the model is told of set-up and baseline.
    pub(crate) situation: String,
}

/// What stands once set-up has ended.
pub(crate) struct Begun {
    base: String,
    adopted: Adopted,
    decided: Decided,
    pub(crate) set_up: SetUp,
}

impl TaskRun {
    /// `progress` holds the workspace as soon as it runs, and the images that
    /// are this task's alone, so that the one is stopped and the others
    /// removed whatever happens afterwards.
    pub(crate) async fn prepare(&self, progress: &mut Progress) -> Result<Prepared, RunError> {
        let Begun { base, adopted, decided, set_up } = self.prepare_set_up(progress).await?;
        let workspace = self.start_workspace(&decided, set_up.image_id).await?;
        progress.workspace = Some(Arc::clone(&workspace));
        // from here on the container itself holds its image
        drop(set_up.snapshot);
        let tools = self.tools.tools(&workspace).await.map_err(port("load the tools"))?;
        let mut situation =
            format!("The base commit is {base}; the task's branch is {}.\n", self.plan.branch);
        situation.push_str(&set_up.told);
        let baseline = self.run_tests(&*tools, None, "baseline").await?;
        situation.push_str(&baseline.as_ref().map_or_else(
            || "Baseline: no tests were found.\n".to_owned(),
            |run| format!("Baseline tests, before any change: {}\n", run.describe()),
        ));
        self.repository.mark_set_up().await.map_err(port("read the work tree"))?;
        Ok(Prepared { workspace, tools, limits: adopted.limits, baseline, situation })
    }

    /// As far as set-up goes.
    pub(crate) async fn prepare_set_up(&self, progress: &mut Progress) -> Result<Begun, RunError> {
        let Progress { workspace, made_of, .. } = progress;
        self.submit().await?;
        let (base, adopted) = self.check_out_base(&mut made_of.base).await?;
        let decided = self.decide_environment(&adopted).await?;
        self.learn_registries(&decided, adopted.wants_registries).await?;
        let set_up = self.set_up(&decided, workspace, &mut made_of.own_images).await?;
        made_of.image.clone_from(&decided.image);
        made_of.image_id.clone_from(&set_up.image_id);
        made_of.is_clean = true;
        let is_repositorys = |image: &String| decided.images_of_repository.contains(image);
        self.journal_append(Event::EnvironmentReady {
            environment: decided.name.clone(),
            image: decided.image.clone(),
            image_of_repository: decided.image.as_ref().is_some_and(is_repositorys),
            image_id: set_up.image_id.clone(),
            set_up: set_up.state,
        });
        Ok(Begun { base, adopted, decided, set_up })
    }

    async fn submit(&self) -> Result<(), RunError> {
        let submit = TaskSubmit {
            prompt: self.plan.prompt.clone(),
            repository: self.plan.repository.clone(),
            model: format!("{}/{}", self.model.provider(), self.model.name()),
        };
        // the task is in our hands already: the permission itself is all that is wanted
        drop(self.gate.permit(&Actor::User, submit).await?);
        self.foresee_push().await
    }

    /// Has the gate refuse now what it would refuse once all the work is done.
    async fn foresee_push(&self) -> Result<(), RunError> {
        if !self.plan.push || self.plan.may_push {
            return Ok(());
        }
        let push = Push {
            remote: self.plan.repository.clone(),
            reference: format!("refs/heads/{}", self.plan.branch),
            // neither is there yet, and neither would change anything
            commit: "0".repeat(40),
            changes: Vec::new(),
        };
        // nothing is pushed with this one
        drop(self.gate.permit(&Actor::Host, push).await?);
        Ok(())
    }

    /// Checks the base out and reads what the repository says of itself; where
    /// nobody else names a base, that may be another one.
    async fn check_out_base(&self, known: &mut Option<String>) -> Result<(String, Adopted), RunError> {
        let named = self.plan.environment.as_ref().and_then(|environment| environment.base.clone());
        let named = self.plan.base.clone().or(named);
        let is_named = named.is_some();
        let base = self.clone_repository(named, false, known).await?;
        let adopted =
            self.adopt.adopt(self.plan.limits).await.map_err(port("read the repository's settings"))?;
        let theirs = adopted.environment.as_ref().and_then(|environment| environment.base.clone());
        if is_named || self.plan.environment.is_some() || theirs.is_none() {
            return Ok((base, adopted));
        }
        let emptied = self.folder.empty_work_tree();
        emptied.map_err(PortError::internal).map_err(port("make room for another base"))?;
        Ok((self.clone_repository(theirs, true, known).await?, adopted))
    }

    /// `again` takes another base than the one that was fetched; `known` has
    /// it from when it is there.
    async fn clone_repository(
        &self,
        reference: Option<String>,
        again: bool,
        known: &mut Option<String>,
    ) -> Result<String, RunError> {
        let shown = match &reference {
            Some(reference) => format!("{} {reference}", self.plan.repository),
            None => self.plan.repository.clone(),
        };
        let fetch = RepositoryFetch { url: self.plan.repository.clone(), reference };
        self.step("clone", shown, |base: &String| base.clone(), async {
            let permit = self.gate.permit(&Actor::Host, fetch).await?;
            let base = match again {
                true => self.repository.fetch_other(permit).await,
                false => self.repository.fetch(permit).await,
            };
            let base = base.map_err(port("clone"))?;
            *known = Some(base.clone());
            self.repository.check_out().await.map_err(port("check out"))?;
            Ok::<_, RunError>(base)
        })
        .await
    }
}
