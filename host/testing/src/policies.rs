//! Policies that are a function.

use std::sync::Arc;

use async_trait::async_trait;
use sortie_core::{ActionKind, Decision, Verdict};
use sortie_policy::{Evaluator, Fault, Layer, Link, PolicyEvent};

/// Decides by a function of the event.
pub struct Deciding<F>(pub F);

#[async_trait]
impl<F: Fn(&PolicyEvent) -> Result<Verdict, Fault> + Send + Sync> Evaluator for Deciding<F> {
    async fn evaluate(&self, event: &PolicyEvent) -> Result<Verdict, Fault> {
        (self.0)(event)
    }
}

/// A policy of the user's that is asked about everything and may change nothing.
pub fn link(id: &str, evaluator: Arc<dyn Evaluator>) -> Link {
    Link {
        id: id.into(),
        layer: Layer::User,
        priority: 0,
        subscribes: ActionKind::ALL.into(),
        mutates: false,
        evaluator,
    }
}

/// A policy that allows everything.
pub fn allowing() -> Link {
    link("allow", Arc::new(Deciding(|_: &PolicyEvent| Ok(Verdict::of(Decision::Allow)))))
}
