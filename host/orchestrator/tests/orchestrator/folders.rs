//! The folder of a task among processes that look at it.

use std::time::Duration;

use sortie_core::TaskId;
use sortie_orchestrator::{FolderError, TaskFolder};

/// As one who looks whether anybody works on a task, from when it has a folder; whether that was before anybody did.
fn glance(home: &std::path::Path, id: &TaskId) -> bool {
    loop {
        match TaskFolder::hold(home, id) {
            Ok(held) => {
                std::thread::sleep(Duration::from_millis(20));
                drop(held);
                return true;
            }
            Err(FolderError::Taken(_)) => return false,
            Err(_) => {}
        }
    }
}

#[test]
fn a_folder_is_made_though_somebody_looks_at_it_before_it_is_locked() {
    let home = tempfile::tempdir().expect("a folder");
    let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let came_first = (0..200_000u32).any(|number| {
        // each another one: of so many random ones two would be alike
        let digits = format!("{number:06o}");
        let short: String = digits.bytes().map(|digit| char::from(digit + 2)).collect();
        let id: TaskId = short.parse().expect("digits from 2 to 9");
        std::thread::scope(|scope| {
            let glance = scope.spawn(|| glance(home.path(), &id));
            let made = TaskFolder::create(home.path(), &id, owner);
            let came_first = glance.join().expect("it looks");
            made.expect("nobody works on it");
            came_first
        })
    });
    assert!(came_first, "it never did");
}
