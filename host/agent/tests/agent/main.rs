//! The contract of the turn loop, through its public port: the model, the
//! tools, the journal and the policies are made up, the gate is the real one.

mod calls;
mod ends;
mod journal;
mod limits;
mod world;
