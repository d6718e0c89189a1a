//! Ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Digits and letters that are hard to mistake for one another: no `0`, `1`,
/// `i`, `l`, `o`, `u`.
const ALPHABET: &[u8; 30] = b"23456789abcdefghjkmnpqrstvwxyz";
const LENGTH: usize = 6;

/// Id of a task, such as `task-7k2m9q`: 30^6 ids, drawn at random; whoever
/// creates a task draws again while the id is taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId(String);

/// A text that is no task id.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no task id; ids look like `task-7k2m9q`")]
pub struct InvalidTaskId(String);

impl TaskId {
    /// Draws an id.
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    pub fn random() -> Self {
        let mut id = String::from("task-");
        while id.len() < "task-".len() + LENGTH {
            let mut byte = [0u8];
            getrandom::fill(&mut byte).expect("the operating system has randomness");
            // 240 is the largest multiple of 30 in a byte: above it, low letters would be likelier
            if byte[0] < 240 {
                id.push(char::from(ALPHABET[usize::from(byte[0]) % ALPHABET.len()]));
            }
        }
        Self(id)
    }

    /// The whole id, `task-` included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The six characters after `task-`.
    pub fn short(&self) -> &str {
        &self.0["task-".len()..]
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TaskId {
    type Err = InvalidTaskId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let short = text.strip_prefix("task-").unwrap_or(text);
        if short.len() == LENGTH && short.bytes().all(|b| ALPHABET.contains(&b)) {
            Ok(Self(format!("task-{short}")))
        } else {
            Err(InvalidTaskId(crate::text::one_line(text, 80)))
        }
    }
}

impl TryFrom<String> for TaskId {
    type Error = InvalidTaskId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_reads_back() {
        let id = TaskId::random();
        assert_eq!(id.to_string().parse::<TaskId>().expect("parses"), id);
    }

    #[test]
    fn a_path_is_no_task_id() {
        assert!("task-../../x".parse::<TaskId>().is_err());
        assert!("task-".parse::<TaskId>().is_err());
    }
}
