//! The shell tool.
