//! What a store holds: the one type of all stores, so that WASI is compiled
//! for it once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sortie_core::Actor;
use sortie_core::action::Effect;
use sortie_policy::Permit;
use sortie_policy::ports::{ErrorCode, PortError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::capture::Capture;
use crate::deterministic::{Frozen, Seeded};
use crate::failure::words;
use crate::grants::{Grants, Wanted};
use crate::interfaces::http::Hooks;
use crate::limits::{HANDLES, Limiter, RANDOM};
use crate::log::{PluginLog, Writer};
use crate::task::Task;

/// What is the same in every call of a plugin.
#[derive(Debug)]
pub(crate) struct PluginInfo {
    pub(crate) id: Arc<str>,
    /// Its settings, as JSON.
    pub(crate) settings: String,
    pub(crate) grants: Grants,
}

/// One call of a tool: what its host functions need.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) task: Arc<Task>,
    pub(crate) plugin: Arc<PluginInfo>,
    pub(crate) deadline: Instant,
    pub(crate) cancel: CancellationToken,
    /// What the guest could not be told in words: `wasi:http` has only codes.
    notes: Arc<Mutex<Vec<PortError>>>,
}

impl Call {
    pub(crate) fn new(
        task: Arc<Task>,
        plugin: Arc<PluginInfo>,
        deadline: Instant,
        cancel: CancellationToken,
    ) -> Self {
        Self { task, plugin, deadline, cancel, notes: Arc::default() }
    }

    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Whether the plugin may ask for this at all.
    pub(crate) fn granted(&self, wanted: Wanted<'_>) -> Result<(), PortError> {
        self.plugin.grants.check(&self.plugin.id, wanted)
    }

    /// Has the effect decided on.
    pub(crate) async fn permit<A: Effect>(&self, effect: A) -> Result<Permit<A>, PortError> {
        let actor = Actor::Tool(self.plugin.id.to_string());
        Ok(self.task.context.gate.permit(&actor, effect).await?)
    }

    /// Runs a host function until the task is cancelled.
    pub(crate) async fn until_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, PortError>>,
    ) -> Result<T, PortError> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(PortError::new(ErrorCode::Cancelled, "the task was cancelled")),
            result = work => result,
        }
    }

    pub(crate) fn note(&self, error: &PortError) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() < 8 {
            notes.push(PortError { message: words(&error.message), ..error.clone() });
        }
    }

    pub(crate) fn take_notes(&self) -> Vec<PortError> {
        std::mem::take(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a store holds.
pub(crate) struct State {
    pub(crate) table: ResourceTable,
    pub(crate) limiter: Limiter,
    pub(crate) plugin: Arc<PluginInfo>,
    pub(crate) log: Writer,
    /// None while a component is loaded, and in policies.
    pub(crate) call: Option<Call>,
    /// Commands that this call holds.
    pub(crate) processes: usize,
    pub(crate) progress_left: u32,
    pub(crate) stdout: Capture,
    pub(crate) stderr: Capture,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
}

/// Where a policy's clock stands and where its random numbers come from.
pub(crate) struct Determined {
    pub(crate) now: Duration,
    pub(crate) seed: [u8; 32],
}

impl State {
    pub(crate) fn new(
        plugin: &Arc<PluginInfo>,
        memory: usize,
        log: &Arc<dyn PluginLog>,
        call: Option<Call>,
        determined: Option<Determined>,
    ) -> Self {
        let (stdout, stderr) = (Capture::default(), Capture::default());
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(stdout.clone())
            .stderr(stderr.clone())
            .max_random_size(RANDOM)
            .allow_tcp(false)
            .allow_udp(false);
        if let Some(Determined { now, seed }) = determined {
            wasi.wall_clock(Frozen(now))
                .monotonic_clock(Frozen(now))
                .secure_random(Seeded::new(seed))
                .insecure_random(Seeded::new(seed))
                .insecure_random_seed(u128::from_le_bytes(std::array::from_fn(|at| seed[at])));
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        Self {
            table,
            limiter: Limiter::new(memory),
            plugin: Arc::clone(plugin),
            log: Writer::new(Arc::clone(log), Arc::clone(&plugin.id)),
            hooks: Hooks::new(call.clone()),
            call,
            processes: 0,
            progress_left: 1000,
            stdout,
            stderr,
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
        }
    }

    /// The call, for a host function that acts on the task.
    pub(crate) fn call(&self) -> Result<Call, PortError> {
        self.call.clone().ok_or_else(|| {
            PortError::new(ErrorCode::Unavailable, "there is no workspace while a plugin is loaded")
        })
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Silent;

    #[test]
    fn a_store_keeps_so_many_resources_and_no_more() {
        let plugin = PluginInfo { id: "p".into(), settings: String::new(), grants: Grants::default() };
        let log: Arc<dyn PluginLog> = Arc::new(Silent);
        let mut table = State::new(&Arc::new(plugin), 0, &log, None, None).table;
        for _ in 0..HANDLES {
            table.push(()).expect("there is room");
        }
        assert!(table.push(()).is_err());
    }
}
