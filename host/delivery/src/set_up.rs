//! What set-up and baseline left in the work tree: no part of any change.

#![expect(clippy::disallowed_methods, reason = "keeps a list in the host's own repository")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use git2::Oid;
use sortie_policy::ports::{ErrorCode, PortError};

use crate::tree::{Entry, Mode};

const FILE: &str = "sortie-set-up";

/// Paths as they were when set-up had ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SetUp {
    /// Untracked ones: left out whatever becomes of them.
    pub(crate) untracked: BTreeSet<Vec<u8>>,
    /// Tracked ones that set-up changed, such as lock files, and what it left
    /// there (none if it removed them): left out while they stay so.
    pub(crate) touched: BTreeMap<Vec<u8>, Option<Entry>>,
}

impl SetUp {
    /// Whether a path's state is set-up's doing. `now` is what lies there.
    pub(crate) fn explains(&self, path: &[u8], now: Option<Entry>) -> bool {
        self.touched.get(path).is_some_and(|left| *left == now)
    }

    /// Reads what [`SetUp::save`] wrote; nothing if there is none.
    pub(crate) fn load(repository: &Path) -> Result<Self, PortError> {
        match std::fs::read(repository.join(FILE)) {
            Ok(bytes) => Self::decode(&bytes).ok_or_else(|| damaged("it is cut short or malformed")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(damaged(&error.to_string())),
        }
    }

    /// Writes it into the host's repository, whole or not at all.
    pub(crate) fn save(&self, repository: &Path) -> Result<(), PortError> {
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(repository)?;
            file.write_all(&self.encode())?;
            file.as_file().sync_all()?;
            file.persist(repository.join(FILE))?;
            Ok(())
        };
        write().map_err(|error| {
            PortError::internal(format!("the list of set-up's files cannot be written: {error}"))
        })
    }

    /// One record a path, ended by NUL: paths hold any other byte.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for path in &self.untracked {
            record(&mut out, "untracked", path);
        }
        for (path, entry) in &self.touched {
            match entry {
                Some(Entry { mode, id }) => record(&mut out, &format!("left {:o} {id}", mode.bits()), path),
                None => record(&mut out, "removed", path),
            }
        }
        out.extend_from_slice(b"end\0");
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut set_up = Self::default();
        let records = bytes.strip_suffix(b"end\0")?;
        for record in records.split(|&byte| byte == 0).filter(|record| !record.is_empty()) {
            let tab = record.iter().position(|&byte| byte == b'\t')?;
            let (kind, path) = (std::str::from_utf8(&record[..tab]).ok()?, record[tab + 1..].to_vec());
            match kind.split(' ').collect::<Vec<_>>()[..] {
                ["untracked"] => drop(set_up.untracked.insert(path)),
                ["removed"] => drop(set_up.touched.insert(path, None)),
                ["left", mode, id] => {
                    let entry = Entry { mode: parse_mode(mode)?, id: Oid::from_str(id).ok()? };
                    set_up.touched.insert(path, Some(entry));
                }
                _ => return None,
            }
        }
        Some(set_up)
    }
}

fn record(out: &mut Vec<u8>, kind: &str, path: &[u8]) {
    out.extend_from_slice(kind.as_bytes());
    out.push(b'\t');
    out.extend_from_slice(path);
    out.push(0);
}

fn parse_mode(text: &str) -> Option<Mode> {
    [Mode::File, Mode::Executable, Mode::Link].into_iter().find(|mode| format!("{:o}", mode.bits()) == text)
}

fn damaged(reason: &str) -> PortError {
    PortError::new(ErrorCode::Internal, format!("the list of set-up's files cannot be read: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> SetUp {
        let entry = Entry { mode: Mode::Executable, id: Oid::from_bytes(&[7; 20]).expect("an id") };
        SetUp {
            untracked: BTreeSet::from([b"a\tb\nc".to_vec(), b"\xff".to_vec()]),
            touched: BTreeMap::from([(b"lock".to_vec(), Some(entry)), (b"gone".to_vec(), None)]),
        }
    }

    #[test]
    fn any_path_reads_back() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(SetUp::load(folder.path()).expect("none yet"), SetUp::default());
        sample().save(folder.path()).expect("is written");
        assert_eq!(SetUp::load(folder.path()).expect("is read"), sample());
    }

    #[test]
    fn a_list_that_is_cut_short_is_no_list() {
        let bytes = sample().encode();
        assert_eq!(SetUp::decode(&bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn a_touched_file_is_explained_only_while_it_stays_as_set_up_left_it() {
        let set_up = sample();
        assert!(set_up.explains(b"gone", None));
        assert!(!set_up.explains(b"lock", None));
        assert!(!set_up.explains(b"other", None));
    }
}
