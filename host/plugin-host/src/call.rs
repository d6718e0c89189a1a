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

/// The longest that counts at once of the time in which nothing of this process had its turn.
const TURN: Duration = Duration::from_millis(20);

/// The limits of one call.
pub(crate) struct Bounds<'a> {
    pub(crate) time: Duration,
    /// When that is over, if the guest is told of it. Else only what this process had its turns in counts: a machine
    /// that is busy, or stood still, is no fault of a policy's.
    pub(crate) deadline: Option<Instant>,
    pub(crate) cancel: &'a CancellationToken,
}

impl Bounds<'_> {
    async fn passed(&self) {
        match self.deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => turns(self.time).await,
        }
    }
}

/// Waits for this much of the time in which this process had its turns.
async fn turns(time: Duration) {
    let mut left = time;
    while !left.is_zero() {
        let turn = left.min(TURN);
        tokio::time::sleep(turn).await;
        left -= turn;
    }
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
        () = bounds.passed() => Err(Failure::Time(bounds.time.as_millis())),
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
    turns(GRACE).await;
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

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_time_in_which_this_process_stood_still_hardly_counts() {
        let mut passed = pin!(turns(Duration::from_secs(1)));
        assert!(passed.as_mut().now_or_never().is_none());
        for _ in 1..50 {
            tokio::time::advance(Duration::from_secs(60)).await;
            assert!(passed.as_mut().now_or_never().is_none());
        }
        tokio::time::advance(TURN).await;
        assert!(passed.as_mut().now_or_never().is_some());
    }
}
