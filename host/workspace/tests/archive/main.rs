//! Archives: from a workspace that somebody hostile filled, and from a file that somebody hostile wrote.

mod forks;
mod hostile;
mod support;
mod written;
