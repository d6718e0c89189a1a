//! The policies of a task, in order.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use sortie_core::action::{Action, ActionKind};
use sortie_core::{Facts, Verdict};

/// What a policy is asked to decide on.
#[derive(Clone, Debug)]
pub struct PolicyEvent {
    /// Unique within the task.
    pub id: String,
    /// Who acts.
    pub actor: String,
    /// What is about to happen.
    pub action: Action,
    /// The circumstances.
    pub facts: Facts,
}

/// A policy that failed instead of deciding: a trap, a timeout, too much
/// memory, a malformed answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

/// One policy.
#[async_trait]
pub trait Evaluator: Send + Sync {
    /// Decides. The same event always gives the same verdict.
    ///
    /// # Errors
    /// If the policy fails; the gate then refuses.
    async fn evaluate(&self, event: &PolicyEvent) -> Result<Verdict, Fault>;
}

/// Who set a policy up. Earlier layers come first; a lower layer can only
/// tighten what the ones above it say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The organisation.
    Organisation,
    /// The repository, which is not trusted: it can deny, and ask before what
    /// would happen without it.
    Repository,
    /// The user who runs the task.
    User,
}

/// A policy and its place in the chain.
#[derive(Clone)]
pub struct Link {
    /// The policy's id.
    pub id: String,
    /// Who set it up.
    pub layer: Layer,
    /// Within a layer, the lower comes first.
    pub priority: i32,
    /// The kinds of actions that it is asked about. A fault of the policy
    /// refuses these and no others.
    pub subscribes: BTreeSet<ActionKind>,
    /// Whether it may change actions; of no effect in a repository's policy.
    pub mutates: bool,
    /// The policy.
    pub evaluator: Arc<dyn Evaluator>,
}

impl Link {
    /// What a repository made of an action would be asked for in the name of
    /// whoever wanted the first one.
    pub(crate) fn may_mutate(&self) -> bool {
        self.mutates && self.layer != Layer::Repository
    }
}

/// The policies of a task, in order of layer, priority, id.
#[derive(Clone, Default)]
pub struct Chain(Vec<Link>);

impl Chain {
    /// Puts policies in order.
    pub fn new(mut links: Vec<Link>) -> Self {
        links.sort_by(|a, b| (a.layer, a.priority, &a.id).cmp(&(b.layer, b.priority, &b.id)));
        Self(links)
    }

    pub(crate) fn subscribers(&self, kind: ActionKind) -> impl Iterator<Item = &Link> {
        self.0.iter().filter(move |link| link.subscribes.contains(&kind))
    }
}
