//! The journal of one task.

#![expect(clippy::disallowed_methods, reason = "keeps large outputs in the task's own folder")]

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use sortie_agent::{Journal, JournalError};
use sortie_core::action::ActionKind;
use sortie_core::digest::Digest;
use sortie_core::event::Event;
use sortie_core::outcome::RefusedAction;
use sortie_core::secret::Secret;
use sortie_core::{Outcome, TaskId};
use sortie_policy::{Audit, AuditError};

use crate::store::{Store, StoreError, StoredEvent};

/// Refusals kept for the report of a task.
const REFUSALS: usize = 100;

/// Watches events as they are appended.
pub type Listener = Box<dyn Fn(&Event) + Send + Sync>;

/// Collects a task's events in order and writes them in groups. A handle:
/// clones are of the same journal.
#[derive(Clone)]
pub struct TaskJournal(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    task: TaskId,
    blobs: PathBuf,
    listener: Listener,
    pending: Mutex<Pending>,
    /// Held from taking the pending events until they are on the disk, so that
    /// groups reach the disk in order.
    writing: Mutex<()>,
    /// Why a write failed: nothing is written after it.
    broken: OnceLock<String>,
    refused: Mutex<Vec<RefusedAction>>,
    /// Masked in what commands have a part in.
    secrets: OnceLock<Vec<Secret>>,
}

#[derive(Default)]
struct Pending {
    last_seq: u64,
    events: Vec<StoredEvent>,
}

impl TaskJournal {
    /// The journal of a task that is in the store, going on after its last event.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn new(
        store: Arc<Store>,
        task: TaskId,
        blobs: PathBuf,
        listener: Listener,
    ) -> Result<Self, StoreError> {
        let pending = Pending { last_seq: store.last_seq(&task)?, events: Vec::new() };
        Ok(Self(Arc::new(Inner {
            store,
            task,
            blobs,
            listener,
            pending: Mutex::new(pending),
            writing: Mutex::new(()),
            broken: OnceLock::new(),
            refused: Mutex::new(Vec::new()),
            secrets: OnceLock::new(),
        })))
    }

    /// Masks these in everything that is appended from now on and that
    /// commands or policies have worded: what was contacted, why it was
    /// refused, logs. The first call holds.
    pub(crate) fn mask(&self, secrets: Vec<Secret>) {
        drop(self.0.secrets.set(secrets));
    }

    /// What was refused so far; each action once.
    pub fn refused(&self) -> Vec<RefusedAction> {
        unpoisoned(&self.0.refused).clone()
    }

    /// Writes the last event, and the outcome with it.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub async fn end(&self, last: Event, outcome: Outcome) -> Result<(), JournalError> {
        self.0.append(last);
        let journal = Arc::clone(&self.0);
        blocking(move || journal.write(Some(outcome))).await?;
        tracing::info!(task = %self.0.task, commits = self.0.store.commits(), "the journal is complete");
        Ok(())
    }
}

impl Inner {
    fn note_refusal(&self, refusal: RefusedAction) {
        let mut refused = unpoisoned(&self.refused);
        if refused.len() < REFUSALS && !refused.contains(&refusal) {
            refused.push(refusal);
        }
    }

    fn write(&self, outcome: Option<Outcome>) -> Result<(), JournalError> {
        let _writing = unpoisoned(&self.writing);
        if let Some(earlier) = self.earlier_failure() {
            return Err(JournalError(earlier));
        }
        let events = std::mem::take(&mut unpoisoned(&self.pending).events);
        let written = match outcome {
            Some(outcome) => self.store.end_task(&self.task, outcome, &events),
            None if events.is_empty() => Ok(()),
            None => self.store.add_events(&self.task, &events),
        };
        written.map_err(|error| {
            let error = error.to_string();
            // nobody was before: writes wait for each other
            drop(self.broken.set(error.clone()));
            JournalError(error)
        })
    }

    /// What to say instead of writing. Whoever asks may be the one whose error is shown, so it tells of the first.
    fn earlier_failure(&self) -> Option<String> {
        self.broken.get().map(|first| format!("an earlier write failed: {first}"))
    }

    fn note_decision(&self, event: &Event) {
        if let Event::Refused(refused) = event {
            self.note_refusal(refused.clone());
        }
        if let Event::Decision { kind, target, decision, policy, rule, reason, remedy, .. } = event
            && decision != "allow"
        {
            self.note_refusal(RefusedAction {
                action: format!("{kind} {}", sortie_core::text::one_line(target, 200)),
                policy: policy.clone(),
                rule: rule.clone(),
                reason: reason.clone().unwrap_or_default(),
                remedy: remedy.clone(),
            });
        }
    }
}

#[async_trait]
impl Journal for TaskJournal {
    fn append(&self, event: Event) {
        self.0.append(event);
    }

    async fn commit(&self) -> Result<(), JournalError> {
        let journal = Arc::clone(&self.0);
        blocking(move || journal.write(None)).await
    }

    async fn keep(&self, bytes: &[u8]) -> Result<String, JournalError> {
        let digest = Digest::of(bytes).to_string();
        let (folder, path, bytes) = (self.0.blobs.clone(), self.0.blobs.join(&digest), bytes.to_vec());
        blocking(move || {
            let write = || {
                let mut file = tempfile::NamedTempFile::new_in(&folder)?;
                file.write_all(&bytes)?;
                file.as_file().sync_all()?;
                file.persist(&path).map_err(|error| error.error)?;
                // its name, too: the journal is about to refer to it
                std::fs::File::open(&folder)?.sync_all()
            };
            write().map_err(|error| JournalError(error.to_string()))
        })
        .await?;
        Ok(digest)
    }

    async fn kept(&self, digest: &str) -> Result<Option<Vec<u8>>, JournalError> {
        let hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !(16..=64).contains(&digest.len()) || !hex(digest) {
            return Ok(None);
        }
        let (folder, prefix) = (self.0.blobs.clone(), digest.to_owned());
        blocking(move || {
            let find = || {
                for entry in std::fs::read_dir(&folder)? {
                    let entry = entry?;
                    if entry.file_name().to_string_lossy().starts_with(&prefix) {
                        return std::fs::read(entry.path()).map(Some);
                    }
                }
                std::io::Result::Ok(None)
            };
            find().map_err(|error| JournalError(error.to_string()))
        })
        .await
    }
}

impl Inner {
    fn append(&self, mut event: Event) {
        for secret in self.secrets.get().into_iter().flatten() {
            mask(secret, &mut event);
        }
        (self.listener)(&event);
        if event.is_ephemeral() {
            return;
        }
        self.note_decision(&event);
        let body = serde_json::to_string(&event).expect("an event has string keys only");
        let mut pending = unpoisoned(&self.pending);
        pending.last_seq += 1;
        let seq = pending.last_seq;
        pending.events.push(StoredEvent { seq, at: jiff::Timestamp::now().to_string(), body });
    }
}

fn mask(secret: &Secret, event: &mut Event) {
    let scrub = |text: &mut String| *text = secret.scrub(text);
    match event {
        Event::Decision { target, reason, remedy, .. } => {
            [Some(target), reason.as_mut(), remedy.as_mut()].into_iter().flatten().for_each(scrub);
        }
        Event::Refused(RefusedAction { action, reason, remedy, .. }) => {
            [Some(action), Some(reason), remedy.as_mut()].into_iter().flatten().for_each(scrub);
        }
        Event::PluginLog { text, .. } | Event::Warning { text } | Event::Progress { text } => scrub(text),
        Event::StepEnded { detail, .. } => scrub(detail),
        // of the rest, no command that has them worded anything that did not come by here
        Event::TaskEnded(report) => scrub(&mut report.summary),
        _ => {}
    }
}

/// The audit log is the journal.
impl Audit for TaskJournal {
    fn record(&self, decision: Event) -> Result<(), AuditError> {
        if let Some(earlier) = self.0.earlier_failure() {
            return Err(AuditError(earlier));
        }
        let leaves = matches!(
            decision,
            Event::Decision {
                kind: ActionKind::HttpRequest
                    | ActionKind::NetworkConnect
                    | ActionKind::Push
                    | ActionKind::ChangeRequest,
                ..
            }
        );
        self.0.append(decision);
        if leaves { self.0.write(None).map_err(|error| AuditError(error.0)) } else { Ok(()) }
    }
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
) -> Result<T, JournalError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| JournalError(error.to_string()))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::TaskRecord;

    #[test]
    fn the_last_event_is_masked_as_all_others_are() {
        let report = serde_json::json!({
            "task": "t", "outcome": "failed", "branch": null, "commit": null, "refused": [],
            "summary": "cannot look through `s3cr3t/x`",
            "tests": { "baseline": null, "final": null, "after_last_edit": false },
            "usage": sortie_core::outcome::Usage::default(),
        });
        let report: sortie_core::event::Report = serde_json::from_value(report).expect("a report");
        let mut event = Event::TaskEnded(Box::new(report));
        mask(&Secret::new("s3cr3t"), &mut event);
        let Event::TaskEnded(report) = event else { panic!("it was one") };
        assert_eq!(report.summary, "cannot look through `****/x`");
    }

    #[test]
    fn whatever_commands_and_policies_word_is_masked() {
        let text = || "a s3cr3t b".to_owned();
        let refused = RefusedAction {
            action: text(),
            policy: "p".into(),
            rule: None,
            reason: text(),
            remedy: Some(text()),
        };
        for mut event in [
            Event::Refused(refused),
            Event::PluginLog { plugin: "p".into(), level: "info".into(), text: text() },
            Event::Warning { text: text() },
            Event::Progress { text: text() },
            Event::StepEnded { step: "s".into(), ms: 1, ok: false, detail: text() },
        ] {
            mask(&Secret::new("s3cr3t"), &mut event);
            let shown = serde_json::to_string(&event).expect("JSON");
            assert!(!shown.contains("s3cr3t") && shown.contains("a **** b"), "{shown}");
        }
    }

    #[tokio::test]
    async fn once_a_write_failed_each_later_one_says_why_the_first_did() {
        let home = tempfile::tempdir().expect("a folder");
        let store = Arc::new(Store::open(home.path()).expect("opens"));
        let id: TaskId = "task-7k2m9q".parse().expect("an id");
        let record = TaskRecord {
            id: id.clone(),
            created_at: "2026-01-01T00:00:00Z".into(),
            prompt: "mend it".into(),
            repository: "/r".into(),
            branch: "sortie/a".into(),
            model: "puppet/puppet-1".into(),
            outcome: None,
        };
        store.add_task(&record).expect("is added");
        let journal = TaskJournal::new(store, id, home.path().to_owned(), Box::new(|_| {})).expect("is made");
        let warning = || Event::Warning { text: "x".into() };
        journal.append(warning());
        journal.commit().await.expect("is written");
        let other = rusqlite::Connection::open(home.path().join("journal.db")).expect("opens");
        other.execute_batch("ALTER TABLE events RENAME TO elsewhere").expect("is renamed");
        journal.append(warning());
        let first = journal.commit().await.expect_err("there is no table").to_string();
        assert!(first.contains("no such table"), "{first}");
        // what comes after what was lost is not written, though it could be
        other.execute_batch("ALTER TABLE elsewhere RENAME TO events").expect("is renamed");
        let why = |error: &dyn std::fmt::Display| {
            let error = error.to_string();
            assert!(
                error.contains("an earlier write failed: ") && error.contains("no such table"),
                "{error}"
            );
        };
        why(&journal.commit().await.expect_err("one failed"));
        why(&journal.record(warning()).expect_err("one failed"));
        why(&journal.end(warning(), Outcome::Done).await.expect_err("one failed"));
    }
}
