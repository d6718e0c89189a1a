//! Notices when the agent goes in circles.

use std::collections::HashMap;

use sortie_core::digest::Digest;

/// How often the same call may give the same result.
const SAME_RESULT: u32 = 4;
/// How many failures of one tool with one text may follow each other.
const SAME_FAILURE: u32 = 3;

/// What to do after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Go on.
    Continue,
    /// Tell the model, once.
    Warn,
    /// It was told, and went on: stop.
    Stop,
}

/// Watches calls and their results.
#[derive(Debug, Default)]
pub(crate) struct LoopWatch {
    seen: HashMap<[u8; 32], u32>,
    last_failure: Option<[u8; 32]>,
    failures: u32,
    warned: bool,
}

impl LoopWatch {
    /// Notes a call and its result.
    pub(crate) fn note(&mut self, tool: &str, arguments: &str, content: &str, failed: bool) -> Advice {
        let count = self.seen.entry(key(&[tool, arguments, content])).or_default();
        *count += 1;
        let circles = *count >= SAME_RESULT;
        if self.count_failure(failed.then(|| key(&[tool, content]))) || circles {
            // both counts begin anew, so that a model that heeds the warning is not stopped by its past
            self.seen.clear();
            self.failures = 0;
            if std::mem::replace(&mut self.warned, true) { Advice::Stop } else { Advice::Warn }
        } else {
            Advice::Continue
        }
    }

    fn count_failure(&mut self, failure: Option<[u8; 32]>) -> bool {
        self.failures = match failure {
            None => 0,
            Some(kind) if self.last_failure == Some(kind) => self.failures + 1,
            Some(_) => 1,
        };
        self.last_failure = failure;
        self.failures >= SAME_FAILURE
    }
}

fn key(parts: &[&str]) -> [u8; 32] {
    // lengths keep ("ab", "c") and ("a", "bc") apart
    let text: String = parts.iter().map(|part| format!("{}:{part}", part.len())).collect();
    *Digest::of(text.as_bytes()).bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_call_with_the_same_result_four_times_is_told_once_then_stopped() {
        let mut watch = LoopWatch::default();
        let mut note = || watch.note("shell", "ls", "a", false);
        let advice: Vec<_> = (0..8).map(|_| note()).collect();
        assert_eq!(advice[3], Advice::Warn);
        assert_eq!(advice[7], Advice::Stop);
        assert!(advice[..3].iter().all(|a| *a == Advice::Continue));
    }

    #[test]
    fn a_call_whose_result_changes_is_no_loop() {
        let mut watch = LoopWatch::default();
        for n in 0..20 {
            assert_eq!(watch.note("shell", "date", &n.to_string(), false), Advice::Continue);
        }
    }

    #[test]
    fn three_equal_failures_in_a_row_are_a_loop_whatever_the_arguments() {
        let mut watch = LoopWatch::default();
        assert_eq!(watch.note("edit", "1", "no such file", true), Advice::Continue);
        assert_eq!(watch.note("edit", "2", "no such file", true), Advice::Continue);
        assert_eq!(watch.note("edit", "3", "no such file", true), Advice::Warn);
    }
}
