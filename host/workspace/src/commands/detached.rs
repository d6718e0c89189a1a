//! Commands that live on between two calls of a tool.
//!
//! Init only keeps the process; its pipes are the host's. Each parked command has a task that reads on, so that
//! a server's log does not fill its pipe and stop it, and keeps the newest of it.

use std::collections::HashMap;
use std::sync::Mutex;

use sortie_policy::ports::{ErrorCode, PortError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::Running;

/// Commands of one workspace that may be parked or held under an id at a time.
const MAX: usize = 64;

/// The detached commands of one workspace. Dropping it kills them.
#[derive(Debug, Default)]
pub(super) struct Detached {
    slots: Mutex<HashMap<String, Slot>>,
}

#[derive(Debug)]
enum Slot {
    Parked(Parked),
    /// Somebody has taken it up.
    Held,
}

#[derive(Debug)]
struct Parked {
    call_back: oneshot::Sender<()>,
    reader: JoinHandle<Running>,
}

impl Detached {
    /// Parks a command under `id`, or a new one. Must be called within a tokio runtime.
    pub(super) fn park(&self, mut running: Running, id: Option<String>) -> Result<String, PortError> {
        let mut slots = self.lock();
        if id.is_none() && slots.len() >= MAX {
            let message = format!("{MAX} commands run in the background: end one first");
            return Err(PortError::new(ErrorCode::Unavailable, message));
        }
        let id = id.map_or_else(new_id, Ok)?;
        let (call_back, mut called_back) = oneshot::channel();
        let reader = tokio::spawn(async move {
            tokio::select! {
                () = running.park() => {}
                // An error means that the slot is gone, and nobody can take the command up: it ends with us.
                _ = &mut called_back => {}
            }
            running
        });
        slots.insert(id.clone(), Slot::Parked(Parked { call_back, reader }));
        Ok(id)
    }

    /// Takes a command up. If the caller gives up meanwhile, the command is killed and its id free.
    pub(super) async fn take(&self, id: &str) -> Result<Running, PortError> {
        let parked = {
            let mut slots = self.lock();
            let slot = slots.get_mut(id).ok_or_else(|| {
                PortError::new(ErrorCode::NotFound, format!("no command of id `{id}` runs in the background"))
            })?;
            match std::mem::replace(slot, Slot::Held) {
                Slot::Parked(parked) => parked,
                Slot::Held => {
                    return Err(PortError::new(
                        ErrorCode::Conflict,
                        format!("the command `{id}` is held already"),
                    ));
                }
            }
        };
        let mut freeing = Freeing { detached: self, id, keep: false };
        let Parked { call_back, reader } = parked;
        // The reader listens until it is called back.
        let _ = call_back.send(());
        let running = reader.await.map_err(PortError::internal)?;
        freeing.keep = true;
        Ok(running)
    }

    /// Frees an id whose command has ended.
    pub(super) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Slot>> {
        self.slots.lock().expect("nobody panics while holding it")
    }
}

fn new_id() -> Result<String, PortError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(PortError::internal)?;
    Ok(format!("process-{:016x}", u64::from_le_bytes(bytes)))
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
