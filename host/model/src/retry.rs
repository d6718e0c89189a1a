//! How long to wait before another attempt.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;

use crate::options::Retries;

/// The wait after attempt number `attempt`, from 1. `chance` is from 0 to 1.
pub(crate) fn wait(retries: &Retries, attempt: u32, asked_for: Option<Duration>, chance: f64) -> Duration {
    if let Some(asked_for) = asked_for {
        return asked_for.min(retries.longest_retry_after);
    }
    let doublings = attempt.saturating_sub(1).min(31);
    let longest = retries.first_wait.saturating_mul(1 << doublings).min(retries.longest_wait);
    longest.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0)
}

/// A number from 0 to 1 for [`wait`].
pub(crate) fn chance() -> f64 {
    // without randomness all tasks wait alike, which is no reason to fail
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

/// The wait that the head of a response asks for.
pub(crate) fn asked_for(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let seconds =
        |text: &str| text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    if let Some(wait) = text("retry-after-ms").and_then(seconds) {
        return Some(wait / 1000);
    }
    let after = text("retry-after")?;
    seconds(after).or_else(|| {
        let date = jiff::fmt::rfc2822::parse(after).ok()?.timestamp();
        Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
    })
}

/// Whether the head of a response forbids another attempt.
pub(crate) fn forbidden(headers: &HeaderMap) -> bool {
    headers.get("x-should-retry").is_some_and(|value| value == "false")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_vary_by_half() {
        let waits = |chance: f64| {
            let millis = |attempt| wait(&Retries::default(), attempt, None, chance).as_millis();
            [millis(1), millis(2), millis(6), millis(7), millis(40)]
        };
        assert_eq!(waits(0.0), [500, 1000, 16_000, 30_000, 30_000]);
        assert_eq!(waits(1.0), [250, 500, 8_000, 15_000, 15_000]);
    }

    #[test]
    fn a_server_may_ask_for_no_more_than_the_bound() {
        let asked = |seconds| wait(&Retries::default(), 1, Some(Duration::from_secs(seconds)), 0.0).as_secs();
        assert_eq!((asked(0), asked(7), asked(86_400)), (0, 7, 300));
    }

    #[test]
    fn a_wait_is_asked_for_in_seconds_milliseconds_or_by_a_date() {
        let now: Timestamp = "1994-11-06T08:49:30Z".parse().expect("is a time");
        let asked = |name: &'static str, value: &str| {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static(name),
                http::HeaderValue::from_str(value).expect("is a value"),
            )]);
            asked_for(&headers, now).map(|wait| wait.as_millis())
        };
        assert_eq!(asked("retry-after", "2"), Some(2000));
        assert_eq!(asked("retry-after", "0.25"), Some(250));
        assert_eq!(asked("retry-after-ms", "30"), Some(30));
        assert_eq!(asked("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), Some(7000));
        assert_eq!(asked("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT"), Some(0));
        for nonsense in ["soon", "-1", "nan", "inf", ""] {
            assert_eq!(asked("retry-after", nonsense), None, "{nonsense}");
        }
        assert_eq!(asked("retry-after", "1e300"), None);
    }
}
