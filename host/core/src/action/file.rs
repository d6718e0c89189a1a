//! Files of the work tree, and what of its history is read.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ActionKind, Effect};
use crate::digest::Digest;

/// How files are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case")]
pub enum ReadOperation {
    /// Bytes of one file.
    Read {
        /// First byte.
        offset: u64,
        /// Most bytes returned.
        max: u32,
    },
    /// Paths that match a glob.
    Glob {
        /// The glob.
        pattern: String,
    },
    /// Lines that match.
    Search {
        /// The regular expression.
        pattern: String,
        /// Whether case is ignored.
        ignore_case: bool,
        /// Most matches returned.
        max_matches: u32,
    },
    /// Which paths differ from the branch.
    Status,
    /// How paths differ.
    Diff {
        /// `head` or `base`.
        against: Against,
        /// Most bytes returned.
        max: u32,
    },
    /// Messages of commits.
    Log {
        /// Most commits returned.
        max: u32,
    },
    /// One commit.
    Show {
        /// The revision.
        rev: String,
        /// Most bytes returned.
        max: u32,
    },
}

/// What the work tree is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Against {
    /// The newest commit of the task's branch.
    Head,
    /// The commit that the task started from.
    Base,
}

/// Files of the work tree, or its changes, are read. For all but `read`, the
/// paths are those whose content or name the caller would learn; a policy may
/// drop some of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileRead {
    /// How.
    #[serde(flatten)]
    pub operation: ReadOperation,
    /// Which paths, relative to the root of the work tree.
    pub paths: Vec<String>,
}
plain_effect!(FileRead, FileRead, |this| match (&this.operation, this.paths.as_slice()) {
    (ReadOperation::Read { .. }, [path]) => path.clone(),
    (ReadOperation::Glob { pattern }, _) => format!("glob {pattern}"),
    (ReadOperation::Search { pattern, .. }, _) => format!("search {pattern}"),
    (ReadOperation::Status, _) => "git status".into(),
    (ReadOperation::Diff { .. }, _) => "git diff".into(),
    (ReadOperation::Log { .. }, _) => "git log".into(),
    (ReadOperation::Show { rev, .. }, _) => format!("git show {rev}"),
    (ReadOperation::Read { .. }, paths) => paths.join(" "),
});

/// What a file must be for a write to happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IfMatch {
    /// It must not exist.
    Absent,
    /// Anything.
    Any,
    /// It must have this etag.
    Etag(String),
}

/// How a file is changed.
#[derive(Clone, Debug, PartialEq)]
pub enum WriteOperation {
    /// It is replaced or created.
    Write {
        /// The new bytes. Shared, because the action is cloned on its way.
        data: Arc<[u8]>,
        /// What it must be now.
        if_match: IfMatch,
    },
    /// Text in it is replaced.
    Edit {
        /// The text that is replaced.
        old: String,
        /// The text in its place.
        new: String,
        /// How often `old` must occur.
        count: u32,
    },
    /// It is removed.
    Remove,
}

/// A file of the work tree is changed.
#[derive(Clone, Debug, PartialEq)]
pub struct FileWrite {
    /// The path, relative to the root of the work tree.
    pub path: String,
    /// How.
    pub operation: WriteOperation,
}

/// Details of a [`FileWrite`]. Text of up to [`SHOWN`] bytes is shown to
/// policies, and a policy may change it; other content is shown by its size
/// and digest.
#[derive(Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case", deny_unknown_fields)]
enum WriteDetails {
    Write { path: String, if_match: IfMatch, size: u64, sha256: String, text: Option<String> },
    Edit { path: String, old: String, new: String, count: u32 },
    Remove { path: String },
}

/// Bytes of a written text that policies see.
pub const SHOWN: usize = 1 << 20;

impl Effect for FileWrite {
    const KIND: ActionKind = ActionKind::FileWrite;

    fn target(&self) -> String {
        self.path.clone()
    }

    fn details(&self) -> Value {
        let path = self.path.clone();
        let details = match &self.operation {
            WriteOperation::Write { data, if_match } => WriteDetails::Write {
                path,
                if_match: if_match.clone(),
                size: data.len() as u64,
                sha256: Digest::of(data).to_string(),
                text: (data.len() <= SHOWN).then(|| String::from_utf8(data.to_vec()).ok()).flatten(),
            },
            WriteOperation::Edit { old, new, count } => {
                WriteDetails::Edit { path, old: old.clone(), new: new.clone(), count: *count }
            }
            WriteOperation::Remove => WriteDetails::Remove { path },
        };
        serde_json::to_value(details).expect("an action has string keys only")
    }

    fn with_details(&self, details: Value) -> Result<Self, serde_json::Error> {
        use serde::de::Error as _;
        Ok(match serde_json::from_value(details)? {
            WriteDetails::Write { path, if_match, sha256, text, .. } => {
                let data = match (text, &self.operation) {
                    (Some(text), _) => Arc::from(text.into_bytes()),
                    (None, WriteOperation::Write { data, .. }) if Digest::of(data).to_string() == sha256 => {
                        Arc::clone(data)
                    }
                    (None, _) => return Err(serde_json::Error::custom("the content is gone")),
                };
                Self { path, operation: WriteOperation::Write { data, if_match } }
            }
            WriteDetails::Edit { path, old, new, count } => {
                Self { path, operation: WriteOperation::Edit { old, new, count } }
            }
            WriteDetails::Remove { path } => Self { path, operation: WriteOperation::Remove },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_of_a_write_bring_the_write_back() {
        for data in [b"text".to_vec(), vec![0xff, 0xfe]] {
            let write = FileWrite {
                path: "a".into(),
                operation: WriteOperation::Write { data: data.into(), if_match: IfMatch::Any },
            };
            assert_eq!(write.with_details(write.details()).expect("reads back"), write);
        }
    }

    #[test]
    fn hidden_content_cannot_be_exchanged_by_details() {
        let write = |data: &[u8]| FileWrite {
            path: "a".into(),
            operation: WriteOperation::Write { data: data.into(), if_match: IfMatch::Any },
        };
        assert!(write(&[0xff]).with_details(write(&[0xfe]).details()).is_err());
    }
}
