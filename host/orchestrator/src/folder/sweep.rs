//! What is in the folder of a task for a time only, and who removes it: the
//! process that works on the task, or a sweep once that was killed.

#![expect(
    clippy::disallowed_methods,
    reason = "marks and removes what is for a time in the folders of tasks"
)]

use std::fs::{self, File};
use std::io;
use std::path::Path;

use sortie_core::TaskId;

use super::{FolderError, TaskFolder, failed, lock, remove};

/// Marks a work tree that is to go again: it came from an archive, or was made
/// for somebody to look at.
const BORROWED: &str = "borrowed";

/// Marks work tree and home in which nobody has looked for secrets yet.
const SUSPECT: &str = "suspect";

impl TaskFolder {
    /// Makes room for a work tree from an archive, with an empty home, and
    /// notes that both go again if this process cannot see to it.
    ///
    /// # Errors
    /// If the disk does not allow it.
    pub fn borrow_workspace(&self) -> Result<(), FolderError> {
        self.check_owned()?;
        self.lend()?;
        for part in [self.work_tree(), self.home()] {
            if part.exists() {
                remove(&part)?;
            }
        }
        self.make_part(&self.home())
    }

    /// Notes that work tree and home, which are there, go again if this process
    /// cannot see to it.
    ///
    /// # Errors
    /// If the disk does not allow it.
    pub fn lend(&self) -> Result<(), FolderError> {
        self.mark(BORROWED)
    }

    /// Makes a borrowed work tree the task's own again.
    ///
    /// # Errors
    /// If the disk does not allow it.
    pub fn keep_borrowed(&self) -> Result<(), FolderError> {
        self.unmark(BORROWED)
    }

    /// Removes a borrowed work tree, and its home.
    ///
    /// # Errors
    /// As [`TaskFolder::remove_workspace`].
    pub fn return_borrowed(&self) -> Result<(), FolderError> {
        self.check_owned()?;
        for part in [self.work_tree(), self.home()] {
            if part.exists() {
                remove(&part)?;
            }
        }
        self.keep_borrowed()
    }

    /// Notes that commands are given secrets, which they may leave in work
    /// tree or home: if this process is killed, both go.
    ///
    /// # Errors
    /// If the disk does not allow it.
    pub fn suspect(&self) -> Result<(), FolderError> {
        self.mark(SUSPECT)
    }

    /// Notes that no secret was found, and that none is given any more.
    ///
    /// # Errors
    /// If the disk does not allow it.
    pub fn clear_of_suspicion(&self) -> Result<(), FolderError> {
        self.unmark(SUSPECT)
    }

    fn mark(&self, name: &str) -> Result<(), FolderError> {
        let mark = self.path.join(name);
        File::create(&mark).map(drop).map_err(|source| failed("make", &mark, source))
    }

    fn unmark(&self, name: &str) -> Result<(), FolderError> {
        let mark = self.path.join(name);
        match fs::remove_file(&mark) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &mark, error)),
            _ => Ok(()),
        }
    }

    /// Whether something is there that whoever works on the task removes, and
    /// has not.
    pub(super) fn has_leavings(&self) -> bool {
        let marks = [BORROWED, SUSPECT].map(|name| self.path.join(name));
        let [work_tree, home] = self.going();
        let (blank, container) = (self.parts().blank(), self.parts().container());
        let parts = [blank.beside().to_owned(), container, work_tree, home, self.repository_going()];
        marks.iter().chain(&parts).any(|path| path.exists()) || self.parts().are_roots()
    }

    /// Whether nobody has looked for secrets yet in what commands had them for.
    pub(super) fn is_suspect(&self) -> bool {
        self.path.join(SUSPECT).exists()
    }

    /// Clears up after processes that were killed while they worked on a
    /// task: temporary files and folders, borrowed work trees, and those that
    /// may hold secrets of set-up. What the task itself made stays. Returns in
    /// how many tasks there was something to do.
    pub fn sweep(home: &Path) -> usize {
        Self::sweep_removed(home) + Self::all(home).iter().filter(|id| Self::sweep_one(home, id)).count()
    }

    fn sweep_one(home: &Path, id: &TaskId) -> bool {
        let path = Self::place(home, id);
        if !fs::metadata(path.join("lock")).is_ok_and(|lock| lock.len() > 0) {
            return false;
        }
        // the user of the commands plays no part in removing
        let Ok(lock) = lock(&path, id) else { return false };
        let folder = Self { id: id.clone(), path, owner: (0, 0), lock };
        let cleared = folder.clear_up();
        if let Err(error) = &cleared {
            // and is found again the next time
            tracing::warn!(task = %id, %error, "what a killed process left cannot be removed");
        }
        cleared.is_ok()
    }

    fn clear_up(&self) -> Result<(), FolderError> {
        let blank = self.parts().blank();
        // first: half a workspace that is root's would be taken for none, and the marks that say what goes are true
        // of it until it is given back
        self.check_owned()?;
        blank.check_owned(&self.id)?;
        if self.path.join(BORROWED).exists() {
            self.return_borrowed()?;
        }
        let repository = self.repository_going();
        // its way out begins once all of the work is somewhere else
        let is_over = self.is_suspect() || repository.is_dir();
        let [work_tree, home] = self.going();
        let mut parts = vec![blank.beside().to_owned(), self.parts().container(), home];
        // the home follows the work tree, which goes last so that this can be told
        if is_over {
            parts.extend([self.work_tree(), self.home()]);
        } else if work_tree.is_dir() && !self.work_tree().exists() {
            parts.push(self.home());
        }
        parts.extend([work_tree, repository]);
        for part in parts {
            if part.is_dir() {
                remove(&part)?;
            }
        }
        // last: until then a sweep that is killed is made again
        self.clear_of_suspicion()?;
        for folder in [self.blobs(), self.repository()] {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                // as the crate `tempfile` names what it makes
                if !entry.file_name().as_encoded_bytes().starts_with(b".tmp") {
                    continue;
                }
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    remove(&path)?;
                } else {
                    fs::remove_file(&path).map_err(|source| failed("remove", &path, source))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::WORKING;
    use super::super::tests::made;
    use super::*;

    /// As a process leaves a task that is killed.
    fn killed(folder: TaskFolder) {
        let lock = folder.path().join("lock");
        drop(folder);
        fs::write(lock, WORKING).expect("is written");
    }

    #[test]
    fn a_sweep_clears_up_after_the_dead_and_leaves_the_living_and_what_the_task_made() {
        let home = tempfile::tempdir().expect("a folder");
        let (id, owner) = made(home.path());
        assert_eq!(TaskFolder::sweep(home.path()), 0, "it ended in order");
        let task = TaskFolder::open(home.path(), &id, owner).expect("opens");
        fs::write(task.blobs().join(".tmpAbC"), "half").expect("is written");
        fs::write(task.blobs().join("a".repeat(64)), "whole").expect("is written");
        fs::create_dir_all(task.repository().join(".tmpDeF/x")).expect("is made");
        fs::write(task.work_tree().join(".tmp-of-theirs"), "theirs").expect("is written");
        task.make_blank().expect("is made");
        assert_eq!(TaskFolder::sweep(home.path()), 0, "it lives");
        let (blobs, repository, tree) = (task.blobs(), task.repository(), task.work_tree());
        assert!(blobs.join(".tmpAbC").exists());
        killed(task);
        assert_eq!(TaskFolder::sweep(home.path()), 1);
        assert!(!blobs.join(".tmpAbC").exists() && !repository.join(".tmpDeF").exists());
        assert!(!TaskFolder::place(home.path(), &id).join("blank").exists());
        assert!(blobs.join("a".repeat(64)).exists() && tree.join(".tmp-of-theirs").exists());
        assert_eq!(TaskFolder::sweep(home.path()), 0, "once");
    }

    #[test]
    fn a_workspace_that_was_being_removed_is_gone_or_whole_and_goes_with_the_next_sweep() {
        let home = tempfile::tempdir().expect("a folder");
        let (id, owner) = made(home.path());
        for step in 0..3 {
            let task = TaskFolder::open(home.path(), &id, owner).expect("opens");
            if !task.has_workspace() {
                task.make_part(&task.work_tree()).expect("is made");
                task.make_part(&task.home()).expect("is made");
            }
            let parts = [task.work_tree(), task.home()];
            // as far as a process comes that is killed after so many steps
            for (part, going) in parts.iter().zip(task.going()).take(step) {
                fs::rename(part, going).expect("is moved");
            }
            let (path, whole) = (task.path().to_owned(), task.has_workspace());
            assert_eq!(whole, step == 0);
            killed(task);
            assert_eq!(TaskFolder::sweep(home.path()), 1);
            let mut names: Vec<_> = fs::read_dir(path)
                .expect("is read")
                .map(|entry| entry.expect("an entry").file_name())
                .collect();
            names.sort();
            let left: &[&str] =
                if whole { &["blobs", "home", "lock", "workspace"] } else { &["blobs", "lock"] };
            assert_eq!(names, left, "after {step} steps");
        }
    }

    #[test]
    fn a_task_that_is_over_loses_its_repository_first_and_with_it_what_a_killed_process_did_not_remove() {
        for step in 0..4 {
            let home = tempfile::tempdir().expect("a folder");
            let (id, owner) = made(home.path());
            let task = TaskFolder::open(home.path(), &id, owner).expect("opens");
            fs::create_dir_all(task.repository().join("objects")).expect("is made");
            let [work_tree, own_home] = task.going();
            let moves = [
                (task.repository(), task.repository_going()),
                (task.work_tree(), work_tree),
                (task.home(), own_home),
            ];
            for (part, going) in moves.iter().take(step) {
                fs::rename(part, going).expect("is moved");
            }
            let path = task.path().to_owned();
            if step == 0 {
                task.remove_all_but_records().expect("is removed");
                drop(task);
            } else {
                killed(task);
                assert_eq!(TaskFolder::sweep(home.path()), 1);
            }
            let names =
                fs::read_dir(path).expect("is read").map(|entry| entry.expect("an entry").file_name());
            let mut names: Vec<_> = names.collect();
            names.sort();
            assert_eq!(names, ["blobs", "lock"], "after {step} steps");
        }
    }

    #[test]
    fn a_borrowed_work_tree_goes_with_whoever_borrowed_it() {
        let home = tempfile::tempdir().expect("a folder");
        let (id, owner) = made(home.path());
        let task = TaskFolder::open(home.path(), &id, owner).expect("opens");
        task.remove_workspace().expect("is removed");
        assert!(!task.has_workspace());
        task.borrow_workspace().expect("there is room");
        fs::create_dir(task.work_tree()).expect("is made");
        assert!(task.has_workspace());
        let (tree, marked) = (task.work_tree(), task.path().join(BORROWED));
        killed(task);
        assert_eq!(TaskFolder::sweep(home.path()), 1);
        assert!(!tree.exists() && !marked.exists());
        let other = "task-aaaaaa".parse().expect("an id");
        assert!(matches!(TaskFolder::open(home.path(), &other, owner), Err(FolderError::None(_))));
    }

    #[test]
    fn what_is_roots_stays_whole_with_its_marks_until_it_is_given_back() {
        let home = tempfile::tempdir().expect("a folder");
        let (id, owner) = made(home.path());
        let task = TaskFolder::open(home.path(), &id, owner).expect("opens");
        fs::create_dir(task.repository()).expect("is made");
        task.make_blank().expect("is made");
        task.suspect().expect("is marked");
        // as a container writes it down, beside either
        let notes = [task.parts(), task.parts().blank()].map(|parts| parts.beside().join("container-root"));
        notes.iter().for_each(|note| fs::write(note, "image").expect("is written"));
        type Way = fn(&TaskFolder) -> Result<(), FolderError>;
        let ways: [Way; 6] = [
            TaskFolder::remove_workspace,
            TaskFolder::remove_all_but_records,
            TaskFolder::return_borrowed,
            TaskFolder::borrow_workspace,
            TaskFolder::remove_blank,
            |task| task.make_blank().map(drop),
        ];
        for (number, way) in ways.iter().enumerate() {
            assert!(matches!(way(&task), Err(FolderError::Roots(_))), "{number}");
        }
        let kept = [task.work_tree(), task.home(), task.repository(), task.parts().blank().home()];
        drop(task);
        let refused = |note: &Path| {
            assert_eq!(TaskFolder::sweep(home.path()), 0, "{note:?}");
            let opened = TaskFolder::open(home.path(), &id, owner).map(drop);
            // the blank one is looked into by nobody
            assert!(matches!(opened, Err(FolderError::Roots(_) | FolderError::Leavings(_))), "{note:?}");
            assert!(matches!(TaskFolder::remove(home.path(), &id), Err(FolderError::Roots(_))), "{note:?}");
            assert!(kept.iter().all(|part| part.is_dir()), "{note:?}");
        };
        // each alone
        for (note, other) in [(&notes[0], &notes[1]), (&notes[1], &notes[0])] {
            fs::write(note, "image").expect("is written");
            fs::remove_file(other).expect("is removed");
            refused(note);
        }
        fs::remove_file(&notes[1]).expect("is removed");
        assert!(
            matches!(TaskFolder::open(home.path(), &id, owner), Err(FolderError::Leavings(_))),
            "nobody looks into what may hold a secret"
        );
        assert_eq!(TaskFolder::sweep(home.path()), 1);
        assert!(!kept[0].exists() && !kept[1].exists() && !kept[3].exists() && kept[2].is_dir());
    }

    #[test]
    fn nobody_looks_into_what_is_roots_and_the_next_sweep_looks_after_it() {
        let home = tempfile::tempdir().expect("a folder");
        let (id, owner) = made(home.path());
        let task = TaskFolder::open(home.path(), &id, owner).expect("opens");
        let (note, lock) = (task.path().join("container-root"), task.path().join("lock"));
        fs::write(&note, "image").expect("is written");
        assert!(matches!(task.check_owned(), Err(FolderError::Roots(_))));
        drop(task);
        assert!(fs::metadata(&lock).is_ok_and(|lock| lock.len() > 0), "its end is not in order");
        assert!(matches!(TaskFolder::open(home.path(), &id, owner), Err(FolderError::Roots(_))));
        fs::remove_file(&note).expect("is removed");
        assert_eq!(TaskFolder::sweep(home.path()), 1);
        TaskFolder::open(home.path(), &id, owner).expect("opens");
    }

    #[test]
    fn what_could_not_be_removed_in_order_goes_with_the_next_sweep() {
        let home = tempfile::tempdir().expect("a folder");
        let (id, owner) = made(home.path());
        let ways: [fn(&TaskFolder); 4] = [
            |task| drop(task.make_blank().expect("is made")),
            |task| task.suspect().expect("is marked"),
            |task| task.lend().expect("is marked"),
            |task| fs::rename(task.work_tree(), &task.going()[0]).expect("is moved"),
        ];
        for (number, leave) in ways.into_iter().enumerate() {
            let task = TaskFolder::open(home.path(), &id, owner).expect("opens");
            if !task.has_workspace() {
                task.make_part(&task.work_tree()).expect("is made");
                task.make_part(&task.home()).expect("is made");
            }
            leave(&task);
            drop(task);
            assert_eq!(TaskFolder::sweep(home.path()), 1, "{number}");
            assert_eq!(TaskFolder::sweep(home.path()), 0, "{number}: once");
        }
    }
}
