//! The files tool.
