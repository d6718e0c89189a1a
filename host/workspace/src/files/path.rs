//! Paths as they come from outside.

use std::fmt;

use sortie_core::text::one_line;
use sortie_policy::ports::{ErrorCode, PortError};

/// The most directories that a path may lead through.
pub(super) const MAX_DEPTH: usize = 100;

/// A path beneath the root, in the one spelling that it has: policies compare
/// paths as text, so `./.env` and `a//.env` are refused rather than tidied up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WorkPath(String);

impl WorkPath {
    pub(super) fn parse(text: &str) -> Result<Self, PortError> {
        let shown = one_line(text, 200);
        let invalid = |why: &str| Err(PortError::new(ErrorCode::Invalid, format!("`{shown}` {why}")));
        if text.is_empty() || text == "." {
            return invalid("names no file");
        }
        if text.starts_with('/') {
            return invalid("is absolute: paths are relative to the root of the work tree");
        }
        if text.len() > 4096 || text.contains('\0') {
            return invalid("is no path");
        }
        let parts: Vec<&str> = text.split('/').collect();
        if parts.contains(&"..") {
            return invalid("leads upwards: `..` is refused");
        }
        if parts.iter().any(|part| part.is_empty() || *part == ".") {
            let tidy: Vec<_> = parts.into_iter().filter(|part| !part.is_empty() && *part != ".").collect();
            return invalid(&format!("has empty or `.` parts; write `{}`", one_line(&tidy.join("/"), 200)));
        }
        if parts.len() > MAX_DEPTH || parts.iter().any(|part| part.len() > 255) {
            return invalid("is too deep or has too long a name");
        }
        Ok(Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The directories that it leads through.
    pub(super) fn parents(&self) -> impl Iterator<Item = &str> {
        let end = self.0.rfind('/').unwrap_or(0);
        self.0[..end].split('/').filter(|part| !part.is_empty())
    }

    pub(super) fn name(&self) -> &str {
        self.0.rsplit('/').next().expect("a split has a last part")
    }

    /// Whether it lies in a repository's own folder. Case does not count:
    /// what is committed here may be checked out where it does not.
    pub(super) fn is_in_git_dir(&self) -> bool {
        self.0.split('/').any(is_git_dir)
    }
}

pub(super) fn is_git_dir(name: &str) -> bool {
    name.eq_ignore_ascii_case(".git")
}

/// As it is shown to people and models.
impl fmt::Display for WorkPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&self.0, 200))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        for bad in ["", ".", "/etc/passwd", "../x", "a/../b", "a/..", "./a", "a//b", "a/", "a/./b", "a\0b"] {
            assert_eq!(WorkPath::parse(bad).expect_err(bad).code, ErrorCode::Invalid, "{bad}");
        }
        let error = WorkPath::parse("./src//lib.rs").expect_err("two spellings").message;
        assert!(error.ends_with("write `src/lib.rs`"), "{error}");
    }

    #[test]
    fn a_path_has_directories_and_a_name() {
        let path = WorkPath::parse("a/b/c..d").expect("a path");
        assert_eq!(path.parents().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(path.name(), "c..d");
        assert_eq!(WorkPath::parse("x").expect("a path").parents().count(), 0);
    }

    #[test]
    fn depth_is_bounded() {
        assert!(WorkPath::parse(&vec!["d"; MAX_DEPTH].join("/")).is_ok());
        assert!(WorkPath::parse(&vec!["d"; MAX_DEPTH + 1].join("/")).is_err());
    }
}
