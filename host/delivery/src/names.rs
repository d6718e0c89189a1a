//! Names in trees and on disk.

use sortie_policy::ports::{ErrorCode, PortError};

/// Characters that HFS+ ignores when it compares names (Git's own list).
const IGNORED_BY_HFS: [char; 16] = [
    '\u{200c}', '\u{200d}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}',
    '\u{202e}', '\u{206a}', '\u{206b}', '\u{206c}', '\u{206d}', '\u{206e}', '\u{206f}', '\u{feff}',
];

/// Whether some file system would take this name for `.git`: other case, HFS+
/// with its ignored characters, NTFS with its short names, streams, trailing
/// dots and backslashes. What is delivered may be checked out anywhere.
pub(crate) fn is_dot_git(name: &[u8]) -> bool {
    let text = String::from_utf8_lossy(name);
    let folded: String = text.chars().filter(|c| !IGNORED_BY_HFS.contains(c)).collect();
    folded.split('\\').any(|part| {
        let part = part.split(':').next().unwrap_or_default().trim_end_matches(['.', ' ']);
        part.eq_ignore_ascii_case(".git") || part.eq_ignore_ascii_case("git~1")
    })
}

/// Refuses a tree entry's name that would not stay in its folder, or that is
/// `.git` by any spelling.
pub(crate) fn check_entry(folder: &[u8], name: &[u8]) -> Result<(), PortError> {
    let stays =
        !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/') && !name.contains(&0);
    if stays && !is_dot_git(name) {
        return Ok(());
    }
    let path = shown(&join(folder, name));
    Err(PortError::new(
        ErrorCode::Invalid,
        format!("the commit has an entry named `{path}`, which is not safe to write"),
    ))
}

/// The path of an entry of a folder; the root is the empty path.
pub(crate) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

/// Folder and name of a path; the folder of a name alone is the root.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// A path as actions and people see it: bytes that are not UTF-8 as U+FFFD.
pub(crate) fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// A path for a message: one line, bounded.
pub(crate) fn shown(path: &[u8]) -> String {
    sortie_core::text::one_line(&lossy(path), 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_git_is_known_in_every_spelling() {
        for name in [
            ".git",
            ".GIT",
            ".Git",
            ".git.",
            ".git ",
            ".git . .",
            "git~1",
            "GIT~1",
            ".git::$INDEX_ALLOCATION",
            ".gi\u{200c}t",
            "\u{feff}.git",
            "a\\.git",
            ".git\\hooks",
        ] {
            assert!(is_dot_git(name.as_bytes()), "{name:?}");
        }
        for name in [".gitignore", ".github", "git", "x.git", ".gitmodules", "git~2"] {
            assert!(!is_dot_git(name.as_bytes()), "{name:?}");
        }
    }

    #[test]
    fn an_entry_that_would_leave_its_folder_is_refused() {
        for name in [&b".."[..], b".", b"", b"a/b", b"a\0b", b".GIT"] {
            assert!(check_entry(b"src", name).is_err());
        }
        assert!(check_entry(b"", b"-rf").is_ok());
    }
}
