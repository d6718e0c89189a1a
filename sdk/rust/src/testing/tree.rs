//! A work tree in memory.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Files by path.
#[derive(Debug, Default)]
pub(super) struct Tree(BTreeMap<String, Vec<u8>>);

impl Tree {
    pub(super) fn get(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path).map(Vec::as_slice)
    }

    pub(super) fn put(&mut self, path: &str, data: &[u8]) {
        self.0.insert(path.to_owned(), data.to_vec());
    }

    pub(super) fn remove(&mut self, path: &str) -> bool {
        self.0.remove(path).is_some()
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// Whether a path is a directory, because some file lies in it.
    pub(super) fn is_directory(&self, path: &str) -> bool {
        let prefix = format!("{path}/");
        self.0.keys().any(|key| key.starts_with(&prefix))
    }

    /// The state of a file's bytes.
    pub(super) fn etag(data: &[u8]) -> String {
        let mut hasher = DefaultHasher::new();
        data.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}
