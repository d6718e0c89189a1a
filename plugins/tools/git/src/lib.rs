//! The git tool.
