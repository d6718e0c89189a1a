//! Numbers, and the targets beside them.

use std::time::{Duration, Instant};

/// One line of the table.
struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    target: Option<Target>,
}

/// What a number is to be.
#[derive(Clone, Copy)]
enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// What was measured.
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// A number without a target.
    pub(crate) fn note(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        self.rows.push(Row { what: what.into(), value, unit, target: None });
    }

    /// A number that is to be no more than `most`.
    pub(crate) fn target(&mut self, what: impl Into<String>, value: f64, unit: &'static str, most: f64) {
        self.rows.push(Row { what: what.into(), value, unit, target: Some(Target::AtMost(most)) });
    }

    /// A number that is to be no less than `least`.
    pub(crate) fn at_least(&mut self, what: impl Into<String>, value: f64, unit: &'static str, least: f64) {
        self.rows.push(Row { what: what.into(), value, unit, target: Some(Target::AtLeast(least)) });
    }

    pub(crate) fn missed(&self) -> bool {
        self.rows.iter().any(Row::missed)
    }

    pub(crate) fn print(&self) {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        println!("\n{cores} cores; medians unless it says otherwise\n");
        for row in &self.rows {
            let target = row.target.map_or_else(String::new, |target| {
                let (bound, value) = match target {
                    Target::AtMost(most) => ("at most", most),
                    Target::AtLeast(least) => ("at least", least),
                };
                format!("{bound} {value} {}: {}", row.unit, if row.missed() { "missed" } else { "met" })
            });
            println!("{:<64} {:>9.2} {:<5} {target}", row.what, row.value, row.unit);
        }
    }
}

impl Row {
    fn missed(&self) -> bool {
        self.target.is_some_and(|target| match target {
            Target::AtMost(most) => self.value > most,
            Target::AtLeast(least) => self.value < least,
        })
    }
}

/// Times of the same thing done many times.
#[derive(Clone, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Waits for the work and keeps the time that it took.
    pub(crate) async fn time<T>(&mut self, work: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let result = work.await;
        self.push(start.elapsed());
        result
    }

    /// The time that so many of 100 times are no longer than; 50 is the median.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut times = self.0.clone();
        times.sort_unstable();
        let place = times.len() * percent / 100;
        times.get(place.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> Duration {
        self.percentile(50)
    }
}

impl Extend<Duration> for Times {
    fn extend<I: IntoIterator<Item = Duration>>(&mut self, times: I) {
        self.0.extend(times);
    }
}

impl IntoIterator for Times {
    type Item = Duration;
    type IntoIter = std::vec::IntoIter<Duration>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// How many times as long the first is as the second.
pub(crate) fn ratio(first: Duration, second: Duration) -> f64 {
    first.as_secs_f64() / second.as_secs_f64()
}
