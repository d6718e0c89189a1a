//! Permission as a value.

use sortie_core::action::Effect;

/// Identifies one gate. A port is built with the seal of the gate whose
/// permits it honours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal([u8; 16]);

impl Seal {
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the operating system has randomness");
        Self(bytes)
    }
}

/// The permission to do one thing once, minted by [`crate::Gate::permit`] and
/// by nothing else.
#[derive(Debug)]
#[must_use = "a permit that is dropped permits nothing"]
pub struct Permit<A> {
    action: A,
    seal: Seal,
}

/// The permit was minted by another gate than the one that the port honours.
#[derive(Debug, thiserror::Error)]
#[error("the permit bears another gate's seal")]
pub struct ForeignPermit;

impl<A: Effect> Permit<A> {
    pub(crate) fn mint(action: A, seal: Seal) -> Self {
        Self { action, seal }
    }

    /// The action as it was permitted.
    pub fn action(&self) -> &A {
        &self.action
    }

    /// Gives the permit up for the action, which the port then carries out.
    ///
    /// # Errors
    /// If another gate minted the permit.
    pub fn redeem(self, seal: Seal) -> Result<A, ForeignPermit> {
        if self.seal == seal { Ok(self.action) } else { Err(ForeignPermit) }
    }
}
