//! The contract of a task's run, through its public port: everything around
//! it is made up, but for the gate and the journal.

mod folders;
mod run;
mod secrets;
mod set_up;
mod world;
