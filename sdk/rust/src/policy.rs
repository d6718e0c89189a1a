//! Policies: what decides on actions.

use serde::de::DeserializeOwned;

use crate::bindings::host::sortie::host::types;
use crate::bindings::policy::exports::sortie::policy::policy as wit;
use crate::event::Event;
use crate::{Result, Verdict, backend, config};

/// A policy. Evaluation is deterministic: the clock stands at the event's
/// time, randomness is seeded from the event, and there is no input or output
/// but settings and log.
pub trait Policy: Sized {
    /// What the operator can set.
    type Settings: DeserializeOwned;

    /// Makes the policy from its settings. Called at load, to check them, and
    /// before each event.
    ///
    /// # Errors
    /// If the settings are wrong, with the key at fault.
    fn new(settings: Self::Settings) -> Result<Self>;

    /// Checks what is worth checking only once, at load, after
    /// [`new`](Self::new).
    ///
    /// # Errors
    /// If the settings are wrong.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Decides on one event. Abstain on what you have no say in.
    ///
    /// # Errors
    /// An error is a fault of the policy, and a fault denies.
    fn evaluate(&self, event: &Event) -> Result<Verdict>;
}

/// Whether settings are good.
#[doc(hidden)]
pub fn validate_settings<P: Policy>(settings: &str) -> Result<(), types::Error> {
    let made = config::parse(settings).and_then(P::new);
    made.and_then(|policy| policy.check()).map_err(Into::into)
}

/// Decides on an event as it comes from the host.
///
/// # Panics
/// If the event is malformed or the policy fails: the host takes a panic for
/// a fault and denies, and the message reaches the policy's log.
#[doc(hidden)]
pub fn evaluate<P: Policy>(event: wit::Event) -> wit::Verdict {
    match decide::<P>(event) {
        Ok(verdict) => verdict.into(),
        Err(error) => panic!("the policy failed: {error}"),
    }
}

fn decide<P: Policy>(event: wit::Event) -> Result<Verdict> {
    let event = Event::parse(event)?;
    P::new(config::parse(&backend::config::get())?)?.evaluate(&event)
}

/// Exports a policy from this component.
#[macro_export]
macro_rules! export_policy {
    ($policy:ty) => {
        const _: () = {
            use $crate::bindings::host::sortie::host::types::Error;
            use $crate::bindings::policy::exports::sortie::policy::policy as wit;

            struct Component;

            impl wit::Guest for Component {
                fn validate_settings(settings: ::std::string::String) -> ::std::result::Result<(), Error> {
                    $crate::policy::validate_settings::<$policy>(&settings)
                }

                fn evaluate(event: wit::Event) -> wit::Verdict {
                    $crate::policy::evaluate::<$policy>(event)
                }
            }

    $crate::bindings::policy::export!(Component with_types_in $crate::bindings::policy);
        };
    };
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::{Error, ErrorCode};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[serde(default)]
        denied: String,
    }

    /// Denies one kind, and fails on `exec` without arguments.
    struct OneKind(Settings);

    impl Policy for OneKind {
        type Settings = Settings;

        fn new(settings: Settings) -> Result<Self> {
            Ok(Self(settings))
        }

        fn check(&self) -> Result<()> {
            if self.0.denied == "all" { Err(Error::invalid("`denied` names one kind")) } else { Ok(()) }
        }

        fn evaluate(&self, event: &Event) -> Result<Verdict> {
            event.action()?;
            let denied = event.kind == self.0.denied;
            Ok(if denied { Verdict::deny("no").rule("one").remedy("ask") } else { Verdict::abstain() })
        }
    }

    fn ask(kind: &str, details: &str, facts: &str) -> wit::Verdict {
        let action = wit::Action { kind: kind.into(), target: String::new(), details: details.into() };
        let event = wit::Event { id: "d1".into(), actor: "agent".into(), action, facts: facts.into() };
        let host = crate::testing::Host::new().settings(json!({"denied": "exec"}));
        host.enter(|| evaluate::<OneKind>(event))
    }

    #[test]
    fn a_verdict_reaches_the_host_with_rule_and_remedy() {
        let verdict = ask("exec", r#"{"argv": ["true"]}"#, "{}");
        assert!(matches!(verdict.decision, wit::Decision::Deny(reason) if reason == "no"));
        assert_eq!((verdict.rule.as_deref(), verdict.remedy.as_deref()), (Some("one"), Some("ask")));
        assert!(matches!(ask("beam", "{}", "{}").decision, wit::Decision::Abstain));
    }

    #[test]
    #[should_panic(expected = "the policy failed: details of exec: missing field `argv`")]
    fn a_policy_that_fails_panics_which_the_host_takes_for_a_fault() {
        ask("exec", "{}", "{}");
    }

    #[test]
    #[should_panic(expected = "facts of the event")]
    fn malformed_facts_are_a_fault() {
        ask("beam", "{}", r#"{"tool_calls": "many"}"#);
    }

    #[test]
    fn settings_are_checked_as_they_are_read_and_once_more_at_load() {
        let check = |settings: &str| {
            validate_settings::<OneKind>(settings).map_err(|error| (error.code, error.message))
        };
        assert_eq!(check("{}"), Ok(()));
        assert_eq!(check(""), Ok(()));
        for (settings, named) in
            [(r#"{"denyed": ""}"#, "denyed"), ("[", "settings"), (r#"{"denied": "all"}"#, "one kind")]
        {
            let (code, message) = check(settings).expect_err("is wrong");
            assert_eq!(code, ErrorCode::Invalid);
            assert!(message.contains(named), "{message}");
        }
    }
}
