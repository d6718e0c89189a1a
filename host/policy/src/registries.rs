//! What `registries` stands for in a task's network rules.

use std::sync::{Arc, PoisonError, RwLock};

use sortie_core::network::{Contact, HostPattern, NetworkRule};

/// The hosts of the package managers in use. Nobody's until they were asked,
/// so that a rule lets nothing through that nobody named. A handle: clones
/// are of the same hosts.
#[derive(Clone, Debug, Default)]
pub struct Registries(Arc<RwLock<Vec<HostPattern>>>);

impl Registries {
    /// Takes over what the managers said, in place of what they said before.
    pub fn learn(&self, hosts: Vec<HostPattern>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = hosts;
    }

    /// The hosts.
    pub fn hosts(&self) -> Vec<HostPattern> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a rule, with these hosts where it says `registries`, lets this
    /// through.
    pub fn permit(&self, rule: &NetworkRule, contact: &Contact) -> bool {
        let known = || self.0.read().unwrap_or_else(PoisonError::into_inner);
        let is_one = || known().iter().any(|pattern| pattern.matches(contact.host(), contact.port()));
        rule.permits(contact) || rule.wants_registries() && is_one()
    }
}
