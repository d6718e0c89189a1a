//! The gate itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use sortie_core::action::{Action, Effect};
use sortie_core::digest::Digest;
use sortie_core::event::Event;
use sortie_core::outcome::RefusedAction;
use sortie_core::text::clip;
use sortie_core::{Actor, Decision, Facts, Verdict};

use crate::approval::{Answer, Approver, Question};
use crate::audit::Audit;
use crate::chain::{Chain, Layer, Link, PolicyEvent};
use crate::defaults::Defaults;
use crate::permit::{Permit, Seal};
use crate::refusal::Refusal;

/// Where the gate learns the circumstances of an action.
pub trait FactsSource: Send + Sync {
    /// The circumstances now.
    fn facts(&self) -> Facts;
}

/// The one decision point of a task.
pub struct Gate {
    seal: Seal,
    chain: Chain,
    defaults: Defaults,
    facts: Arc<dyn FactsSource>,
    audit: Arc<dyn Audit>,
    approver: Arc<dyn Approver>,
    decided: AtomicU64,
}

/// What the chain came to, and through whom.
#[derive(Default)]
struct Ruling {
    /// Who would have it happen, be it after a question. None: the defaults decide.
    granted: Option<Source>,
    /// Who wants a person to agree first, and why.
    asked: Option<(Source, String)>,
}

impl Ruling {
    /// A repository cannot grant: its `allow` is an abstention, and its `ask`
    /// adds a question to what the others grant.
    fn grant(&mut self, link: &Link, source: &Source) {
        if link.layer != Layer::Repository {
            self.granted.get_or_insert_with(|| source.clone());
        }
    }
}

#[derive(Clone)]
struct Source {
    policy: String,
    rule: Option<String>,
    remedy: Option<String>,
}

impl Source {
    fn new(link: &Link, verdict: &Verdict) -> Self {
        Self { policy: link.id.clone(), rule: verdict.rule.clone(), remedy: verdict.remedy.clone() }
    }

    fn refuse(self, action: &Action, reason: impl Into<String>) -> Refusal {
        Refusal { rule: self.rule, remedy: self.remedy, ..Refusal::new(action, &self.policy, reason) }
    }
}

impl Gate {
    /// A gate for one task. Only `assemble.rs` makes one: whoever can make a
    /// gate can make permits.
    pub fn new(
        chain: Chain,
        defaults: Defaults,
        facts: Arc<dyn FactsSource>,
        audit: Arc<dyn Audit>,
        approver: Arc<dyn Approver>,
    ) -> Self {
        Self { seal: Seal::random(), chain, defaults, facts, audit, approver, decided: AtomicU64::new(0) }
    }

    /// The seal that this gate's permits bear.
    pub fn seal(&self) -> Seal {
        self.seal
    }

    /// What holds where every policy abstains.
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// Decides on an action. The decision is in the audit log before the
    /// permit exists.
    ///
    /// # Errors
    /// If the action is refused, or cannot be decided on: a fault of a policy
    /// or of the audit log refuses.
    pub async fn permit<A: Effect>(&self, actor: &Actor, effect: A) -> Result<Permit<A>, Refusal> {
        let mut event = PolicyEvent {
            id: format!("d{}", self.decided.fetch_add(1, Ordering::Relaxed) + 1),
            actor: actor.to_string(),
            action: effect.action(),
            facts: self.facts.facts(),
        };
        let decided = self.decide(effect, &mut event).await;
        let recorded = self.record(&event, decided.as_ref().map(|(_, source)| source));
        match (decided, recorded) {
            (Ok((effect, _)), Ok(())) => Ok(Permit::mint(effect, self.seal)),
            (Ok(_), Err(error)) => {
                Err(Refusal { fault: true, ..Refusal::new(&event.action, "audit", error.to_string()) })
            }
            (Err(refusal), _) => Err(refusal),
        }
    }

    /// Records that a port refused what this gate had permitted, such as an
    /// address that is not public.
    ///
    /// # Errors
    /// If it is known that it cannot be recorded. Nothing happened either way.
    pub fn record_refusal(&self, refused: RefusedAction) -> Result<(), crate::AuditError> {
        self.audit.record(Event::Refused(refused))
    }

    async fn decide<A: Effect>(&self, effect: A, event: &mut PolicyEvent) -> Result<(A, Source), Refusal> {
        let effect = self.mutate(effect, event).await?;
        let Ruling { granted, asked } = self.rule(event).await?;
        let source = match granted {
            Some(source) => source,
            None => self.by_default(event)?,
        };
        let source = match asked {
            Some((source, reason)) => self.ask(event, source, reason).await?,
            None => source,
        };
        Ok((effect, source))
    }

    /// What holds where nobody who may grant has a say.
    fn by_default(&self, event: &PolicyEvent) -> Result<Source, Refusal> {
        let source = Source { policy: "default".into(), rule: None, remedy: None };
        match self.defaults.objection(&event.action, &event.facts) {
            Some((reason, remedy)) => Err(Source { remedy, ..source }.refuse(&event.action, reason)),
            None => Ok(source),
        }
    }

    /// Lets the mutators change the action, one after the other.
    async fn mutate<A: Effect>(&self, mut effect: A, event: &mut PolicyEvent) -> Result<A, Refusal> {
        for link in self.chain.subscribers(A::KIND).filter(|link| link.may_mutate()) {
            let verdict = evaluate(link, event).await?;
            if let Decision::Transform(details) = verdict.decision {
                effect = effect.with_details(details).map_err(|error| {
                    fault(link, event, format!("it transformed the action to nonsense: {error}"))
                })?;
                event.action = effect.action();
            }
        }
        Ok(effect)
    }

    /// Shows the final action to every policy: deny > ask > allow.
    async fn rule(&self, event: &PolicyEvent) -> Result<Ruling, Refusal> {
        let mut ruling = Ruling::default();
        for link in self.chain.subscribers(event.action.kind) {
            let verdict = evaluate(link, event).await?;
            let source = Source::new(link, &verdict);
            match verdict.decision {
                Decision::Abstain => {}
                Decision::Deny(reason) => return Err(source.refuse(&event.action, reason)),
                Decision::Ask(reason) => {
                    ruling.grant(link, &source);
                    ruling.asked.get_or_insert((source, reason));
                }
                Decision::Allow => ruling.grant(link, &source),
                Decision::Transform(details) => settled(link, event, &details)?,
            }
        }
        Ok(ruling)
    }

    async fn ask(&self, event: &PolicyEvent, source: Source, reason: String) -> Result<Source, Refusal> {
        let question = Question {
            action: event.action.clone(),
            digest: digest(&event.action),
            policy: source.policy.clone(),
            rule: source.rule.clone(),
            reason: reason.clone(),
        };
        match self.approver.ask(question).await {
            Answer::Approved => Ok(source),
            Answer::Denied(why) => Err(source.refuse(&event.action, format!("{reason} ({why})"))),
        }
    }

    fn record(
        &self,
        event: &PolicyEvent,
        decided: Result<&Source, &Refusal>,
    ) -> Result<(), crate::AuditError> {
        let (decision, policy, rule, reason, remedy) = match decided {
            Ok(source) => ("allow", &source.policy, &source.rule, None, &None),
            Err(r) => {
                let decision = if r.fault { "fault" } else { "deny" };
                (decision, &r.policy, &r.rule, Some(r.reason.clone()), &r.remedy)
            }
        };
        self.audit.record(Event::Decision {
            id: event.id.clone(),
            actor: event.actor.clone(),
            kind: event.action.kind,
            target: clip(&event.action.target, 1000).into_owned(),
            digest: digest(&event.action),
            decision: decision.into(),
            policy: policy.clone(),
            rule: rule.clone(),
            reason,
            remedy: remedy.clone(),
        })
    }
}

async fn evaluate(link: &Link, event: &PolicyEvent) -> Result<Verdict, Refusal> {
    link.evaluator.evaluate(event).await.map_err(|error| fault(link, event, error.to_string()))
}

/// A mutator has had its turn; what it asks for now must be what is there.
fn settled(link: &Link, event: &PolicyEvent, details: &Value) -> Result<(), Refusal> {
    if !link.may_mutate() {
        let reason = "it may not change actions: the operator did not set `mutates`";
        return Err(fault(link, event, reason.into()));
    }
    if *details != event.action.details {
        return Err(fault(link, event, "its changes do not settle".into()));
    }
    Ok(())
}

fn fault(link: &Link, event: &PolicyEvent, reason: String) -> Refusal {
    let remedy = Some("the policy itself has to be mended: it failed instead of deciding".into());
    Refusal { fault: true, remedy, ..Refusal::new(&event.action, &link.id, reason) }
}

fn digest(action: &Action) -> String {
    let text = serde_json::to_vec(action).expect("an action has string keys only");
    Digest::of(&text).to_string()
}
