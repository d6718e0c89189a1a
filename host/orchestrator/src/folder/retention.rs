//! How long the folders of tasks stay once nobody works on them.

#![expect(clippy::disallowed_methods, reason = "removes the folders of tasks")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sortie_core::TaskId;
use sortie_lock::{Hold, Lock};
use sortie_workspace::disk;

use super::{FolderError, GLANCE, TaskFolder, WorkspaceParts, failed, remove};
use crate::store::Store;

/// Ends the names of folders that are being removed. No task's id ends so.
const GOING: &str = ".going";

/// How old a folder has to be of which the journal knows nothing and in which
/// nothing is: one that is being made is not in the journal yet.
const UNKNOWN: Duration = Duration::from_secs(120);

/// The folder of a task, which is not to be kept any longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Whose it is.
    pub task: TaskId,
    /// Bytes that it takes up; none if they cannot be counted.
    pub bytes: Option<u64>,
}

impl TaskFolder {
    /// The folders of tasks on which nobody works and in which nothing
    /// happened for longer than `age`, kept workspaces among them, and empty
    /// ones of which `store` does not know. Blocks.
    pub fn stale(home: &Path, store: &Store, age: Duration, now: SystemTime) -> Vec<Stale> {
        let mut stale = Self::all(home);
        stale.retain(|id| is_stale(home, store, id, age, now) && !Self::is_taken(home, id));
        stale.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        stale.into_iter().map(|task| Stale { bytes: disk::size(&Self::place(home, &task)), task }).collect()
    }

    /// Removes the folder of a task on which nobody works, with a workspace
    /// that was kept in it. If this process is killed meanwhile, the next
    /// sweep removes the rest. Blocks.
    ///
    /// # Errors
    /// As [`TaskFolder::open`]; also if something in it cannot be removed, or
    /// was not cleared up after a killed process.
    pub fn remove(home: &Path, id: &TaskId) -> Result<(), FolderError> {
        // the user of the commands plays no part in removing
        let folder = Self::take(home, id, (0, 0), GLANCE)?;
        for parts in WorkspaceParts::all(home, id) {
            parts.check_owned(id)?;
        }
        if folder.has_leavings() {
            return Err(FolderError::Leavings(id.clone()));
        }
        let going = home.join("tasks").join(format!("{id}{GOING}"));
        // of a task that somebody came back to from its archive, after a removal that was killed
        if going.is_dir() && !remove_going(&going) {
            return Err(FolderError::Taken(id.clone()));
        }
        // a sweep, which may find it from the next line on, is not to begin on it as well
        let _own = Lock::open(folder.path(), Hold::Exclusive)
            .map_err(|source| failed("lock", folder.path(), source))?;
        // whoever waits for the task's lock finds none: nobody comes into half a folder
        fs::rename(folder.path(), &going).map_err(|source| failed("remove", folder.path(), source))?;
        remove(&going)
    }

    /// Removes the rest of folders whose removal was killed; how many.
    pub(super) fn sweep_removed(home: &Path) -> usize {
        let entries = fs::read_dir(home.join("tasks")).into_iter().flatten().flatten();
        let going = entries.map(|entry| entry.path()).filter(|path| is_going(path));
        going.filter(|path| remove_going(path)).count()
    }
}

/// Removes such a folder, unless somebody is at it.
fn remove_going(path: &Path) -> bool {
    let Ok(_own) = Lock::open(path, Hold::Exclusive) else { return false };
    remove(path).inspect_err(|error| tracing::warn!(%error, "what is left of a task's folder stays")).is_ok()
}

fn is_going(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.strip_suffix(GOING)).is_some_and(|id| id.parse::<TaskId>().is_ok())
}

fn is_stale(home: &Path, store: &Store, id: &TaskId, age: Duration, now: SystemTime) -> bool {
    let for_longer_than =
        |age: Duration, since: SystemTime| now.duration_since(since).is_ok_and(|past| past > age);
    match store.last_at(id) {
        Ok(Some(at)) => for_longer_than(age, at),
        Ok(None) => {
            let path = TaskFolder::place(home, id);
            let Ok(made) = fs::metadata(&path).and_then(|folder| folder.modified()) else { return false };
            for_longer_than(if is_empty(&path) { UNKNOWN.min(age) } else { age }, made)
        }
        Err(error) => {
            tracing::warn!(task = %id, %error, "its folder stays");
            false
        }
    }
}

/// Whether there is nothing in a task's folder but what each begins with.
fn is_empty(folder: &Path) -> bool {
    let names = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
    let is_lock_or_empty = |path: PathBuf| {
        path.file_name().is_some_and(|name| name == "lock") || {
            path.is_dir() && names(path).next().is_none()
        }
    };
    names(folder.to_owned()).all(|entry| is_lock_or_empty(entry.path()))
}

#[cfg(test)]
mod tests {
    use sortie_core::Outcome;

    use super::super::lock_open;
    use super::super::tests::made;
    use super::*;
    use crate::store::{StoredEvent, TaskRecord};

    const DAY: Duration = Duration::from_secs(86_400);

    fn store(home: &Path, id: &TaskId, at: &str) -> Store {
        let store = Store::open(home).expect("opens");
        let text = String::new;
        let (prompt, repository, branch, model) = (text(), text(), text(), text());
        let created_at = "2020-01-01T00:00:00Z".into();
        let task =
            TaskRecord { id: id.clone(), created_at, prompt, repository, branch, model, outcome: None };
        store.add_task(&task).expect("is added");
        let event = StoredEvent { seq: 1, at: at.into(), body: "{}".into() };
        store.end_task(id, Outcome::Done, &[event]).expect("is noted");
        store
    }

    fn at(text: &str) -> SystemTime {
        text.parse::<jiff::Timestamp>().expect("a time").into()
    }

    #[test]
    fn a_folder_is_stale_once_nothing_happened_in_its_task_for_so_long_and_nobody_works_on_it() {
        let home = tempfile::tempdir().expect("a folder");
        let (id, owner) = made(home.path());
        let store = store(home.path(), &id, "2024-05-01T00:00:00Z");
        let stale = |now: &str| TaskFolder::stale(home.path(), &store, 30 * DAY, at(now));
        assert_eq!(stale("2024-05-30T00:00:00Z"), []);
        assert_eq!(stale("2020-05-30T00:00:00Z"), [], "a clock that went back");
        let found = stale("2024-06-02T00:00:00Z");
        assert_eq!((found.len(), &found[0].task), (1, &id));
        assert!(found[0].bytes.is_some_and(|bytes| bytes > 0));
        let task = TaskFolder::open(home.path(), &id, owner).expect("opens");
        assert_eq!(stale("2024-06-02T00:00:00Z"), [], "somebody works on it");
        drop(task);
        assert_eq!(stale("2024-06-02T00:00:00Z").len(), 1);
    }

    #[test]
    fn what_the_journal_does_not_know_stays_as_long_unless_it_is_empty() {
        let home = tempfile::tempdir().expect("a folder");
        let (id, owner) = made(home.path());
        let store = Store::open(home.path()).expect("opens");
        let stale = |later: Duration| {
            TaskFolder::stale(home.path(), &store, 30 * DAY, SystemTime::now() + later).len()
        };
        assert_eq!((stale(Duration::ZERO), stale(2 * UNKNOWN)), (0, 1));
        let task = TaskFolder::open(home.path(), &id, owner).expect("opens");
        fs::write(task.work_tree().join("notes"), "mine").expect("is written");
        drop(task);
        assert_eq!((stale(2 * UNKNOWN), stale(31 * DAY)), (0, 1));
    }

    #[test]
    fn a_folder_that_somebody_works_on_is_not_removed() {
        let home = tempfile::tempdir().expect("a folder");
        let (id, owner) = made(home.path());
        let task = TaskFolder::open(home.path(), &id, owner).expect("opens");
        assert!(matches!(TaskFolder::remove(home.path(), &id), Err(FolderError::Taken(_))));
        assert!(task.has_workspace());
        task.lend().expect("is marked");
        drop(task);
        assert!(matches!(TaskFolder::remove(home.path(), &id), Err(FolderError::Leavings(_))));
        assert_eq!(TaskFolder::sweep(home.path()), 1);
        TaskFolder::remove(home.path(), &id).expect("is removed");
        assert_eq!(fs::read_dir(home.path().join("tasks")).expect("is read").count(), 0);
        assert!(matches!(TaskFolder::remove(home.path(), &id), Err(FolderError::None(_))));
    }

    #[test]
    fn a_removal_that_was_killed_is_ended_by_the_next_sweep_and_one_that_goes_on_is_left_alone() {
        let home = tempfile::tempdir().expect("a folder");
        let (id, _) = made(home.path());
        let going = home.path().join("tasks").join(format!("{id}{GOING}"));
        fs::rename(TaskFolder::place(home.path(), &id), &going).expect("is moved");
        let own = Lock::open(&going, Hold::Exclusive).expect("is locked");
        assert_eq!(TaskFolder::sweep(home.path()), 0);
        assert!(going.exists());
        drop(own);
        assert_eq!(TaskFolder::sweep(home.path()), 1);
        assert!(!going.exists());
    }

    #[test]
    fn a_lock_of_a_folder_that_was_removed_meanwhile_is_none() {
        let home = tempfile::tempdir().expect("a folder");
        let (id, _) = made(home.path());
        let path = TaskFolder::place(home.path(), &id).join("lock");
        let open = || fs::File::open(&path).expect("opens");
        let (still, before) = (open(), open());
        lock_open(still, &path, &id).expect("it is there");
        TaskFolder::remove(home.path(), &id).expect("is removed");
        assert!(matches!(
            lock_open(before.try_clone().expect("is cloned"), &path, &id),
            Err(FolderError::None(_))
        ));
        // nor is it that of one that was made since
        made(home.path());
        assert!(matches!(lock_open(before, &path, &id), Err(FolderError::None(_))));
    }
}
