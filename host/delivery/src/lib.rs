//! Fetch, changes, commit and push, from a repository of the host's own.
