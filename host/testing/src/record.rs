//! Where the decisions of a gate go.

use std::sync::{Mutex, PoisonError};

use sortie_core::event::Event;
use sortie_core::outcome::RefusedAction;
use sortie_policy::{Audit, AuditError};

/// A record that nobody keeps.
#[derive(Clone, Copy, Debug)]
pub struct Unkept;

impl Audit for Unkept {
    fn record(&self, _: Event) -> Result<(), AuditError> {
        Ok(())
    }
}

/// A record in memory.
#[derive(Debug, Default)]
pub struct Kept(Mutex<Vec<Event>>);

impl Kept {
    /// All of it so far.
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All of it since this was last asked.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Actor and target of each decision.
    pub fn decisions(&self) -> Vec<(String, String)> {
        let decision = |event| match event {
            Event::Decision { actor, target, .. } => Some((actor, target)),
            _ => None,
        };
        self.events().into_iter().filter_map(decision).collect()
    }

    /// What ports refused after it was permitted.
    pub fn refusals(&self) -> Vec<RefusedAction> {
        let refusal = |event| if let Event::Refused(refused) = event { Some(refused) } else { None };
        self.events().into_iter().filter_map(refusal).collect()
    }
}

impl Audit for Kept {
    fn record(&self, decision: Event) -> Result<(), AuditError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(decision);
        Ok(())
    }
}
