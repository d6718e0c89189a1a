//! Counters of a task, and the facts that policies are shown.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sortie_core::outcome::Usage;
use sortie_core::{Facts, Phase};
use sortie_policy::FactsSource;

/// What of a task's facts never changes.
#[derive(Clone, Debug)]
pub struct TaskFacts {
    /// Id of the task.
    pub task: String,
    /// The repository, without credentials.
    pub repository: String,
    /// The branch that will be delivered.
    pub branch: String,
}

/// Counts what a task does.
#[derive(Debug)]
pub struct Meter {
    task: TaskFacts,
    started: Instant,
    phase: Mutex<Phase>,
    turns: AtomicU64,
    tool_calls: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    untrusted_text: AtomicBool,
}

impl Meter {
    /// A meter that stands at zero, in the prepare phase.
    pub fn new(task: TaskFacts) -> Self {
        Self {
            task,
            started: Instant::now(),
            phase: Mutex::new(Phase::Prepare),
            turns: AtomicU64::new(0),
            tool_calls: AtomicU64::new(0),
            input_tokens: AtomicU64::new(0),
            output_tokens: AtomicU64::new(0),
            untrusted_text: AtomicBool::new(false),
        }
    }

    /// The phase that the task is in.
    pub fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a phase begins.
    pub fn enter(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// Time since the task began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What the model cost so far.
    pub fn usage(&self) -> Usage {
        Usage {
            input_tokens: self.input_tokens.load(Ordering::Relaxed),
            output_tokens: self.output_tokens.load(Ordering::Relaxed),
            turns: self.turns.load(Ordering::Relaxed),
            tool_calls: self.tool_calls.load(Ordering::Relaxed),
        }
    }

    /// Tokens sent and received so far, together.
    pub(crate) fn tokens(&self) -> u64 {
        self.input_tokens.load(Ordering::Relaxed).saturating_add(self.output_tokens.load(Ordering::Relaxed))
    }

    /// Counts a reply. Its numbers are the server's, who may claim any: a
    /// counter that wrapped around would have its budget begin anew.
    pub(crate) fn count_turn(&self, usage: Usage) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        for (counter, tokens) in
            [(&self.input_tokens, usage.input_tokens), (&self.output_tokens, usage.output_tokens)]
        {
            let add = |counted: u64| Some(counted.saturating_add(tokens));
            let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }

    pub(crate) fn count_tool_call(&self, network: bool) {
        self.tool_calls.fetch_add(1, Ordering::Relaxed);
        if network {
            self.untrusted_text.store(true, Ordering::Relaxed);
        }
    }
}

impl FactsSource for Meter {
    fn facts(&self) -> Facts {
        let usage = self.usage();
        Facts {
            now: jiff::Timestamp::now(),
            task: self.task.task.clone(),
            repository: self.task.repository.clone(),
            branch: self.task.branch.clone(),
            phase: self.phase(),
            tool_calls: usage.tool_calls,
            turns: usage.turns,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            elapsed_ms: u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX),
            untrusted_text: self.untrusted_text.load(Ordering::Relaxed),
        }
    }
}
