//! The database of all tasks and their events.
//!
//! SQLite in write-ahead mode with `synchronous=FULL`: a commit is on the disk
//! when it returns. Several processes may have it open; each task has one
//! writer, the holder of its folder's lock.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension as _, params};
use sortie_core::{Outcome, TaskId};

/// Version of the schema, kept in `user_version`.
const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE tasks (
        id TEXT PRIMARY KEY, created_at TEXT NOT NULL, prompt TEXT NOT NULL, repository TEXT NOT NULL,
        branch TEXT NOT NULL, model TEXT NOT NULL, outcome TEXT, ended_at TEXT
    ) STRICT;
    CREATE TABLE events (
        task TEXT NOT NULL REFERENCES tasks (id), seq INTEGER NOT NULL, at TEXT NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (task, seq)
    ) STRICT, WITHOUT ROWID;
";

/// Why the database failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite says so.
    #[error("the journal `{path}` failed: {source}")]
    Database {
        /// The file.
        path: String,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A newer version of this program made it.
    #[error("the journal `{path}` has version {found}, this program knows {SCHEMA_VERSION}: use a newer one")]
    Version {
        /// The file.
        path: String,
        /// Its version.
        found: i64,
    },
}

/// A task, as it was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRecord {
    /// Its id.
    pub id: TaskId,
    /// When, RFC 3339.
    pub created_at: String,
    /// The task in words.
    pub prompt: String,
    /// The repository, without credentials.
    pub repository: String,
    /// The branch that will be delivered.
    pub branch: String,
    /// Provider and name of the model.
    pub model: String,
    /// How it ended; none while it runs, or if it was interrupted.
    pub outcome: Option<String>,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Somebody works on it.
    Running,
    /// It ended.
    Ended,
    /// Nobody works on it, and it has not ended.
    Interrupted,
}

/// An event, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its number within the task, from 1.
    pub seq: u64,
    /// When, RFC 3339.
    pub at: String,
    /// The event as JSON.
    pub body: String,
}

/// The database.
#[derive(Debug)]
pub struct Store {
    path: String,
    connection: Mutex<Connection>,
    commits: AtomicU64,
}

impl Store {
    /// Opens the database in a folder, and makes it if it is not there.
    ///
    /// # Errors
    /// If it cannot be opened, or a newer program made it.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("journal.db");
        let text = path.display().to_string();
        let failed = |source| StoreError::Database { path: text.clone(), source };
        let connection = Connection::open(&path).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        let store =
            Self { path: text.clone(), connection: Mutex::new(connection), commits: AtomicU64::new(0) };
        store.migrate()?;
        Ok(store)
    }

    fn migrate(&self) -> Result<(), StoreError> {
        let mut connection = self.lock();
        // immediate: of two processes that start at once, one makes the tables and the other finds them
        let change = connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(|e| self.failed(e))?;
        let found: i64 =
            change.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(|e| self.failed(e))?;
        match found {
            SCHEMA_VERSION => return Ok(()),
            0 => {}
            found => return Err(StoreError::Version { path: self.path.clone(), found }),
        }
        change.execute_batch(SCHEMA).map_err(|e| self.failed(e))?;
        change.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(|e| self.failed(e))?;
        change.commit().map_err(|e| self.failed(e))
    }

    /// Adds a task.
    ///
    /// # Errors
    /// If the database fails; also if the id is taken.
    pub fn add_task(&self, task: &TaskRecord) -> Result<(), StoreError> {
        self.lock()
            .execute(
                "INSERT INTO tasks (id, created_at, prompt, repository, branch, model) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![task.id.as_str(), task.created_at, task.prompt, task.repository, task.branch, task.model],
            )
            .map_err(|e| self.failed(e))?;
        Ok(())
    }

    /// Notes how a task ended, together with its last events.
    ///
    /// # Errors
    /// If the database fails.
    pub fn end_task(&self, id: &TaskId, outcome: Outcome, events: &[StoredEvent]) -> Result<(), StoreError> {
        self.write(id, events, Some(outcome))
    }

    /// Adds events to a task, in one synced commit.
    ///
    /// # Errors
    /// If the database fails; then none of them is there.
    pub fn add_events(&self, id: &TaskId, events: &[StoredEvent]) -> Result<(), StoreError> {
        self.write(id, events, None)
    }

    fn write(&self, id: &TaskId, events: &[StoredEvent], outcome: Option<Outcome>) -> Result<(), StoreError> {
        let mut connection = self.lock();
        let write = || -> rusqlite::Result<()> {
            let change = connection.transaction()?;
            {
                let mut insert = change
                    .prepare_cached("INSERT INTO events (task, seq, at, body) VALUES (?1, ?2, ?3, ?4)")?;
                for event in events {
                    let seq = i64::try_from(event.seq).expect("a task has fewer than 2^63 events");
                    insert.execute(params![id.as_str(), seq, event.at, event.body])?;
                }
            }
            if let Some(outcome) = outcome {
                change.execute(
                    "UPDATE tasks SET outcome = ?2, ended_at = ?3 WHERE id = ?1",
                    params![id.as_str(), outcome.name(), jiff::Timestamp::now().to_string()],
                )?;
            }
            change.commit()
        };
        let written = { write }();
        self.commits.fetch_add(1, Ordering::Relaxed);
        written.map_err(|e| self.failed(e))
    }

    /// All tasks, the newest first.
    ///
    /// # Errors
    /// If the database fails.
    pub fn tasks(&self) -> Result<Vec<TaskRecord>, StoreError> {
        self.select("ORDER BY created_at DESC, id", params![])
    }

    /// One task.
    ///
    /// # Errors
    /// If the database fails.
    pub fn task(&self, id: &TaskId) -> Result<Option<TaskRecord>, StoreError> {
        Ok(self.select("WHERE id = ?1", params![id.as_str()])?.pop())
    }

    fn select(&self, clause: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Vec<TaskRecord>, StoreError> {
        let connection = self.lock();
        let query =
            format!("SELECT id, created_at, prompt, repository, branch, model, outcome FROM tasks {clause}");
        let mut statement = connection.prepare(&query).map_err(|e| self.failed(e))?;
        let rows = statement.query_map(values, |row| {
            let id: String = row.get(0)?;
            Ok(TaskRecord {
                id: id.parse().map_err(|error| {
                    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
                })?,
                created_at: row.get(1)?,
                prompt: row.get(2)?,
                repository: row.get(3)?,
                branch: row.get(4)?,
                model: row.get(5)?,
                outcome: row.get(6)?,
            })
        });
        rows.and_then(Iterator::collect).map_err(|e| self.failed(e))
    }

    /// Events of a task after a sequence number, in order, at most `max`.
    ///
    /// # Errors
    /// If the database fails.
    pub fn events(&self, id: &TaskId, after: u64, max: u32) -> Result<Vec<StoredEvent>, StoreError> {
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached(
                "SELECT seq, at, body FROM events WHERE task = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
            )
            .map_err(|e| self.failed(e))?;
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![id.as_str(), after, max], |row| {
            let seq: i64 = row.get(0)?;
            Ok(StoredEvent { seq: seq.unsigned_abs(), at: row.get(1)?, body: row.get(2)? })
        });
        rows.and_then(Iterator::collect).map_err(|e| self.failed(e))
    }

    /// Number of the last event of a task; 0 if it has none.
    ///
    /// # Errors
    /// If the database fails.
    pub fn last_seq(&self, id: &TaskId) -> Result<u64, StoreError> {
        let last: Option<i64> = self
            .lock()
            .query_row("SELECT max(seq) FROM events WHERE task = ?1", params![id.as_str()], |row| row.get(0))
            .optional()
            .map(Option::flatten)
            .map_err(|e| self.failed(e))?;
        Ok(last.unwrap_or(0).unsigned_abs())
    }

    /// When something last happened in a task, a shell in what it left among
    /// that; none of a task that is not here.
    ///
    /// # Errors
    /// If the database fails.
    pub fn last_at(&self, id: &TaskId) -> Result<Option<SystemTime>, StoreError> {
        let query =
            "SELECT coalesce((SELECT at FROM events WHERE task = ?1 ORDER BY seq DESC LIMIT 1), created_at)
            FROM tasks WHERE id = ?1";
        let at: Option<String> = self
            .lock()
            .query_row(query, params![id.as_str()], |row| row.get(0))
            .optional()
            .map_err(|e| self.failed(e))?;
        // what is no time happened now: nothing goes for want of one
        let time =
            |at: String| at.parse::<jiff::Timestamp>().map_or_else(|_| SystemTime::now(), SystemTime::from);
        Ok(at.map(time))
    }

    /// Synced commits since this was opened.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // a panic while the lock was held rolled its transaction back
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, source: rusqlite::Error) -> StoreError {
        StoreError::Database { path: self.path.clone(), source }
    }
}
