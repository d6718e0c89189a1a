//! Policies that were loaded.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use sortie_core::digest::Digest;
use sortie_core::text::one_line;
use sortie_core::{Decision, Verdict};
use sortie_policy::{Evaluator, Fault, PolicyEvent};
use tokio_util::sync::CancellationToken;

use crate::bindings::policy::PolicyHostPre;
use crate::bindings::policy::exports::sortie::policy::policy as wit;
use crate::error::Problem;
use crate::host::{Inner, Prepared, bounds, types};
use crate::log::PluginLog;
use crate::state::{Determined, PluginInfo, State};
use crate::tool::accepted;
use crate::{call, json};

/// A component that decides on actions. Clones share it.
#[derive(Clone)]
pub struct PolicyPlugin(Arc<Loaded>);

struct Loaded {
    host: Arc<Inner>,
    info: Arc<PluginInfo>,
    pre: PolicyHostPre<State>,
    digest: Digest,
    imports: Vec<String>,
}

impl PolicyPlugin {
    /// Asks the component whether it accepts its settings.
    pub(crate) async fn ask(host: Arc<Inner>, prepared: Prepared) -> Result<Self, Problem> {
        let Prepared { info, digest, pre, imports } = prepared;
        let pre = PolicyHostPre::new(pre).map_err(types)?;
        let never = CancellationToken::new();
        let determined = Determined { now: Duration::ZERO, seed: *digest.bytes() };
        let state = State::new(&info, host.limits.policy_memory, &host.log, None, Some(determined));
        let (guest, settings) = (pre.clone(), info.settings.clone());
        let checked = call::run(&host.engine, &host.policies, state, host.loading(&never), |store| {
            Box::pin(async move {
                let instance = guest.instantiate_async(&mut *store).await?;
                instance.sortie_policy_policy().call_validate_settings(store, &settings).await
            })
        });
        accepted(checked.await)?;
        Ok(Self(Arc::new(Loaded { host, info, pre, digest, imports })))
    }

    /// Id of the plugin.
    pub fn id(&self) -> &str {
        &self.0.info.id
    }

    /// SHA-256 of the component.
    pub fn digest(&self) -> &Digest {
        &self.0.digest
    }

    /// What the component imports, as `package/interface@version`.
    pub fn imports(&self) -> &[String] {
        &self.0.imports
    }

    /// The policy as a gate asks it; its words go to this log.
    pub fn into_evaluator(self, log: Arc<dyn PluginLog>) -> Arc<dyn Evaluator> {
        Arc::new(Asked { policy: self.0, log })
    }
}

struct Asked {
    policy: Arc<Loaded>,
    log: Arc<dyn PluginLog>,
}

#[async_trait]
impl Evaluator for Asked {
    async fn evaluate(&self, event: &PolicyEvent) -> Result<Verdict, Fault> {
        let Loaded { host, info, pre, .. } = self.policy.as_ref();
        let fault = |text: String| Fault(format!("policy `{}` failed: {text}", info.id));
        let (request, determined) = request(event).map_err(|error| fault(format!("the event: {error}")))?;
        let state = State::new(info, host.limits.policy_memory, &self.log, None, Some(determined));
        let (guest, never) = (pre.clone(), CancellationToken::new());
        let limits = bounds(host.limits.policy_time, &never);
        let verdict = call::run(&host.engine, &host.policies, state, limits, |store| {
            Box::pin(async move {
                let instance = guest.instantiate_async(&mut *store).await?;
                instance.sortie_policy_policy().call_evaluate(store, &request).await
            })
        });
        let verdict = Box::pin(verdict).await.map_err(|failure| fault(failure.to_string()))?;
        from_wit(verdict).map_err(|error| fault(format!("the details of its decision: {error}")))
    }
}

/// The event for the guest, and its clock and randomness.
fn request(event: &PolicyEvent) -> Result<(wit::Event, Determined), serde_json::Error> {
    let details = serde_json::to_string(&event.action.details)?;
    let facts = serde_json::to_string(&event.facts)?;
    let (kind, target) = (event.action.kind.name(), event.action.target.as_str());
    let seed = seed([&event.id, &event.actor, kind, target, &details, &facts]);
    // a time before 1970 has no form in WASI
    let now = Duration::try_from(event.facts.now.as_duration()).unwrap_or_default();
    let action = wit::Action { kind: kind.to_owned(), target: target.to_owned(), details };
    Ok((
        wit::Event { id: event.id.clone(), actor: event.actor.clone(), action, facts },
        Determined { now, seed },
    ))
}

/// The event's hash. Lengths keep the parts apart.
fn seed(parts: [&str; 6]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn from_wit(verdict: wit::Verdict) -> Result<Verdict, json::JsonError> {
    let decision = match verdict.decision {
        wit::Decision::Abstain => Decision::Abstain,
        wit::Decision::Allow => Decision::Allow,
        wit::Decision::Transform(details) => Decision::Transform(json::parse_object(&details)?),
        wit::Decision::Ask(reason) => Decision::Ask(one_line(&reason, 2000)),
        wit::Decision::Deny(reason) => Decision::Deny(one_line(&reason, 2000)),
    };
    let bounded = |text: Option<String>, most| text.map(|text| one_line(&text, most));
    Ok(Verdict { decision, rule: bounded(verdict.rule, 200), remedy: bounded(verdict.remedy, 500) })
}
