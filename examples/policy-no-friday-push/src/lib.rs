//! An example of a policy: no pushes on some days of the week.
//!
//! Build it with `cargo build --profile guest --target wasm32-wasip2 -p
//! example-policy-no-friday-push` and name it in the settings:
//!
//! ```toml
//! [[plugin]]
//! id = "no-friday-push"
//! path = "/PATH/target/wasm32-wasip2/guest/example_policy_no_friday_push.wasm"
//! actions = ["push"]
//! settings = { days = ["friday"], ask = false }
//! ```

use sortie_sdk::prelude::*;

/// What the operator can set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Days without pushes, in UTC.
    #[serde(default = "friday")]
    days: Vec<Day>,
    /// Whether somebody may agree to a push on such a day.
    #[serde(default)]
    ask: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

fn friday() -> Vec<Day> {
    vec![Day::Friday]
}

/// No pushes on some days of the week.
struct NoFridayPush(Settings);

impl Policy for NoFridayPush {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self(settings))
    }

    fn evaluate(&self, event: &Event) -> Result<Verdict> {
        let Action::Push(push) = event.action()? else {
            return Ok(Verdict::abstain());
        };
        let today = day_of(&event.facts.now)?;
        if !self.0.days.contains(&today) {
            return Ok(Verdict::abstain());
        }
        let reason = format!("today is {today:?}: nothing is pushed to {}", push.reference);
        let verdict = if self.0.ask { Verdict::ask(reason) } else { Verdict::deny(reason) };
        Ok(verdict.rule("day-of-week").remedy("run the task again on another day"))
    }
}

export_policy!(NoFridayPush);

/// The day of the week of a time as facts give it. A time that cannot be read
/// is an error: a policy that cannot tell must not let pass.
fn day_of(now: &str) -> Result<Day> {
    let now: jiff::Timestamp =
        now.parse().map_err(|error| Error::invalid(format!("`now` is not a time: {error}")))?;
    let weekday = now.to_zoned(jiff::tz::TimeZone::UTC).weekday();
    Ok(match weekday {
        jiff::civil::Weekday::Monday => Day::Monday,
        jiff::civil::Weekday::Tuesday => Day::Tuesday,
        jiff::civil::Weekday::Wednesday => Day::Wednesday,
        jiff::civil::Weekday::Thursday => Day::Thursday,
        jiff::civil::Weekday::Friday => Day::Friday,
        jiff::civil::Weekday::Saturday => Day::Saturday,
        jiff::civil::Weekday::Sunday => Day::Sunday,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push_on(now: &str) -> Event {
        let details =
            json!({"remote": "r", "reference": "refs/heads/sortie/x", "commit": "c", "changes": []});
        let event = Event::new("d1", "host", "push", "refs/heads/sortie/x", details, json!({"now": now}));
        event.expect("is an event")
    }

    fn decide(settings: Value, event: &Event) -> Result<Decision> {
        let verdict = testing::Host::new().settings(settings).evaluate::<NoFridayPush>(event)?;
        Ok(verdict.decision)
    }

    #[test]
    fn a_push_is_denied_on_the_days_that_are_set() {
        let friday = push_on("2026-11-20T10:00:00Z");
        assert!(matches!(decide(json!({}), &friday), Ok(Decision::Deny(_))));
        assert!(matches!(decide(json!({"ask": true}), &friday), Ok(Decision::Ask(_))));
        assert_eq!(decide(json!({"days": ["monday"]}), &friday), Ok(Decision::Abstain));
        assert_eq!(decide(json!({}), &push_on("2026-11-21T00:00:00Z")), Ok(Decision::Abstain));
    }

    #[test]
    fn other_actions_are_not_its_business() {
        let exec = Event::new("d1", "agent", "exec", "true", json!({"argv": ["true"]}), json!({}));
        assert_eq!(decide(json!({}), &exec.expect("is an event")), Ok(Decision::Abstain));
    }

    #[test]
    fn a_time_that_cannot_be_read_is_a_fault() {
        assert!(decide(json!({}), &push_on("yesterday")).is_err());
    }
}
