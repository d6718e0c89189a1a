//! Files of the work tree.

use async_trait::async_trait;
use sortie_core::action::{FileRead, FileWrite};

use super::PortError;
use crate::Permit;

/// Reads and writes files beneath the root of the work tree; links cannot
/// lead out of it. Paths are relative, with `/`, without `..`.
#[async_trait]
pub trait Files: Send + Sync {
    /// Paths that match a glob, ignored files left out, at most `max`: to
    /// fill a [`FileRead`] of operation `Glob`.
    ///
    /// # Errors
    /// `Invalid` if the glob does not parse.
    async fn survey_glob(&self, pattern: &str, max: u32) -> Result<Survey, PortError>;

    /// Paths of text files with a line that matches, ignored files left out:
    /// to fill a [`FileRead`] of operation `Search`.
    ///
    /// # Errors
    /// `Invalid` if the expression or the glob does not parse.
    async fn survey_search(&self, query: &SearchQuery) -> Result<Survey, PortError>;

    /// The paths that a permitted `Glob` lists.
    ///
    /// # Errors
    /// `Invalid` if the permit is for something else.
    async fn glob(&self, permit: Permit<FileRead>) -> Result<Vec<String>, PortError>;

    /// The matching lines in the paths that a permitted `Search` lists.
    ///
    /// # Errors
    /// `Invalid` if the permit is for something else.
    async fn search(&self, permit: Permit<FileRead>) -> Result<Vec<LineMatch>, PortError>;

    /// A permitted `Read`.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if it is no regular file, or outside.
    async fn read(&self, permit: Permit<FileRead>) -> Result<FileContent, PortError>;

    /// A permitted change; returns the new etag, none after a removal.
    ///
    /// # Errors
    /// `Conflict` if the file is not what the action expects, `Invalid` if
    /// the path leads outside, `TooLarge` beyond 8 MiB.
    async fn write(&self, permit: Permit<FileWrite>) -> Result<Option<String>, PortError>;
}

/// A search through file contents.
#[derive(Clone, Debug)]
pub struct SearchQuery {
    /// A regular expression, matched against each line.
    pub pattern: String,
    /// A glob that paths must match.
    pub glob: Option<String>,
    /// Whether case is ignored.
    pub ignore_case: bool,
    /// Most matches, at most 1000.
    pub max_matches: u32,
}

/// Paths that somebody would learn of.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The paths, in order.
    pub paths: Vec<String>,
    /// Whether paths were left out at the bound.
    pub truncated: bool,
    /// Files that were not searched because they are too large.
    pub too_large: u32,
}

/// One matching line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineMatch {
    /// The file.
    pub path: String,
    /// The line, from 1.
    pub line: u32,
    /// Its text, cut at 500 characters.
    pub text: String,
}

/// A piece of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileContent {
    /// The bytes.
    pub data: Vec<u8>,
    /// Size of the whole file.
    pub size: u64,
    /// State of the whole file.
    pub etag: String,
}
