//! The tests tool.
