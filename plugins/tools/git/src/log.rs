//! `git_log`.

use sortie_sdk::prelude::*;

use crate::short;

/// Commits shown unless more or fewer are asked for.
const COMMITS: u32 = 10;

/// Characters of one message that are shown.
const MESSAGE: usize = 2000;

/// Shows the newest commits of the task's branch and of what it started from.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GitLog {
    /// The most commits shown, at most 1000. The default is 10.
    max: Option<u32>,
}

impl Tool for GitLog {
    const NAME: &'static str = "git_log";
    const TITLE: &'static str = "Git log";
    const EFFECTS: Effects = Effects::READS.union(Effects::IDEMPOTENT);

    fn run(self, _call: &Call) -> Result<Output> {
        let max = self.max.unwrap_or(COMMITS);
        if max == 0 || max > 1000 {
            return Err(Error::invalid("`max` is 1 to 1000"));
        }
        let commits = git::log(max)?;
        let mut text = String::new();
        for commit in &commits {
            let time = date(commit.time);
            text.push_str(&format!("commit {} {time} {}\n", short(&commit.id), commit.author));
            let message: String = commit.message.trim_end().chars().take(MESSAGE).collect();
            message.lines().for_each(|line| text.push_str(&format!("    {line}\n")));
        }
        if commits.is_empty() {
            text.push_str("[no commits]");
        }
        let ids: Vec<_> = commits.iter().map(|commit| commit.id.as_str()).collect();
        Ok(Output::text(text).details(json!({ "commits": ids })))
    }
}

/// The day of a time in seconds since 1970-01-01, in UTC, by the proleptic
/// Gregorian calendar.
fn date(seconds: i64) -> String {
    // Years are counted from March, in eras of 400 years that are all alike.
    let days = seconds.div_euclid(86_400) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sortie_sdk::git::{Change, ChangeKind};
    use sortie_sdk::testing::Host;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (951_782_400, "2000-02-29"),
            (1_709_251_199, "2024-02-29"),
            (1_709_251_200, "2024-03-01"),
            (4_107_542_400, "2100-03-01"),
            (1_798_761_599, "2026-12-31"),
        ] {
            assert_eq!(date(seconds), day);
        }
        date(i64::MIN);
        date(i64::MAX);
    }

    #[test]
    fn commits_come_newest_first_with_their_messages() {
        let mut state = Host::new().enter(git::status).expect("has a state");
        state.changes.push(Change { path: "a".into(), kind: ChangeKind::Added });
        let host = Host::new().git(state, "");
        host.enter(|| git::commit("one\n\nmore\n").and_then(|_| git::commit("two"))).expect("commits");
        let output = host.call::<GitLog>(json!({})).expect("shows");
        let expected = "commit 000000000000 1970-01-01 Test <test@localhost>\n    two\n\
                        commit 000000000000 1970-01-01 Test <test@localhost>\n    one\n    \n    more\n";
        assert_eq!(output.content, expected);
        assert_eq!(output.details["commits"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn an_empty_history_and_bounds_are_said() {
        assert_eq!(Host::new().call::<GitLog>(json!({})).expect("shows").content, "[no commits]");
        for max in [0, 1001] {
            assert!(Host::new().call::<GitLog>(json!({ "max": max })).is_err());
        }
    }
}
