//! For tests and benchmarks alone: what stands around a gate, as they want it to be, a server over https, and git.
//!
//! A crate has this among its `dev-dependencies` or not at all, so that nothing that is shipped can make a gate with
//! circumstances of its own choice, or one that keeps no record: `lib.rs` is linked into tests only, and clippy's
//! list of disallowed calls has what is here beside [`Gate::new`].

mod git;
pub mod https;
mod policies;
mod record;

use std::sync::{Arc, Mutex, PoisonError};

use sortie_core::network::NetworkRule;
use sortie_core::{Facts, Phase};
use sortie_policy::{Audit, Chain, Defaults, FactsSource, Gate, Link, Nobody, Registries};

pub use git::git;
pub use policies::{Deciding, allowing, link};
pub use record::{Kept, Unkept};

/// The circumstances of a task that has just begun to work.
pub fn facts() -> Facts {
    Facts {
        now: jiff::Timestamp::UNIX_EPOCH,
        task: "task-222222".into(),
        repository: String::new(),
        branch: String::new(),
        phase: Phase::Work,
        tool_calls: 0,
        turns: 0,
        input_tokens: 0,
        output_tokens: 0,
        elapsed_ms: 0,
        untrusted_text: false,
    }
}

/// Circumstances that change when a test says so.
#[derive(Debug)]
pub struct Still(Mutex<Facts>);

impl Still {
    /// These.
    pub fn at(facts: Facts) -> Self {
        Self(Mutex::new(facts))
    }

    /// From here on the task is in this phase.
    pub fn enter(&self, phase: Phase) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).phase = phase;
    }
}

impl Default for Still {
    fn default() -> Self {
        Self::at(facts())
    }
}

impl FactsSource for Still {
    fn facts(&self) -> Facts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// No repository, no provider and no network: where no policy allows it, only what stays within the workspace happens.
pub fn defaults() -> Defaults {
    Defaults {
        repository: String::new(),
        provider: String::new(),
        setup_network: NetworkRule::None,
        setup_key: "network.setup".into(),
        agent_network: NetworkRule::None,
        agent_key: "network.agent".into(),
        registries: Registries::default(),
    }
}

/// A gate of a task that has just begun to work, that keeps no record and has nobody to ask.
pub fn gate(links: Vec<Link>, defaults: Defaults) -> Gate {
    #[expect(clippy::disallowed_methods, reason = "for tests")]
    gate_with(links, defaults, Arc::default(), Arc::new(Unkept))
}

/// A gate that has nobody to ask, in these circumstances and with this record.
pub fn gate_with(links: Vec<Link>, defaults: Defaults, facts: Arc<Still>, audit: Arc<dyn Audit>) -> Gate {
    #[expect(clippy::disallowed_methods, reason = "for tests")]
    Gate::new(Chain::new(links), defaults, facts, audit, Arc::new(Nobody))
}
