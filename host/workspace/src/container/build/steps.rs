//! What the steps of a build may use up that no builder bounds: processes, and the engine's disk.
//!
//! The builder takes a limit of memory and one of processors and no others, and the kernel's own limit of processes does
//! not count root's. So what a step has is looked at four times a second, as the engine counts it. Too much of it ends
//! the step, and with it the build.

use std::collections::HashMap;

use bollard::query_parameters::{ListContainersOptions, StatsOptions};
use futures_util::StreamExt as _;
use sortie_policy::ports::{CommandLimit, LimitReached};

use crate::container::engine::Engine;
use crate::container::error::reason;
use crate::container::remove;
use crate::container::written::Written;
use crate::disk::{DiskLimits, EVERY};
use crate::sandbox::Keeper;

/// Looks in a row at which the engine may not know how many processes one step has: it begins, or ends.
const UNKNOWN: u32 = 40;

/// Why a build is to be ended.
pub(super) struct Over {
    why: String,
    step: Option<String>,
}

impl Over {
    fn of(step: String, reached: LimitReached) -> Self {
        Self { why: format!("a step reached the limit {reached}"), step: Some(step) }
    }

    fn unseen(why: String) -> Self {
        Self { why, step: None }
    }

    /// Ends the step, whose build nobody waits for any more, and says why.
    pub(super) async fn end(self, engine: &Engine) -> String {
        if let Some(step) = &self.step {
            // it has been given up: the builder removes what stays
            drop(remove(&engine.api, step).await);
        }
        self.why
    }
}

/// For how many looks in a row nobody knew how many processes one step has.
#[derive(Debug, Default)]
struct Unknown {
    step: String,
    looks: u32,
}

impl Unknown {
    /// Whether it is too often by now: of one step, as each of many short ones begins and ends.
    fn looked(&mut self, step: String, is_known: bool) -> bool {
        if is_known || step != self.step {
            *self = Self { step, looks: 0 };
        }
        self.looks += u32::from(!is_known);
        self.looks >= UNKNOWN
    }
}

/// The steps of a build that runs.
pub(super) struct Steps<'a> {
    engine: &'a Engine,
    /// The network that they join, and nobody else does.
    network: String,
}

impl<'a> Steps<'a> {
    /// Those in the network of this container.
    pub(super) fn of(engine: &'a Engine, container: &str) -> Self {
        Self { engine, network: format!("container:{container}") }
    }

    /// Ends when a step has too much, or cannot be looked at. Cancel-safe: it changes nothing.
    pub(super) async fn bounded(&self, processes: u64, disk: DiskLimits) -> Over {
        tokio::select! {
            why = self.processes(processes) => why,
            why = self.written(disk) => why,
        }
    }

    async fn processes(&self, most: u64) -> Over {
        if self.engine.about().enforced().processes == Keeper::Nobody {
            // which was accepted
            std::future::pending::<()>().await;
        }
        let mut unknown = Unknown::default();
        loop {
            tokio::time::sleep(EVERY).await;
            let step = match self.current().await {
                Ok(Some(step)) => step,
                Ok(None) => {
                    unknown = Unknown::default();
                    continue;
                }
                Err(why) => return Over::unseen(why),
            };
            let count = self.count(&step).await;
            if count.is_some_and(|count| count > most) {
                return Over::of(step, LimitReached { limit: CommandLimit::Processes, value: most });
            }
            if unknown.looked(step, count.is_some()) {
                return Over::unseen("the engine does not say how many processes a step has".to_owned());
            }
        }
    }

    async fn written(&self, disk: DiskLimits) -> Over {
        let mut watched: Option<(String, Written)> = None;
        loop {
            tokio::time::sleep(EVERY).await;
            let step = match self.current().await {
                Ok(Some(step)) => step,
                Ok(None) => continue,
                Err(why) => return Over::unseen(why),
            };
            // one step after the other
            let same = watched.take().filter(|(id, _)| *id == step);
            let (id, written) =
                watched.insert(same.unwrap_or_else(|| (step, Written::new(self.engine, disk))));
            if let Some(reached) = written.look(self.engine, id).await {
                return Over::of(id.clone(), reached);
            }
        }
    }

    /// The step that runs, if one does.
    async fn current(&self) -> Result<Option<String>, String> {
        let filters = HashMap::from([("status".to_owned(), vec!["running".to_owned()])]);
        let options = ListContainersOptions { filters: Some(filters), ..ListContainersOptions::default() };
        let listed = self.engine.api.list_containers(Some(options)).await;
        let listed =
            listed.map_err(|error| format!("the engine does not list its steps: {}", reason(&error)))?;
        let mut steps = listed.into_iter().filter(|container| {
            let network = container.host_config.as_ref().and_then(|host| host.network_mode.as_ref());
            network == Some(&self.network)
        });
        Ok(steps.next().and_then(|step| step.id))
    }

    /// How many processes and threads it has.
    async fn count(&self, step: &str) -> Option<u64> {
        let once = StatsOptions { stream: false, one_shot: true };
        let mut stats = std::pin::pin!(self.engine.api.stats(step, Some(once)));
        stats.next().await?.ok()?.pids_stats?.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_step_whose_processes_nobody_knows_ends_a_build_and_many_that_begin_and_end_do_not() {
        let mut unknown = Unknown::default();
        for step in 0..3 * UNKNOWN {
            let step = step.to_string();
            assert!(!unknown.looked(step.clone(), false) && !unknown.looked(step, false));
        }
        let mut looked = |is_known| unknown.looked("long".to_owned(), is_known);
        assert!((1..UNKNOWN).all(|_| !looked(false)), "it may begin yet");
        assert!(!looked(true) && (1..UNKNOWN).all(|_| !looked(false)), "or end");
        assert!(looked(false));
    }
}
