//! The turn loop: conversation, budgets, tool dispatch.
