//! A task from its first event to its last.
//!
//! [`TaskRun::run`] leads a task through its phases: prepare, work, verify,
//! deliver, archive. Every step writes an intent to the journal before its
//! effect and an outcome after it, so that what was under way can be told
//! after a crash. `cli` assembles the parts and calls it. It causes effects
//! only through the ports of `sortie-policy`, for permits of the gate.

mod archive;
mod background;
mod command;
mod deliver;
mod environment;
mod folder;
mod install;
mod journal;
mod prepare;
mod registries;
mod run;
mod set_up;
mod store;
mod tests_run;
mod work;

pub use archive::{Archived, Archiver, Remains};
pub use folder::{FolderError, Stale, TaskFolder, WorkspaceParts};
pub use journal::{Listener, TaskJournal};
pub use run::{Adopt, Adopted, Plan, RunError, TaskRun, Toolmaker, Until};
pub use set_up::task_images;
pub use store::{Store, StoreError, StoredEvent, TaskRecord, TaskState};
