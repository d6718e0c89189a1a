//! The fetch tool.
