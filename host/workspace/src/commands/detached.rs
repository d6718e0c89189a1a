//! Commands in the background: those that live on between two calls of a tool.
//!
//! Init only keeps the process; its pipes are the host's. Each parked command has a task that reads on, so that
//! a server's log does not fill its pipe and stop it, and keeps the newest of it. A command that has ended frees
//! its place; what it last said stays readable, within a bound of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use sortie_policy::ports::{Background, Chunk, ErrorCode, Exit, PortError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::BackgroundWatch;
use crate::client::Running;

/// Commands of one workspace that may run in the background at a time.
const RUNNING: usize = 64;

/// Commands that have ended and are still known.
const ENDED: usize = 64;

/// Until commands that were killed, and whose ends are not told, are let go of.
const PATIENCE: Duration = Duration::from_secs(2);

/// The background commands of one workspace. Dropping it kills them.
#[derive(Default)]
pub(super) struct Detached {
    slots: Mutex<Slots>,
    watch: OnceLock<Arc<dyn BackgroundWatch>>,
}

#[derive(Default)]
struct Slots {
    last: u64,
    slots: BTreeMap<u64, Slot>,
}

struct Slot {
    life: Arc<Life>,
    place: Place,
}

enum Place {
    Parked(Parked),
    /// Somebody has taken it up.
    Held,
    /// Nobody holds it any more: it was killed, or its end was read and dropped.
    Gone,
}

struct Parked {
    call_back: oneshot::Sender<()>,
    reader: JoinHandle<Running>,
}

impl Parked {
    fn new(mut running: Running) -> Self {
        let (call_back, mut called_back) = oneshot::channel();
        let reader = tokio::spawn(async move {
            tokio::select! {
                () = running.park() => {}
                // An error means that the slot is gone, and nobody can take the command up: it ends with us.
                _ = &mut called_back => {}
            }
            running
        });
        Self { call_back, reader }
    }

    async fn take(self) -> Result<Running, PortError> {
        // The reader listens until it is called back.
        let _ = self.call_back.send(());
        self.reader.await.map_err(PortError::internal)
    }
}

/// What is known of a command, whoever holds it.
struct Life {
    number: u64,
    command: String,
    started: Instant,
    ended: OnceLock<(Exit, Duration)>,
}

impl Life {
    fn describe(&self) -> Background {
        let ended = self.ended.get();
        Background {
            id: format!("p{}", self.number),
            command: self.command.clone(),
            age: ended.map_or_else(|| self.started.elapsed(), |(_, age)| *age),
            exit: ended.map(|(exit, _)| *exit),
        }
    }

    fn runs(&self) -> bool {
        self.ended.get().is_none()
    }
}

impl Detached {
    /// Has begin and end of each command told.
    pub(super) fn set_watch(&self, watch: Arc<dyn BackgroundWatch>) {
        // The first one stays: it was told of what began before.
        let _ = self.watch.set(watch);
    }

    /// Parks a command for the first time and gives it an id. Must be called within a tokio runtime.
    pub(super) fn park(
        &self,
        mut running: Running,
        command: String,
        started: Instant,
    ) -> Result<String, PortError> {
        let mut slots = self.lock();
        if slots.slots.values().filter(|slot| slot.life.runs()).count() >= RUNNING {
            let message = format!("{RUNNING} commands run in the background: end one first");
            return Err(PortError::new(ErrorCode::Unavailable, message));
        }
        slots.last += 1;
        let life = Arc::new(Life { number: slots.last, command, started, ended: OnceLock::new() });
        let watch = self.watch.get().cloned();
        if let Some(watch) = &watch {
            watch.started(&life.describe());
        }
        let ending = Arc::clone(&life);
        running.at_end(move |ended| {
            let _ = ending.ended.set((ended.exit, ending.started.elapsed()));
            if let Some(watch) = watch {
                watch.ended(&ending.describe());
            }
        });
        let id = life.describe().id;
        slots.slots.insert(life.number, Slot { life, place: Place::Parked(Parked::new(running)) });
        slots.forget_old();
        Ok(id)
    }

    /// Parks a command again that was taken up.
    pub(super) fn park_again(&self, running: Running, id: &str) -> Result<String, PortError> {
        let mut slots = self.lock();
        let slot = number(id).and_then(|number| slots.slots.get_mut(&number)).ok_or_else(|| unknown(id))?;
        slot.place = Place::Parked(Parked::new(running));
        slots.forget_old();
        Ok(id.to_owned())
    }

    /// Takes a command up. If the caller gives up meanwhile, the command is killed.
    pub(super) async fn take(&self, id: &str) -> Result<Running, PortError> {
        let parked = {
            let mut slots = self.lock();
            let slot =
                number(id).and_then(|number| slots.slots.get_mut(&number)).ok_or_else(|| unknown(id))?;
            match std::mem::replace(&mut slot.place, Place::Held) {
                Place::Parked(parked) => parked,
                Place::Held => {
                    return Err(PortError::new(
                        ErrorCode::Conflict,
                        format!("the command `{id}` is held already"),
                    ));
                }
                Place::Gone => {
                    slot.place = Place::Gone;
                    return Err(unknown(id));
                }
            }
        };
        let mut freeing = Freeing { detached: self, id, keep: false };
        let mut running = parked.take().await?;
        running.tell_again();
        freeing.keep = true;
        Ok(running)
    }

    /// Notes that nobody holds a command any more.
    pub(super) fn forget(&self, id: &str) {
        let mut slots = self.lock();
        if let Some(slot) = number(id).and_then(|number| slots.slots.get_mut(&number)) {
            slot.place = Place::Gone;
        }
    }

    /// All that are known, oldest first.
    pub(super) fn list(&self) -> Vec<Background> {
        self.lock().slots.values().map(|slot| slot.life.describe()).collect()
    }

    /// Kills all that run and waits for their ends; returns them as they were before.
    pub(super) async fn end_all(&self) -> Vec<Background> {
        let (running, parked): (Vec<_>, Vec<_>) = {
            let mut slots = self.lock();
            let alive: Vec<_> = slots.slots.values_mut().filter(|slot| slot.life.runs()).collect();
            let described = alive.iter().map(|slot| slot.life.describe()).collect();
            // One that is held ends with whoever holds it.
            let held = |slot: &&mut Slot| matches!(slot.place, Place::Held);
            let free = alive.into_iter().filter(|slot| !held(slot));
            (described, free.map(|slot| std::mem::replace(&mut slot.place, Place::Gone)).collect())
        };
        let mut killed = Vec::new();
        for place in parked {
            if let Place::Parked(parked) = place
                && let Ok(mut running) = parked.take().await
            {
                running.kill();
                killed.push(running);
            }
        }
        let deadline = Instant::now() + PATIENCE;
        for mut running in killed {
            let end = async {
                while let Ok(Some(chunk)) = running.next(Duration::MAX).await {
                    if matches!(chunk, Chunk::Exit(_)) {
                        break;
                    }
                }
            };
            let _ = tokio::time::timeout_at(deadline, end).await;
        }
        running
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Slots> {
        self.slots.lock().expect("nobody panics while holding it")
    }
}

impl Slots {
    /// Forgets the oldest of those that ended, beyond what is kept.
    fn forget_old(&mut self) {
        let ended = |slot: &Slot| !slot.life.runs() && !matches!(slot.place, Place::Held);
        let numbers: Vec<_> =
            self.slots.iter().filter(|(_, slot)| ended(slot)).map(|(number, _)| *number).collect();
        for number in &numbers[..numbers.len().saturating_sub(ENDED)] {
            self.slots.remove(number);
        }
    }
}

impl std::fmt::Debug for Detached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detached").finish_non_exhaustive()
    }
}

/// The number in an id, if it is written as we write it.
fn number(id: &str) -> Option<u64> {
    id.strip_prefix('p')?.parse().ok().filter(|number| format!("p{number}") == id)
}

fn unknown(id: &str) -> PortError {
    let id = sortie_core::text::one_line(id, 40);
    PortError::new(ErrorCode::NotFound, format!("no command of id `{id}` runs in the background"))
}

/// Frees an id unless its command was taken up whole.
struct Freeing<'a> {
    detached: &'a Detached,
    id: &'a str,
    keep: bool,
}

impl Drop for Freeing<'_> {
    fn drop(&mut self) {
        if !self.keep {
            self.detached.forget(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn an_id_has_one_spelling() {
        assert_eq!(number("p12"), Some(12));
        for id in ["", "p", "12", "p012", "p+1", "p-1", "P1", "p1 ", "p99999999999999999999"] {
            assert_eq!(number(id), None, "{id}");
        }
    }
}
