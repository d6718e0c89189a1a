//! One call into a component: a store of its own, a limit on everything, and
//! at its end the guest's words in the log.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wasmtime::{Engine, Store};

use crate::failure::{Failure, explain};
use crate::limits::{GRACE, HANDLES, HOSTCALL_BYTES};
use crate::log::Writer;
use crate::state::State;

/// The limits of one call.
pub(crate) struct Bounds<'a> {
    pub(crate) time: Duration,
    pub(crate) deadline: Instant,
    pub(crate) cancel: &'a CancellationToken,
}

/// Runs `body` in a fresh store. The store is dropped before this returns,
/// whatever happens, and with it the processes that the guest holds; a store
/// whose future was dropped is never entered again.
pub(crate) async fn run<T: Send>(
    engine: &Engine,
    places: &Semaphore,
    state: State,
    bounds: Bounds<'_>,
    body: impl for<'a> FnOnce(&'a mut Store<State>) -> BoxFuture<'a, wasmtime::Result<T>> + Send,
) -> Result<T, Failure> {
    let (stdout, stderr) = (state.stdout.clone(), state.stderr.clone());
    let mut log = state.log.sibling();
    let work = async move {
        // before the pool: a pool that is full refuses instead of waiting
        let _place = places.acquire().await.map_err(|_| Failure::Crowded)?;
        let mut store = store(engine, state);
        body(&mut store).await.map_err(|error| {
            // with the guest's backtrace, for its author
            explain(&error).lines().take(100).for_each(|line| store.data().log.line("error", line));
            Failure::of(&error)
        })
    };
    let result = tokio::select! {
        biased;
        result = work => result,
        () = tokio::time::sleep_until(bounds.deadline) => Err(Failure::Time(bounds.time.as_millis())),
        () = long_cancelled(bounds.cancel) => Err(Failure::Cancelled),
    };
    for (level, capture) in [("info", stdout), ("warn", stderr)] {
        capture.lines().iter().for_each(|line| log.guest(level, line));
    }
    note_failure(&log, &result);
    result
}

fn note_failure<T>(log: &Writer, result: &Result<T, Failure>) {
    if let Err(failure) = result {
        log.line("error", &failure.to_string());
    }
}

/// A cancelled call may end in order, but not take its time.
async fn long_cancelled(cancel: &CancellationToken) {
    cancel.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

fn store(engine: &Engine, state: State) -> Store<State> {
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limiter);
    // at each tick the guest gives way to other tasks, and to the clock in `run`
    store.epoch_deadline_async_yield_and_update(1);
    store.set_epoch_deadline(1);
    store.set_hostcall_fuel(HOSTCALL_BYTES);
    store.set_max_component_handles(HANDLES);
    store
}
