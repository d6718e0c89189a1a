//! Removing what hosts that were killed left with the engine.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum as State};
use bollard::query_parameters::ListContainersOptions;

use super::engine::Engine;
use super::error::EngineError;
use super::{OWNER_LABEL, SERVICE_LABEL, TASK_LABEL, WORKSPACE_LABEL};

impl Engine {
    /// Removes what an owner's hosts left when they were killed, and returns how many containers that were:
    ///
    /// - services of tasks that are not alive, and those whose workspace does not run;
    /// - other containers that do not run. One that does ends with its host, and the engine removes it.
    ///
    /// What was made less than `age` ago for a task that is alive is spared: its host may be about to start it.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn sweep(
        &self,
        owner: &str,
        age: Duration,
        is_alive: impl Fn(&str) -> bool,
    ) -> Result<usize, EngineError> {
        let abandoned = self.abandoned(owner, age, is_alive).await?;
        for id in &abandoned {
            // what stays is found again
            drop(super::removal::remove_soon(&self.api, id).await);
        }
        Ok(abandoned.len())
    }

    /// The containers that [`Engine::sweep`] would remove, by id.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn abandoned(
        &self,
        owner: &str,
        age: Duration,
        is_alive: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, EngineError> {
        let listed = self.containers(vec![format!("{OWNER_LABEL}={owner}")]).await?;
        let running: HashSet<_> =
            listed.iter().filter(|it| is_running(it)).filter_map(|it| it.id.clone()).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let old = |created: Option<i64>| {
            let created = u64::try_from(created.unwrap_or_default()).unwrap_or_default();
            now.saturating_sub(Duration::from_secs(created)) >= age
        };
        let abandoned = |it: &ContainerSummary| {
            let label = |name: &str| it.labels.as_ref().and_then(|labels| labels.get(name));
            let is_service = label(SERVICE_LABEL).is_some();
            // one that names no task is judged by its age alone
            if label(TASK_LABEL).is_some_and(|task| !is_alive(task)) {
                return is_service || !is_running(it);
            }
            let has_workspace = label(WORKSPACE_LABEL).is_some_and(|id| running.contains(id));
            old(it.created) && if is_service { !has_workspace } else { !is_running(it) }
        };
        let gone = listed.iter().filter(|it| abandoned(it));
        Ok(gone.filter_map(|it| it.id.clone()).collect())
    }

    /// As [`Engine::sweep`] where all tasks are alive.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn remove_abandoned(&self, owner: &str, age: Duration) -> Result<usize, EngineError> {
        self.sweep(owner, age, |_| true).await
    }

    /// The containers with all of these labels, in any state.
    pub(super) async fn containers(&self, labels: Vec<String>) -> Result<Vec<ContainerSummary>, EngineError> {
        let filters = HashMap::from([("label".to_owned(), labels)]);
        let options = ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
        self.api.list_containers(Some(options)).await.map_err(|error| self.silent(&error))
    }
}

fn is_running(container: &ContainerSummary) -> bool {
    // a paused one is being committed, or was; the engine lets it go on afterwards
    matches!(container.state, Some(State::RUNNING | State::PAUSED | State::RESTARTING | State::REMOVING))
}
