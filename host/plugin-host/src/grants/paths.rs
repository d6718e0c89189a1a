//! Patterns of paths.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use sortie_policy::ports::{ErrorCode, PortError};

use super::GrantError;

/// Bytes of a path.
const LONGEST: usize = 4096;

/// Globs of paths relative to the root of the work tree.
#[derive(Clone, Debug, Default)]
pub(super) struct PathPatterns(GlobSet);

impl PathPatterns {
    pub(super) fn new(kind: &'static str, globs: &[String]) -> Result<Self, GrantError> {
        let mut set = GlobSetBuilder::new();
        for glob in globs {
            if glob.starts_with('/') || glob.split('/').any(|part| part == "..") {
                return Err(GrantError::new(
                    kind,
                    glob,
                    "paths are relative to the root of the work tree, without `..`",
                ));
            }
            let built = GlobBuilder::new(glob).literal_separator(true).build();
            set.add(built.map_err(|error| GrantError::new(kind, glob, error.kind().to_string()))?);
        }
        let set = set.build().map_err(|error| GrantError::new(kind, &globs.join(" "), error.to_string()))?;
        Ok(Self(set))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A folder in a listing ends with `/`.
    pub(super) fn cover(&self, path: &str) -> bool {
        self.0.is_match(path) || path.strip_suffix('/').is_some_and(|folder| self.0.is_match(folder))
    }
}

/// The glob of this path alone.
pub(super) fn glob_for(path: &str) -> String {
    let mut glob = String::new();
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
            glob.push('\\');
        }
        glob.push(c);
    }
    glob
}

/// The one way to write a path: relative, without `.`, `..` or empty parts.
/// Patterns and policies see this form alone, and the port is handed it.
pub(crate) fn normal(path: &str) -> Result<String, PortError> {
    let invalid = |what: &str| {
        let shown = sortie_core::text::one_line(path, 200);
        Err(PortError::new(ErrorCode::Invalid, format!("the path `{shown}` {what}")))
    };
    if path.len() > LONGEST {
        return invalid("is longer than 4096 bytes");
    }
    if path.starts_with('/') {
        return invalid("is absolute; paths are relative to the root of the work tree");
    }
    if path.contains('\0') {
        return invalid("contains a NUL");
    }
    let parts: Vec<_> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return invalid("contains `..`");
    }
    if parts.is_empty() {
        return invalid("names no file");
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(glob: &str, path: &str) -> bool {
        PathPatterns::new("files.read", &[glob.to_owned()]).expect("a glob").cover(path)
    }

    #[test]
    fn globs_keep_to_their_folder() {
        assert!(covers("src/**", "src/a/b.rs"));
        assert!(covers("**", "a"));
        assert!(covers("**/*.md", "docs/a.md"));
        assert!(covers("src/*", "src/inner/"));
        assert!(!covers("src/**", "srcx/a"));
        assert!(!covers("src/*.rs", "src/a/b.rs"));
        assert!(!covers("src/**", "Src/a"));
    }

    #[test]
    fn a_path_has_one_form() {
        assert_eq!(normal("./src//a/./b").expect("a path"), "src/a/b");
        for bad in ["/etc/passwd", "..", "a/../b", "a/..", "", ".", "./", "a\0b", &"a/".repeat(3000)] {
            assert_eq!(normal(bad).expect_err(bad).code, ErrorCode::Invalid);
        }
    }
}
