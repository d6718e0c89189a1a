//! Phases of a task and its journal.
