//! Which file a command's first word names.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Looks a program up as a shell does: a word with a slash is a path, any other is looked for in `PATH`.
///
/// The standard library can do this as well, but only in a forked child: with a path it starts the program
/// without copying its own memory map.
///
/// Errors: `PermissionDenied` if there are only files of this name that cannot be run, else `NotFound`.
pub(crate) fn find(word: &OsStr, env: &[(OsString, OsString)]) -> io::Result<PathBuf> {
    if word.as_encoded_bytes().contains(&b'/') {
        return Ok(word.into());
    }
    let path = env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
    let mut failure = io::Error::from_raw_os_error(libc::ENOENT);
    for folder in std::env::split_paths(path.unwrap_or_default()) {
        // An empty entry is the working directory, which must then be spelt, or the name is looked up again.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
        let file = folder.join(word);
        if !word.is_empty() && file.is_file() {
            match access(&file, Access::EXEC_OK) {
                Ok(()) => return Ok(file),
                Err(error) => failure = error.into(),
            }
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(value: &str) -> Vec<(OsString, OsString)> {
        vec![("PATH".into(), value.into())]
    }

    #[test]
    fn the_first_folder_that_has_it_counts() {
        let found = find("sh".as_ref(), &path("/no/such:/bin:/usr/bin")).expect("every system has one");
        assert_eq!(found, Path::new("/bin/sh"));
    }

    #[test]
    fn a_word_with_a_slash_is_taken_as_it_is() {
        assert_eq!(find("./x".as_ref(), &[]).expect("it is a path"), Path::new("./x"));
    }

    #[test]
    fn what_is_in_no_folder_is_not_found() {
        for env in [path("/bin"), path(""), vec![]] {
            let error = find("no-such-program".as_ref(), &env).expect_err("there is none");
            assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        }
        assert!(find("".as_ref(), &path("/bin")).is_err());
    }

    #[test]
    fn what_cannot_be_run_is_told_apart() {
        let error = find("passwd".as_ref(), &path("/etc")).expect_err("it is no program");
        assert_eq!(error.raw_os_error(), Some(libc::EACCES));
    }
}
